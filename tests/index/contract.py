"""What every index promises (``athensd.interfaces.IIndex``).

A provider's tests are a subclass whose fixture ``make`` gives a function: each call of it makes another index of the
same lines, of which there are none at first.  Those of a database are one whose fixture ``database`` gives it.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from athensd.gomod.version import ModuleVersion
from athensd.index.sql import DatabaseIndex
from athensd.interfaces import IIndex, IndexLine

BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONG = "/".join(["x" * 50] * 6)


def numbered(number: int) -> ModuleVersion:
    """One of many."""
    return ModuleVersion("example.com/m", f"v1.{number}.0")


async def fill(index: Any, count: int) -> list[ModuleVersion]:
    """So many versions, one after the other."""
    versions = [numbered(number) for number in range(count)]
    for version in versions:
        await index.add(version)
    return versions


async def all_lines(index: Any) -> list[IndexLine]:
    return list(await index.since(BEGINNING, 10_000))


class Reader:
    """Who follows an index as Go's protocol has it: asks from the time of the last line, and skips what he has."""

    def __init__(self, index: Any, limit: int) -> None:
        self._index = index
        self._limit = limit
        self._last = BEGINNING
        self._known: set[ModuleVersion] = set()
        self.seen: list[ModuleVersion] = []

    async def read(self) -> bool:
        """One page; whether there was anything new."""
        lines = await self._index.since(self._last, self._limit)
        assert len(lines) <= self._limit
        new = [line.version for line in lines if line.version not in self._known]
        self.seen += new
        self._known.update(new)
        if lines:
            self._last = lines[-1].when
        return bool(new)


class IndexContract:
    """Inherit from this and give the fixture ``make``."""

    @pytest.fixture
    def index(self, make):
        return make()

    def test_interface(self, index):
        """It is an index."""
        assert verifyObject(IIndex, index)

    @ensureDeferred
    async def test_nothing(self, index):
        """At first there is nothing in it, whenever one asks from."""
        for when in (BEGINNING, datetime.now(UTC), END):
            assert list(await index.since(when, 10)) == []

    @ensureDeferred
    async def test_order(self, index):
        """Lines are in the order in which they came, each with a time of its own, in UTC and of today."""
        versions = await fill(index, 20)
        lines = await all_lines(index)
        assert [line.version for line in lines] == versions
        times = [line.when for line in lines]
        assert sorted(set(times)) == times
        assert {time.utcoffset() for time in times} == {timedelta(0)}
        assert abs(times[-1] - datetime.now(UTC)) < timedelta(minutes=1)

    @ensureDeferred
    async def test_second_time(self, make):
        """A version that is there keeps its line, whoever adds it again."""
        index = make()
        versions = await fill(index, 3)
        before = await all_lines(index)
        await make().add(versions[0])
        await index.add(versions[1])
        assert await all_lines(index) == before

    @ensureDeferred
    async def test_since(self, index):
        """A page begins with the line of that very time, if there is one, in whatever time zone it is said."""
        versions = await fill(index, 5)
        times = [line.when for line in await all_lines(index)]
        for number, time in enumerate(times):
            east = time.astimezone(timezone(timedelta(hours=9, minutes=30)))
            for when, first in ((time, number), (east, number), (time + MICROSECOND, number + 1)):
                assert [line.version for line in await index.since(when, 2)] == versions[first : first + 2]
        assert [line.version for line in await index.since(times[0] - timedelta(days=9), 3)] == versions[:3]

    @pytest.mark.parametrize("hours", [-14, 0, 14])
    @ensureDeferred
    async def test_ends_of_the_calendar(self, index, hours):
        """Any time that a request can name is one to ask from."""
        [version] = await fill(index, 1)
        zone = timezone(timedelta(hours=hours))
        assert [line.version for line in await index.since(datetime.min.replace(tzinfo=zone), 9)] == [version]
        assert list(await index.since(datetime.max.replace(tzinfo=zone), 9)) == []

    @ensureDeferred
    async def test_names(self, index):
        """Names come back as they were, and no two of them are taken for one."""
        versions = [
            ModuleVersion("github.com/Azure/azure-sdk-for-go", "v1.0.0"),
            ModuleVersion("github.com/azure/azure-sdk-for-go", "v1.0.0"),
            ModuleVersion("github.com/azure/azure-sdk-for-go", "v1.0.0-RC.1"),
            ModuleVersion("github.com/azure/azure-sdk-for-go", "v1.0.0-rc.1"),
            ModuleVersion("github.com/pkg/errors", "v9.0.0+incompatible"),
            ModuleVersion("github.com/pkg/errors", "v9.0.0"),
            ModuleVersion("gopkg.in/a_b~c.v2", "v2.0.0-20240102030405-0123456789ab"),
            ModuleVersion("example.com/a%b", "v1.0.0"),
            ModuleVersion(f"example.com/{LONG}", "v1.0.0"),
            ModuleVersion(f"example.com/{LONG}", f"v1.0.0-{'y' * 300}"),
            ModuleVersion(f"example.com/{LONG}/", "v1.0.0"),
        ]
        for version in [*versions, *versions]:
            await index.add(version)
        assert [line.version for line in await all_lines(index)] == versions

    @ensureDeferred
    async def test_many_adders(self, make):
        """Who reads while many add the same and other versions, in two processes, gets each once."""
        versions = [numbered(number) for number in range(200)]
        indexes = [make(), make()]

        async def add(seed: int) -> None:
            for version in random.Random(seed).sample(versions, 60):
                await indexes[seed % 2].add(version)

        reader = Reader(make(), 7)
        adding = gatherResults([Deferred.fromCoroutine(add(seed)) for seed in range(20)])
        while await reader.read() or not adding.called:
            pass
        await adding
        while await reader.read():
            pass
        # A line that appeared behind a page would be missing, or stand elsewhere.
        assert [line.version for line in await all_lines(indexes[0])] == reader.seen
        expected = {version for seed in range(20) for version in random.Random(seed).sample(versions, 60)}
        assert set(reader.seen) == expected

    @pytest.mark.slow
    @ensureDeferred
    async def test_three_thousand(self, make):
        """Small pages of many lines: each version once, in order."""
        versions = await fill(make(), 3000)
        reader = Reader(make(), 7)
        while await reader.read():
            pass
        assert reader.seen == versions


class DatabaseContract(IndexContract):
    """Inherit from this and give the fixture ``database``."""

    @async_yield_fixture
    async def make(self, database):
        indexes = []

        def another() -> DatabaseIndex:
            indexes.append(DatabaseIndex(database, deferToThread))
            return indexes[-1]

        yield another
        for index in indexes:
            await index.close()

    @ensureDeferred
    async def test_all_begin_at_once(self, make):
        """Several processes find no table at the same time, and each of them can use it."""
        await gatherResults([Deferred.fromCoroutine(make().add(numbered(number))) for number in range(5)])
        assert {line.version for line in await all_lines(make())} == {numbered(number) for number in range(5)}

    @ensureDeferred
    async def test_who_asked_has_left(self, index):
        """Work goes on when nobody waits for it any more, and the next one waits for its turn."""
        for number in range(20):
            Deferred.fromCoroutine(index.add(numbered(number))).addErrback(lambda failure: None).cancel()
        await index.add(numbered(20))
        assert [line.version for line in await all_lines(index)] == [numbered(number) for number in range(21)]
