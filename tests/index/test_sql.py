"""What is common to databases: connections, turns, and what becomes of errors."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from athensd.errors import StorageFailed, Unsupported
from athensd.index.sql import DatabaseIndex
from tests.fakes import at_once, result_of, start
from tests.index.contract import BEGINNING, numbered


class FakeDatabase:
    """A database of which the next pieces of work end as ``outcomes`` says."""

    errors = (ConnectionError,)

    def __init__(self) -> None:
        self.outcomes: list[Exception | None] = []
        self.refuses = False
        self.connections: list[FakeConnection] = []
        self.added: list[Any] = []

    def connect(self) -> FakeConnection:
        if self.refuses:
            raise ConnectionRefusedError
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def add(self, connection, version):
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        self.added.append((connection, version))

    def since(self, connection, when, limit):
        return []

    def reason(self, error):
        return type(error).__name__


class FakeConnection:
    closed = False

    def close(self):
        self.closed = True
        raise BrokenPipeError


@pytest.fixture
def database():
    return FakeDatabase()


@pytest.fixture
def index(database):
    return DatabaseIndex(database, at_once)


def test_one_connection(database, index):
    """There is none before it is wanted, and then one for all who add; whoever reads has another."""
    assert database.connections == []
    for number in range(3):
        result_of(index.add(numbered(number)))
    assert len(database.connections) == 1
    result_of(index.since(BEGINNING, 1))
    assert len(database.connections) == 2
    result_of(index.close())
    assert all(connection.closed for connection in database.connections)


def test_a_broken_connection(database, index):
    """The work is done again with a new one, once."""
    result_of(index.add(numbered(0)))
    database.outcomes = [ConnectionResetError()]
    result_of(index.add(numbered(1)))
    first, then = database.connections
    assert (first.closed, then.closed) == (True, False)
    assert database.added == [(first, numbered(0)), (then, numbered(1))]
    database.outcomes = [ConnectionResetError(), BrokenPipeError()]
    with pytest.raises(StorageFailed, match=r"^the index cannot be used: BrokenPipeError$"):
        result_of(index.add(numbered(2)))
    assert all(connection.closed for connection in database.connections)
    result_of(index.add(numbered(2)))
    assert database.outcomes == []


def test_a_new_connection_is_not_replaced(database, index):
    """What fails on a connection that was made just now fails."""
    database.outcomes = [ConnectionResetError(), None]
    with pytest.raises(StorageFailed):
        result_of(index.add(numbered(0)))
    assert len(database.connections) == 1
    database.refuses = True
    with pytest.raises(StorageFailed, match=r"^the index cannot be used: ConnectionRefusedError$"):
        result_of(index.add(numbered(0)))


def test_words_of_ours(database, index):
    """What the database room says itself is passed on, and the connection is as good as before."""
    database.outcomes = [Unsupported("too long")]
    with pytest.raises(Unsupported, match="too long"):
        result_of(index.add(numbered(0)))
    result_of(index.add(numbered(1)))
    assert len(database.connections) == 1


def test_turns(database):
    """A connection is used by one thread at a time, even when whoever asked has left while his thread goes on."""
    threads = []

    def in_thread(function, *arguments):
        threads.append(Deferred())
        return threads[-1].addCallback(lambda _: function(*arguments))

    index = DatabaseIndex(database, in_thread)
    first, second, third = (start(index.add(numbered(number))) for number in range(3))
    assert len(threads) == 1
    first.cancel()
    with pytest.raises(CancelledError):
        result_of(first)
    assert (len(threads), second.called) == (1, False)
    for _ in range(3):
        threads[-1].callback(None)
    result_of(second)
    result_of(third)
    assert [version for _, version in database.added] == [numbered(0), numbered(1), numbered(2)]
