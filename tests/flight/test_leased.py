"""Flights of several processes, with leases in memory and a clock that is stepped."""

from __future__ import annotations

import pytest
from attrs import define
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from athensd.errors import NotFound
from athensd.flight.leased import LeasedFlight
from athensd.flight.memory import MemoryFlight
from tests.fakes import Steps, result_of, start
from tests.flight.contract import FlightContract, LeasesContract, Work
from tests.flight.fakes import MemoryLeases

AWAY = "the lock service is away: some work may be done twice"
BACK = "the lock service is back"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def leases(clock):
    return MemoryLeases(clock)


class TestMemoryLeases(LeasesContract):
    """What the tests here lean on keeps the contract."""

    @pytest.fixture
    def process(self):
        leases = MemoryLeases(reactor)
        return lambda: leases


class TestLeasedFlight(FlightContract):
    @pytest.fixture
    def flight(self, leases, clock):
        return Process(leases, clock).flight


@define(init=False)
class Process:
    """A process with its flights and a clock, which stops when it dies."""

    flight: LeasedFlight
    local: MemoryFlight

    def __init__(self, leases, clock, **more):
        self.local = MemoryFlight()
        self.flight = LeasedFlight(self.local, leases, clock, name="host/1", draw=lambda: 1.0, **more)

    def ask(self, work, key="key"):
        return start(self.flight.run(key, work))


@pytest.fixture
def processes(leases, clock):
    """Two of them."""
    return Process(leases, clock), Process(leases, clock)


def run(clock, seconds):
    """Let time pass in small steps."""
    for _ in range(round(seconds * 20)):
        clock.advance(0.05)


def test_one_after_the_other(processes, clock):
    """The work is done by one process at a time; the next begins at most half a second after the first has ended."""
    works = [Work(), Work()]
    askers = [process.ask(work) for process, work in zip(processes, works, strict=True)]
    run(clock, 60)
    assert [work.begun for work in works] == [1, 0]
    works[0].end.callback("first")
    assert result_of(askers[0]) == "first"
    run(clock, 0.55)
    assert works[1].begun == 1
    works[1].end.callback("second")
    assert result_of(askers[1]) == "second"


def test_other_keys_do_not_wait(processes):
    """Leases of other keys are other leases."""
    works = [Work(), Work()]
    for number, (process, work) in enumerate(zip(processes, works, strict=True)):
        process.ask(work, f"key {number}")
    assert [work.begun for work in works] == [1, 1]


def test_nothing_is_left(processes, leases, clock):
    """When all work has ended no lease is held, and nothing waits."""
    works = [Work(), Work()]
    askers = [process.ask(work) for process, work in zip(processes, works, strict=True)]
    assert [process.flight.size for process in processes] == [1, 0]
    for work, asker in zip(works, askers, strict=True):
        run(clock, 1)
        work.end.callback(None)
        result_of(asker)
    assert leases.held == {}
    assert clock.getDelayedCalls() == []
    assert [process.flight.size for process in processes] == [0, 0]


def test_waiting_is_cheap(processes, leases, clock):
    """Who waits asks soon at first and then every half second, and the holder renews a few times in a lease."""
    processes[0].ask(Work())
    processes[1].ask(Work())
    run(clock, 60)
    holder = leases.holder("key")
    times = {True: [], False: []}
    for when, _, _, asking in leases.asked:
        times[asking == holder].append(when)
    pauses = [later - sooner for sooner, later in zip(times[False], times[False][1:], strict=False)]
    assert pauses[0] < 0.11
    assert max(pauses) < 0.56
    assert len(times[False]) < 140
    assert len(times[True]) < 25


@pytest.mark.parametrize(("draw", "most"), [(0.0, 0.25), (1.0, 0.5)])
def test_jitter(leases, clock, draw, most):
    """Those who wait do not all ask at the same time: half of a pause is chance."""
    leases.held["key"] = "another", 1e9
    start(LeasedFlight(MemoryFlight(), leases, clock, name="x", draw=lambda: draw).run("key", Work()))
    run(clock, 20)
    assert leases.asked[-1][0] - leases.asked[-2][0] == pytest.approx(most, abs=0.051)


