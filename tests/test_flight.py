"""One piece of work for any number of askers."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from zope.interface.verify import verifyObject

from athensd.errors import NotFound
from athensd.flight import MemoryFlight, WatchedFlight
from athensd.interfaces import IFlight
from tests.fakes import Steps, result_of, start


class Work:
    """Counts how often it was begun, and ends when it is told to."""

    def __init__(self):
        self.begun = 0
        self.cancelled = 0
        self.end = None

    async def __call__(self):
        self.begun += 1
        self.end = Deferred(lambda _: self.count_cancelled())
        return await self.end

    def count_cancelled(self):
        self.cancelled += 1


@pytest.fixture(params=[MemoryFlight, lambda: WatchedFlight(MemoryFlight())], ids=["memory", "watched"])
def flight(request):
    return request.param()


def test_interface(flight):
    """It is a flight."""
    assert verifyObject(IFlight, flight)


def test_many_askers(flight):
    """Fifty who ask while it is under way get the one result; who asks later begins anew."""
    work = Work()
    askers = [start(flight.run("key", work)) for _ in range(50)]
    work.end.callback("result")
    assert [result_of(asker) for asker in askers] == ["result"] * 50
    assert work.begun == 1
    start(flight.run("key", work))
    assert work.begun == 2


def test_other_keys(flight):
    """Work for another key is other work."""
    one, other = Work(), Work()
    askers = [start(flight.run("one", one)), start(flight.run("other", other))]
    other.end.callback(2)
    assert result_of(askers[1]) == 2
    assert not askers[0].called
    one.end.callback(1)
    assert result_of(askers[0]) == 1


@pytest.mark.parametrize("leavers", [[0], [2], [0, 1], [0, 1, 2]])
def test_who_leaves(flight, leavers):
    """Whoever leaves, the first too, and even all of them: the work goes on for the others."""
    work = Work()
    askers = [start(flight.run("key", work)) for _ in range(3)]
    for number in leavers:
        askers[number].cancel()
        with pytest.raises(CancelledError):
            result_of(askers[number])
    assert work.cancelled == 0
    late = start(flight.run("key", work))
    work.end.callback("result")
    assert result_of(late) == "result"
    assert [result_of(asker) for number, asker in enumerate(askers) if number not in leavers] == ["result"] * (
        3 - len(leavers)
    )
    assert work.begun == 1


def test_failure(flight):
    """The failure of the work is everybody's, and is not remembered."""
    work = Work()
    askers = [start(flight.run("key", work)) for _ in range(3)]
    work.end.errback(NotFound("gone"))
    for asker in askers:
        with pytest.raises(NotFound, match="gone"):
            result_of(asker)
    again = start(flight.run("key", work))
    work.end.callback("there")
    assert result_of(again) == "there"


@pytest.mark.parametrize("end", [lambda: succeed(1), lambda: fail(NotFound("no"))])
def test_work_that_ends_at_once(flight, end):
    """Work that never waits is done for its asker alone."""

    async def work():
        return await end()

    asker = start(flight.run("key", work))
    assert asker.called
    asker.addErrback(lambda failure: failure.trap(NotFound))

    async def other():
        return 2

    assert result_of(flight.run("key", other)) == 2


def test_asking_again_as_soon_as_it_is_done(flight):
    """An asker who asks again at the moment of the answer begins new work, and does not wait for the old."""
    work = Work()

    async def twice():
        first = await flight.run("key", work)
        return first, await flight.run("key", work)

    asker = start(twice())
    work.end.callback(1)
    assert work.begun == 2
    work.end.callback(2)
    assert result_of(asker) == (1, 2)


def test_stop():
    """At the end all work is cancelled, and whoever waits sees it."""
    flight, works = MemoryFlight(), [Work(), Work()]
    askers = [start(flight.run(str(number), work)) for number, work in enumerate(works)]
    flight.stop()
    assert [work.cancelled for work in works] == [1, 1]
    for asker in askers:
        with pytest.raises(CancelledError):
            result_of(asker)


def test_who_joins_is_known(steps: Steps):
    """Each asker is a step; all but the first wait for work that was under way."""
    flight, work = WatchedFlight(MemoryFlight()), Work()
    for _ in range(3):
        start(flight.run("key", work))
    work.end.callback("result")
    assert [(step.facts["key"], step.facts["joined"]) for step in steps.named("flight")] == [
        ("key", False),
        ("key", True),
        ("key", True),
    ]
