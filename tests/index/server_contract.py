"""What an index in a database on another machine promises besides: how it gets on with the server and with Athens."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, tzinfo
from itertools import count
from typing import Any, Protocol

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from athensd.errors import StorageFailed, Unsupported
from athensd.gomod.version import ModuleVersion
from athensd.index.late import PAUSE, LateIndex
from athensd.index.sql import Database, DatabaseIndex
from tests.index.contract import BEGINNING, MICROSECOND, DatabaseContract, Reader, all_lines, numbered
from tests.servers import Server

NAMES = count()
AZURE, AZURE_TOO = (ModuleVersion(f"github.com/{name}/sdk", "v1.0.0") for name in ("Azure", "azure"))


class Door(Protocol):
    """The server as its operator sees it, and how athensd gets in."""

    server: Server

    def execute(self, statement: str, database: str = "") -> Sequence[Sequence[Any]]:
        """The rows of a statement."""

    def connection(self, database: str) -> Any:
        """A connection with a transaction of its own, of the server's library."""

    def throw_out(self, database: str) -> int:
        """End every connection to a database; how many there were."""

    def waiting(self) -> bool:
        """Whether somebody waits for a lock."""

    def database(self, name: str, **others: Any) -> Database:
        """Ours, with other settings than those that are right."""


async def until(look: Callable[[], bool]) -> None:
    """Wait until it is so."""
    for _ in range(1000):
        if await deferToThread(look):
            return
        await deferLater(reactor, 0.01, lambda: None)
    raise AssertionError("it never came to that")