def test_holder_that_dies(leases, clock):
    """A process that dies is waited for as long as its last renewal holds, and no second longer than ten."""
    its_clock = Clock()
    Process(leases, its_clock).ask(Work())
    other, work = Process(leases, clock), Work()
    other.ask(work)
    for _ in range(200):
        its_clock.advance(0.1)
        clock.advance(0.1)
    assert work.begun == 0
    died = clock.seconds()
    while not work.begun:
        clock.advance(0.1)
    assert clock.seconds() - died < 10


def test_failure_is_of_this_process(processes, clock):
    """A work that fails fails for all askers of its process; in the other it is done again."""
    works = [Work(), Work()]
    askers = [processes[0].ask(works[0]), processes[0].ask(works[0]), processes[1].ask(works[1])]
    works[0].end.errback(NotFound("gone"))
    for asker in askers[:2]:
        with pytest.raises(NotFound, match="gone"):
            result_of(asker)
    run(clock, 1)
    works[1].end.callback("there")
    assert result_of(askers[2]) == "there"


def test_asking_again_at_once(processes, leases, clock):
    """A lease that is being given back is not that of the work that follows, which waits for it."""
    work = Work()
    asker = processes[0].ask(work)
    leases.silent = True
    work.end.callback("first")
    assert result_of(asker) == "first"
    leases.silent = False
    processes[0].ask(work)
    run(clock, 1)
    assert work.begun == 1
    run(clock, 8)
    assert work.begun == 2
    assert len({holder for _, _, _, holder in leases.asked}) == 2


def test_service_away(processes, leases, clock):
    """While the service is away work is done without it; that is one line in the log, and its return another."""
    leases.failure = "refused"
    with capture_logs() as lines:
        for number in range(10):
            work = Work()
            asker = processes[0].ask(work, f"key {number}")
            work.end.callback(number)
            assert result_of(asker) == number
            clock.advance(3)
        leases.failure = ""
        clock.advance(5)
        processes[0].ask(Work())
    assert [(line["event"], line["log_level"]) for line in lines] == [(AWAY, "info"), (BACK, "info")]
    assert lines[0]["reason"] == "refused"
    assert leases.holder("key")
    assert len(leases.asked) < 10


def test_service_silent(processes, leases, clock):
    """The first who ask a service that says nothing wait three seconds for it, and those who come later not at all."""
    leases.silent = True
    works = [Work() for _ in range(20)]
    with capture_logs() as lines:
        for number, work in enumerate(works[:10]):
            processes[0].ask(work, f"key {number}")
        clock.advance(2.9)
        assert not any(work.begun for work in works)
        clock.advance(0.2)
        assert all(work.begun for work in works[:10])
        for number, work in enumerate(works[10:]):
            processes[0].ask(work, f"later {number}")
        assert all(work.begun for work in works)
    assert [line["event"] for line in lines] == [AWAY]


def test_one_tries_while_it_is_silent(processes, leases, clock):
    """Now and then one who asks tries the service, and nobody else waits for that."""
    leases.silent = True
    processes[0].ask(Work(), "first")
    clock.advance(3)
    clock.advance(5)
    works = [Work() for _ in range(10)]
    for number, work in enumerate(works):
        processes[0].ask(work, f"key {number}")
    assert [work.begun for work in works] == [0] + [1] * 9
    clock.advance(3)
    assert works[0].begun == 1


def test_goes_away_while_others_wait(processes, leases, clock):
    """Those who wait for a holder go on without a lease when the service goes away."""
    works = [Work(), Work()]
    for process, work in zip(processes, works, strict=True):
        process.ask(work)
    run(clock, 1)
    leases.failure = "refused"
    run(clock, 0.6)
    assert [work.begun for work in works] == [1, 1]


