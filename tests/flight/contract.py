"""What every flight promises (``IFlight``), and every lock service (``ILeases``).

A provider's tests are a subclass that gives the fixture ``flight``, or ``process``.
"""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from athensd.errors import NotFound, StorageFailed
from athensd.interfaces import IFlight, ILeases
from tests.cutting import CuttingProxy
from tests.fakes import result_of, start


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


class FlightContract:
    """Inherit from this and give the fixture ``flight``."""

    def test_interface(self, flight):
        """It is a flight."""
        assert verifyObject(IFlight, flight)

    def test_many_askers(self, flight):
        """Fifty who ask while it is under way get the one result; who asks later begins anew."""
        work = Work()
        askers = [start(flight.run("key", work)) for _ in range(50)]
        work.end.callback("result")
        assert [result_of(asker) for asker in askers] == ["result"] * 50
        assert work.begun == 1
        start(flight.run("key", work))
        assert work.begun == 2

    def test_other_keys(self, flight):
        """Work for another key is other work."""
        one, other = Work(), Work()
        askers = [start(flight.run("one", one)), start(flight.run("other", other))]
        other.end.callback(2)
        assert result_of(askers[1]) == 2
        assert not askers[0].called
        one.end.callback(1)
        assert result_of(askers[0]) == 1

    @pytest.mark.parametrize("leavers", [[0], [2], [0, 1], [0, 1, 2]])
    def test_who_leaves(self, flight, leavers):
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

    def test_failure(self, flight):
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
    def test_work_that_ends_at_once(self, flight, end):
        """Work that never waits is done for its asker alone."""

        async def work():
            return await end()

        asker = start(flight.run("key", work))
        assert asker.called
        asker.addErrback(lambda failure: failure.trap(NotFound))

        async def other():
            return 2

        assert result_of(flight.run("key", other)) == 2

    def test_asking_again_as_soon_as_it_is_done(self, flight):
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


class LeasesContract:
    """Inherit from this and give the fixture ``process``: a function that gives the leases of another process."""

    shortest = 1.0
    """The seconds of a short lease."""

    @pytest.fixture
    def key(self):
        """One that no other test uses."""
        return f"fetch example.com/{uuid4().hex}@v1.2.3 zip"

    def test_interface(self, process):
        """These are leases."""
        assert verifyObject(ILeases, process())

    @ensureDeferred
    async def test_one_of_many(self, process, key):
        """Of many who ask at once, in several processes, one gets it, and has it still when all ask again."""
        leases = [process() for _ in range(3)]
        holders = [f"holder {number}" for number in range(20)]

        async def all_ask():
            asked = [leases[number % 3].take(key, holder, 30) for number, holder in enumerate(holders)]
            return await gatherResults([Deferred.fromCoroutine(take) for take in asked])

        first = await all_ask()
        assert sorted(first) == [False] * 19 + [True]
        assert await all_ask() == first
        winner = first.index(True)
        await leases[winner % 3].give_back(key, holders[winner])

    @pytest.mark.slow
    @ensureDeferred
    async def test_renewed(self, process, key):
        """A lease that is renewed in time is never another's, however long that goes on."""
        mine, other = process(), process()
        assert await mine.take(key, "me", self.shortest)
        began = time.monotonic()
        while time.monotonic() < began + 2.5 * self.shortest:
            await pause(self.shortest / 5)
            assert not await other.take(key, "other", self.shortest)
            assert await mine.take(key, "me", self.shortest)
        await mine.give_back(key, "me")

    @ensureDeferred
    async def test_runs_out(self, process, key):
        """A lease that is not renewed is another's in the end, not before its time and at most two seconds later."""
        leases = process()
        began = time.monotonic()
        assert await leases.take(key, "me", self.shortest)
        while not await leases.take(key, "other", self.shortest):
            assert time.monotonic() - began < self.shortest + 2
            await pause(0.05)
        assert time.monotonic() - began > self.shortest * 0.9
        assert not await leases.take(key, "me", self.shortest)
        await leases.give_back(key, "me")
        assert not await leases.take(key, "third", self.shortest)
        await leases.give_back(key, "other")

    @ensureDeferred
    async def test_given_back(self, process, key):
        """What is given back can be had at once; giving back what one does not have does nothing."""
        mine, other = process(), process()
        await mine.give_back(key, "me")
        assert await mine.take(key, "me", 30)
        await other.give_back(key, "other")
        await mine.give_back(key, "other")
        assert not await other.take(key, "other", 30)
        await mine.give_back(key, "me")
        assert await other.take(key, "other", 30)
        await mine.give_back(key, "me")
        assert not await mine.take(key, "me", 30)
        await other.give_back(key, "other")
        await other.give_back(key, "other")
        assert await mine.take(key, "me", 30)
        await mine.give_back(key, "me")

    @ensureDeferred
    async def test_keys(self, process, key):
        """Whatever is in a key, it is that key and no other, and so it is with a holder."""
        odd = [
            "",
            "/",
            "//",
            "/../x",
            ".",
            " ",
            "%2F",
            "\\",
            "?a=1#b",
            "{tag}",
            "*",
            "ü",
            "\u2028",
            "'\"",
            "!x",
            "X",
            "x",
        ]
        keys = [key + end for end in [*odd, "x" * 2000, "/long" * 300]]
        leases, other = process(), process()
        for number, each in enumerate(keys):
            assert await leases.take(each, f"höl/der {number}", 30), each
        for number, each in enumerate(keys):
            assert not await other.take(each, f"höl/der {number + 1}", 30), each
            assert await leases.take(each, f"höl/der {number}", 30), each
            await leases.give_back(each, f"höl/der {number}")
        for each in keys:
            assert await other.take(each, "other", 30), each
            await other.give_back(each, "other")