class ServerContract(DatabaseContract):
    """Inherit from this; give the fixture ``door`` and what stands here in the words of the database."""

    athens: Sequence[str]
    """The statements by which Athens makes its table."""
    wall: tzinfo
    """The time zone of the times in it."""
    hold_table: str
    """A statement by which a transaction lets nobody else read or write the table."""
    begin_slow: Sequence[str]
    """The statements by which a slow athensd, whose clock was ahead, adds example.com/slow v1.0.0.

    ``end_slow`` is what it does last.
    """
    end_slow: Sequence[str]
    running: Callable[..., AbstractContextManager[Door]]
    """Starts a server whose data are in a directory, at a port if one is given."""
    grants: Sequence[str]
    """The statements that let the user clerk read and insert."""

    @pytest.fixture
    def name(self, door):
        """A database with nothing in it."""
        name = f"index{next(NAMES)}"
        door.execute(f"CREATE DATABASE {name}")
        return name

    @pytest.fixture
    def database(self, door, name):
        return door.database(name)

    @pytest.fixture
    def athens_table(self, door, name):
        """The table as Athens leaves it: times are those of the wall, lines of one moment are there, and no order."""
        for statement in self.athens:
            door.execute(statement, name)
        for row in (
            "('example.com/m', 'v1.2.0', '2024-01-02 03:04:05.5')",
            "('example.com/m', 'v1.1.0', '2024-01-02 03:04:05.123456')",
            "('github.com/Azure/sdk', 'v1.0.0', '2024-01-02 03:04:05.5')",
        ):
            door.execute(f"INSERT INTO indexes (path, version, timestamp) VALUES {row}", name)

    @pytest.mark.usefixtures("athens_table")
    @ensureDeferred
    async def test_athens_table(self, make):
        """The table that Athens filled is served as it is, in order, and goes on behind what is there."""
        index = make()
        old = await all_lines(index)
        assert [line.version for line in old] == [numbered(1), numbered(2), AZURE]
        assert old[0].when == datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=self.wall)
        for version in (AZURE, numbered(1), numbered(3), AZURE_TOO):
            await index.add(version)
        lines = await all_lines(make())
        assert lines[:3] == old
        assert [line.version for line in lines[3:]] == [numbered(3), AZURE_TOO]
        assert abs(lines[3].when - datetime.now(UTC)).total_seconds() < 60
        reader = Reader(make(), 3)
        while await reader.read():
            pass
        assert reader.seen == [line.version for line in lines]

    @pytest.mark.usefixtures("athens_table")
    @ensureDeferred
    async def test_athens_clock_was_ahead(self, door, name, index):
        """Athens wrote down the time of its wall; where that is ahead of ours, new lines follow all the same."""
        door.execute("UPDATE indexes SET timestamp = '2037-01-01 00:00:00' WHERE version = 'v1.1.0'", name)
        for number in (5, 6):
            await index.add(numbered(number))
        last = (await all_lines(index))[-3:]
        assert [line.version for line in last] == [numbered(1), numbered(5), numbered(6)]
        assert [line.when - last[0].when for line in last] == [0 * MICROSECOND, MICROSECOND, 2 * MICROSECOND]

    @ensureDeferred
    async def test_a_slow_writer(self, door, name, index):
        """Whoever adds waits for another one who is not done yet: no line appears before one that could be seen."""
        await self.slow_writer(door, name, index)

    async def slow_writer(self, door, name, index):
        await index.add(numbered(0))
        with door.connection(name) as other:
            cursor = other.cursor()
            for statement in self.begin_slow:
                cursor.execute(statement)
            adding = Deferred.fromCoroutine(index.add(numbered(1)))
            await until(door.waiting)
            assert [line.version for line in await all_lines(index)] == [numbered(0)]
            for statement in self.end_slow:
                cursor.execute(statement)
            await adding
        slow = ModuleVersion("example.com/slow", "v1.0.0")
        assert [line.version for line in await all_lines(index)] == [numbered(0), slow, numbered(1)]

    @ensureDeferred
    async def test_connections_are_lost(self, door, name, index):
        """Connections that the server ended are noticed and replaced, and nobody sees any of it."""
        for number in range(3):
            await index.add(numbered(number))
            assert len(await all_lines(index)) == number + 1
            assert await deferToThread(door.throw_out, name) == 2

    @ensureDeferred
    async def test_server_stands_still(self, door, name):
        """A server that says nothing is given up, and used again when it moves."""
        index = DatabaseIndex(door.database(name, silence=1.0), deferToThread)
        await index.add(numbered(0))
        with door.connection(name) as other:
            other.cursor().execute(self.hold_table)
            for work in (index.since(BEGINNING, 1), index.add(numbered(1))):
                with pytest.raises(StorageFailed, match=r"^the index cannot be used: "):
                    await Deferred.fromCoroutine(work).addTimeout(10, reactor)
        await index.add(numbered(1))
        assert [line.version for line in await all_lines(index)] == [numbered(0), numbered(1)]
        await index.close()

    @ensureDeferred
    async def test_server_is_stopped_and_comes_back(self, tmp_path):
        """What is added while the server is down is in the index a while after it is up again."""
        clock = Clock()
        with self.running(tmp_path) as door:
            door.execute("CREATE DATABASE outage")
            index = DatabaseIndex(door.database("outage"), deferToThread)
            late = LateIndex(index, tmp_path / "journal", clock, deferToThread)
            late.start()
            await late.add(numbered(0))
        for number in (1, 2):
            await Deferred.fromCoroutine(late.add(numbered(number))).addTimeout(3, reactor)
        with pytest.raises(StorageFailed, match="no connection to its database"):
            await late.since(BEGINNING, 1)
        assert late.size == 2
        with self.running(tmp_path, door.server.port):
            clock.advance(PAUSE)
            await until(lambda: not late.size)
            assert [line.version for line in await all_lines(late)] == [numbered(0), numbered(1), numbered(2)]
            await late.stop()
            await index.close()

    @pytest.mark.parametrize(
        ("others", "words"),
        [
            ({"password": "guessed"}, "its database refuses this user or password"),
            ({"user": "nobody"}, "its database refuses this user or password"),
            ({"database": "nowhere"}, "there is no such database"),
            ({"port": 1}, "no connection to its database"),
            ({"host": "nowhere.invalid"}, "no connection to its database"),
        ],
    )
    @ensureDeferred
    async def test_wrong_settings(self, door, name, others, words):
        """What is wrong is said at once, in words that name no user, no host and no password."""
        index = DatabaseIndex(door.database(name, **others), deferToThread)
        for work in (index.add(numbered(1)), index.since(BEGINNING, 1)):
            with pytest.raises(StorageFailed, match=f"^the index cannot be used: {words}") as raised:
                await Deferred.fromCoroutine(work).addTimeout(8, reactor)
            for secret in (door.server.password, door.server.host, *map(str, others.values())):
                assert secret not in str(raised.value)

    @ensureDeferred
    async def test_nobody_answers(self, door, name):
        """A machine that takes connections and says nothing is given up."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            database = door.database(name, port=silent.getsockname()[1], connect=1, silence=1)
            with pytest.raises(StorageFailed):
                await Deferred.fromCoroutine(DatabaseIndex(database, deferToThread).add(numbered(1))).addTimeout(
                    8, reactor
                )

    @ensureDeferred
    async def test_tls_is_wanted(self, door, name):
        """Where TLS is wanted and the server has none nothing is sent in the clear."""
        index = DatabaseIndex(door.database(name, tls=True), deferToThread)
        with pytest.raises(StorageFailed, match="no TLS connection to its database"):
            await index.add(numbered(1))

    @pytest.mark.usefixtures("athens_table")
    @ensureDeferred
    async def test_who_may_only_add_and_read(self, door, name, make):
        """No more is needed than to read and to insert when the table is there and fit."""
        await make().add(numbered(7))
        for statement in self.grants:
            door.execute(statement, name)
        index = DatabaseIndex(door.database(name, user="clerk", password="pencil"), deferToThread)
        await index.add(AZURE_TOO)
        await index.add(numbered(8))
        assert [line.version for line in await all_lines(index)][-3:] == [numbered(7), AZURE_TOO, numbered(8)]
        await index.close()

    @ensureDeferred
    async def test_too_long(self, index):
        """What the table cannot hold is told from what may be tried again, and disturbs nothing."""
        await index.add(numbered(0))
        # Random text, since PostgreSQL packs what repeats itself.
        with pytest.raises(Unsupported, match="too long"):
            await index.add(ModuleVersion(f"example.com/{unlike_itself(9000)}", "v1.0.0"))
        await index.add(numbered(1))
        assert [line.version for line in await all_lines(index)] == [numbered(0), numbered(1)]


def unlike_itself(length: int) -> str:
    """Text that cannot be packed."""
    return "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789-._~", k=length))