def test_renewal_fails(processes, leases, clock):
    """When a lease cannot be renewed the work goes on, and so do the tries; in the end it is given back."""
    work = Work()
    asker = processes[0].ask(work)
    holder = leases.holder("key")
    leases.failure = "refused"
    run(clock, 20)
    assert not leases.holder("key")
    leases.failure = ""
    run(clock, 3)
    assert leases.holder("key") == holder
    assert not asker.called
    work.end.callback("done")
    assert result_of(asker) == "done"
    assert leases.held == {}


def test_lease_that_is_lost(processes, leases, clock):
    """A lease that another has taken is let go, and the work goes on."""
    work = Work()
    asker = processes[0].ask(work)
    leases.held["key"] = "another", 1e9
    run(clock, 10)
    assert processes[0].flight.size == 0
    work.end.callback("done")
    assert result_of(asker) == "done"
    assert leases.holder("key") == "another"


def test_patience(leases, clock):
    """Who has waited too long does the work without a lease."""
    leases.held["key"] = "another", 1e9
    work = Work()
    Process(leases, clock, patience=100).ask(work)
    run(clock, 99)
    assert work.begun == 0
    with capture_logs() as lines:
        run(clock, 2)
    assert work.begun == 1
    assert [line["event"] for line in lines] == ["another process holds a lease for too long"]


def test_fault_in_the_service(processes, leases, monkeypatch):
    """A fault of ours in a lock service fails no request."""

    async def broken(*arguments):
        raise TypeError("a fault")

    monkeypatch.setattr(MemoryLeases, "take", broken)
    work = Work()
    with capture_logs() as lines:
        asker = processes[0].ask(work)
        work.end.callback("done")
    assert result_of(asker) == "done"
    assert [line["log_level"] for line in lines] == ["error"]


def test_stop(processes, leases, clock):
    """At the end work is cancelled, and every lease given back before the process may go."""
    works = [Work(), Work()]
    askers = [processes[0].ask(work, f"key {number}") for number, work in enumerate(works)]
    processes[0].local.stop()
    assert result_of(processes[0].flight.stop()) is None
    assert [work.cancelled for work in works] == [1, 1]
    for asker in askers:
        with pytest.raises(CancelledError):
            result_of(asker)
    assert leases.held == {}


def test_stop_while_work_goes_on(processes, leases):
    """A work that nobody has cancelled does not keep its lease."""
    processes[0].ask(Work())
    result_of(processes[0].flight.stop())
    assert leases.held == {}


def test_stop_while_waiting(processes, leases, clock):
    """Who waits for a lease when the end comes waits no longer, and what is answered too late is given back."""
    holding, waiting = processes
    holding.ask(Work())
    asker = waiting.ask(Work())
    run(clock, 1)
    waiting.local.stop()
    result_of(waiting.flight.stop())
    with pytest.raises(CancelledError):
        result_of(asker)
    assert leases.asked[-1][1] == "give back"
    assert leases.asked[-1][3] != leases.holder("key")


@pytest.mark.parametrize("before", [0, 4])
def test_stop_of_a_silent_service(processes, leases, clock, before):
    """A service that says nothing does not hold up the end for more than three seconds, a renewal under way neither."""
    asker = processes[0].ask(Work())
    leases.silent = True
    run(clock, before)
    processes[0].local.stop()
    with pytest.raises(CancelledError):
        result_of(asker)
    stopped = start(processes[0].flight.stop())
    clock.advance(2.9)
    assert not stopped.called
    clock.advance(0.2)
    result_of(stopped)
    assert clock.getDelayedCalls() == []


def test_waiting_is_a_step(processes, clock, steps: Steps):
    """Whoever looks sees who waits for another process, and for how long."""
    work = Work()
    processes[0].ask(work)
    processes[1].ask(Work())
    assert [step.name for step in steps.open_ones] == ["lease"]
    work.end.callback(None)
    run(clock, 1)
    assert [step.facts for step in steps.named("lease")] == [{"key": "key", "taken": True}] * 2
