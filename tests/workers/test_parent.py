"""The parent: who is started and when, who is told what, and how all of it ends."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from athensd.workers.balance import make_balance
from athensd.workers.parent import LONGEST_PAUSE, READY, STEADY, Command, Workers, pause
from tests.workers.fakes import FakeProcess, FakeReactor

GRACE = 70.0


class Rig:
    """A parent of two workers."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.lines: list[str] = []
        self.failures: list[str] = []
        self.workers = Workers(
            self.reactor,
            2,
            lambda: Command(["python"], {"A": "b"}, [("tcp 3000 ", 3)], {3: 9, 4: 10}),
            make_balance(2),
            self.lines.append,
            grace=GRACE,
            failed=self.failures.append,
        )

    def serving(self) -> tuple[FakeProcess, FakeProcess]:
        """Both serve."""
        self.workers.start()
        one, two = self.reactor.processes
        one.says("ready")
        two.says("ready")
        return one, two

    def begin(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)


def left(process: FakeProcess) -> bool:
    """Whether it was told to finish what it does and leave."""
    return ["leave"] in process.heard


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (7, 16), (8, LONGEST_PAUSE), (9999, LONGEST_PAUSE)],
)
def test_the_pause(failures: int, seconds: float) -> None:
    """The first time there is none; then it doubles, up to half a minute."""
    assert pause(failures) == seconds


def test_what_a_worker_is_given(rig: Rig) -> None:
    """Its number; some descriptors under the numbers that they must have, and the others under those that are left."""
    one, two = rig.serving()
    assert (one.worker.number, two.worker.number) == (1, 2)
    assert one.environ["A"] == "b"
    [(name, theirs)] = one.worker.sockets
    assert name == "tcp 3000 "
    balance = one.descriptors.pop(one.worker.balance)
    assert one.descriptors == {
        0: 0,
        1: "r",
        2: "r",
        3: 9,
        4: 10,
        one.worker.hears: "w",
        one.worker.speaks: "r",
        theirs: 3,
    }
    assert isinstance(balance, int)


def test_lines_are_written_whole(rig: Rig) -> None:
    """What workers write comes in pieces, and is passed on by lines."""
    one, two = rig.serving()
    one.protocol.childDataReceived(1, b"one\ntw")
    two.protocol.childDataReceived(1, b"three\n")
    one.protocol.childDataReceived(1, b"o\nfo\xff\n")
    assert rig.lines == ["one", "three", "two\nfo\ufffd"]


def test_a_worker_that_ends_is_started_anew(rig: Rig) -> None:
    """At once; then after pauses that grow, until one has served for a while."""
    rig.serving()
    for seconds in (0, 0.5, 1, 2):
        rig.reactor.living[1].ends(signal=9)
        assert 1 not in rig.reactor.living
        if seconds:
            rig.reactor.advance(seconds - 0.1)
            assert 1 not in rig.reactor.living
        rig.reactor.advance(0.1)
        rig.reactor.living[1].says("ready")
    rig.reactor.advance(STEADY)
    rig.reactor.living[1].ends(status=1)
    rig.reactor.advance(0)
    assert 1 in rig.reactor.living
    assert len(rig.reactor.processes) == 2 + 5, "the other was left alone"


def test_why_one_has_ended(rig: Rig) -> None:
    """One line says what it was ended by, its last words if it had any, and when there will be another."""
    _, two = rig.serving()
    with capture_logs() as lines:
        two.ends(signal=11, words=b"Fatal Python error: Segmentation fault\n")
    facts = {"worker": 2, "pid": two.pid, "reason": "signal SIGSEGV", "again": "in 0 s"}
    said = "Fatal Python error: Segmentation fault"
    assert lines == [{"event": "worker ended", "log_level": "error", **facts, "said": said}]


def test_the_first_that_cannot_serve_ends_all(rig: Rig) -> None:
    """Before any has served, what one says on its standard error is why none can; it is told once."""
    rig.workers.start()
    one, two = rig.reactor.processes
    one.ends(status=1, words=b"athensd: no go command\n")
    two.ends(status=1, words=b"athensd: no go command\n")
    assert rig.failures == ["athensd: no go command"]
    rig.reactor.advance(100)
    assert rig.reactor.living == {}


def test_one_that_never_serves_is_killed(rig: Rig) -> None:
    """It has a minute."""
    rig.workers.start()
    one, two = rig.reactor.processes
    two.says("ready")
    rig.reactor.advance(READY)
    assert (one.signals, two.signals) == (["KILL"], [])