class ServerLeasesContract(LeasesContract):
    """Give the fixture ``server`` besides, and let ``process`` go by the port of ``way``."""

    @pytest.fixture
    def way(self, server):
        way = blockon(Deferred.fromCoroutine(CuttingProxy.listening(reactor, server.port)))
        yield way
        blockon(Deferred.fromCoroutine(way.close()))

    @ensureDeferred
    async def test_away_and_back(self, process, key, way):
        """While the server is away that is said at once; when it is back the same leases work again."""
        leases = process()
        assert await leases.take(key, "me", 30)
        await way.refuse()
        for _ in range(3):
            assert await seconds_of_failure(leases.take(key, "me", 30)) < 1
            assert await seconds_of_failure(leases.give_back(key, "me")) < 1
        assert await seconds_of_failure(process().take(key, "other", 30)) < 1
        way.mend()
        assert await leases.take(key, "me", 30)
        assert not await process().take(key, "other", 30)
        await leases.give_back(key, "me")

    @ensureDeferred
    async def test_old_connections(self, process, key, way):
        """That a connection has become old, or breaks off, is not noticed by who asks."""
        leases = process()
        assert await leases.take(key, "me", 30)
        await way.refuse()
        way.mend()
        assert await leases.take(key, "me", 30)
        way.cut(upstream=10)
        assert await leases.take(key, "me", 30)
        way.cut(downstream=2)
        assert await leases.take(key, "me", 30)
        await leases.give_back(key, "me")

    @pytest.mark.slow
    @ensureDeferred
    async def test_silent(self, process, key, way):
        """A server that is there and says nothing is not waited for long, and questions given up leave no queue."""
        leases = process()
        way.hang()
        assert await seconds_of_failure(leases.take(key, "me", 30)) < 5
        asked = [Deferred.fromCoroutine(leases.take(f"{key} {number}", "me", 30)) for number in range(100)]
        await pause(0.1)
        for each in asked:
            each.addErrback(lambda failure: failure.trap(CancelledError, StorageFailed))
            each.cancel()
        way.mend()
        began = time.monotonic()
        while not await works(leases, key):
            await pause(0.1)
        assert time.monotonic() - began < 4


def pause(seconds):
    return deferLater(reactor, seconds)


async def seconds_of_failure(question):
    began = time.monotonic()
    with pytest.raises(StorageFailed) as raised:
        await question
    assert len(str(raised.value)) < 200
    return time.monotonic() - began


async def works(leases, key):
    try:
        return await leases.take(key, "me", 30)
    except StorageFailed:
        return False