def test_one_that_cannot_be_started(rig: Rig) -> None:
    """Is tried again like one that ended."""
    rig.serving()
    rig.reactor.refuses = FileNotFoundError(2, "no such program")
    rig.reactor.living[2].ends(signal=9)
    rig.reactor.pump([0, 0])
    assert 2 not in rig.reactor.living
    rig.reactor.refuses = None
    rig.reactor.advance(0.5)
    assert 2 in rig.reactor.living


def test_they_are_told_who_is_there(rig: Rig) -> None:
    """Each of the others, as they come and go."""
    one, two = rig.serving()
    assert (one.heard[-1], two.heard[-1]) == (["siblings", [two.pid]], ["siblings", [one.pid]])
    rig.begin(rig.workers.exchange())
    new = rig.reactor.processes[-1]
    new.says("ready")
    assert one.heard[-1] == ["siblings", [two.pid]], "its successor, which has its number, is none of them"
    assert (two.heard[-1], new.heard[-1]) == (["siblings", [new.pid]], ["siblings", [two.pid]])
    two.ends(signal=9)
    assert one.heard[-1] == ["siblings", []]


def test_messages(rig: Rig) -> None:
    """To one or to all others, with who sent it."""
    one, two = rig.serving()
    rig.reactor.advance(0)
    one.says("to", None, ["stored", "example.test/x", "v1.0.0"])
    two.says("to", one.pid, ["answer", 1, []])
    two.says("to", 99999, ["answer", 1, []])
    assert two.heard[-1] == ["from", one.pid, ["stored", "example.test/x", "v1.0.0"]]
    assert one.heard[-1] == ["from", two.pid, ["answer", 1, []]]
    rig.workers.reload()
    assert one.heard[-1] == two.heard[-1] == ["reload"]


def test_exchange(rig: Rig) -> None:
    """One by one: an old one leaves when its new one serves, and has its time for that."""
    one, two = rig.serving()
    exchange = rig.begin(rig.workers.exchange())
    [_, _, new_one] = rig.reactor.processes
    assert new_one.worker.number == 1
    assert one.signals == []
    new_one.says("ready")
    assert (left(one), left(two)) == (True, False)
    [_, _, _, new_two] = rig.reactor.processes
    new_two.says("ready")
    assert exchange.called
    assert left(two)
    assert one.signals == two.signals == []
    rig.reactor.advance(GRACE - 1)
    one.ends()
    rig.reactor.advance(1)
    assert two.signals == ["KILL"]
    two.ends(signal=9)
    rig.reactor.advance(100)
    assert rig.reactor.living == {1: new_one, 2: new_two}


def test_an_exchange_that_fails(rig: Rig) -> None:
    """When the new one cannot serve, everything is as it was."""
    one, two = rig.serving()
    exchange = rig.begin(rig.workers.exchange())
    rig.reactor.processes[-1].ends(status=1, words=b"athensd: Timeout is 0\n")
    assert exchange.called
    rig.reactor.advance(100)
    assert rig.reactor.living == {1: one, 2: two}
    assert not left(one)
    assert not left(two)


def test_an_old_one_ends_before_its_new_one_serves(rig: Rig) -> None:
    """Then the new one takes its place, and whoever was started instead leaves."""
    one, _ = rig.serving()
    rig.begin(rig.workers.exchange())
    new = rig.reactor.processes[-1]
    one.ends(signal=9)
    rig.reactor.advance(0)
    instead = rig.reactor.processes[-1]
    assert instead is not new
    new.says("ready")
    assert instead.signals == ["TERM"]
    instead.ends(signal=15)
    rig.reactor.advance(100)
    assert [each.worker.number for each in rig.reactor.processes if not each.over] == [2, 1, 2]


def test_stop(rig: Rig) -> None:
    """All are told, and waited for; nobody is started again, and a second time is by a signal."""
    one, two = rig.serving()
    one.ends(signal=9)
    stop = rig.begin(rig.workers.stop())
    assert (left(two), two.signals, stop.called) == (True, [], False)
    rig.workers.kill()
    assert two.signals == ["TERM"]
    two.ends()
    assert stop.called
    rig.reactor.advance(100)
    assert rig.reactor.living == {}
    assert rig.reactor.getDelayedCalls() == []


def test_stop_ends_an_exchange(rig: Rig) -> None:
    """Those that were just begun leave too."""
    one, two = rig.serving()
    exchange = rig.begin(rig.workers.exchange())
    new = rig.reactor.processes[-1]
    stop = rig.begin(rig.workers.stop())
    assert left(one)
    assert left(two)
    assert new.signals == ["TERM"], "it cannot hear yet"
    for each in (new, one, two):
        each.ends()
    assert exchange.called
    assert stop.called
    assert len(rig.reactor.processes) == 3
