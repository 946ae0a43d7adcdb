"""Leases of the processes on one machine."""

from __future__ import annotations

import os

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock

from athensd.errors import StorageFailed
from athensd.flight.lock_file import FileLeases
from tests.fakes import result_of
from tests.flight.contract import LeasesContract


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "not" / "yet"


@pytest.fixture
def leases(directory):
    return FileLeases(directory, reactor)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class TestFileLeases(LeasesContract):
    """Two of them in one process lock against each other as two processes do."""

    @pytest.fixture
    def process(self, directory):
        return lambda: FileLeases(directory, reactor)


@ensureDeferred
async def test_nothing_stays(leases, directory):
    """With no lease held there is no file, and none is open."""
    before = descriptors()
    for number in range(50):
        assert await leases.take(f"key {number}", "me", 30)
    assert len(list(directory.iterdir())) == 50
    other = FileLeases(directory, reactor)
    assert not await other.take("key 1", "other", 30)
    for number in range(50):
        await leases.give_back(f"key {number}", "me")
    assert list(directory.iterdir()) == []
    assert descriptors() == before


def test_time_of_one_that_was_given_back(directory):
    """The time of a lease that was given back early ends nothing of the next one."""
    clock = Clock()
    leases = FileLeases(directory, clock)
    assert result_of(leases.take("key", "me", 8))
    result_of(leases.give_back("key", "me"))
    assert result_of(leases.take("key", "next", 30))
    clock.advance(9)
    assert not result_of(FileLeases(directory, clock).take("key", "other", 8))
    result_of(leases.give_back("key", "next"))
    assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_files_of_the_dead(leases, directory):
    """What a process that was killed has left is removed at the next start; what is held stays."""
    assert await leases.take("held", "me", 30)
    [held] = directory.iterdir()
    (directory / "0123.lock").touch()
    (directory / "not ours").touch()
    other = FileLeases(directory, reactor)
    assert sorted(directory.iterdir()) == sorted([held, directory / "not ours"])
    assert not await other.take("held", "other", 30)
    await leases.give_back("held", "me")


@ensureDeferred
async def test_removed_while_it_was_opened(leases, directory, monkeypatch):
    """A lock on a file that its last holder has removed counts for nothing, as nobody else would see it."""
    other = FileLeases(directory, reactor)
    assert await leases.take("key", "me", 30)
    opened = os.open

    def open_slowly(*arguments):
        descriptor = opened(*arguments)
        monkeypatch.undo()
        result_of(leases.give_back("key", "me"))
        return descriptor

    monkeypatch.setattr(os, "open", open_slowly)
    before = descriptors()
    assert not await other.take("key", "other", 30)
    assert descriptors() == before - 1
    assert await leases.take("key", "me", 30)
    assert not await other.take("key", "other", 30)
    await leases.give_back("key", "me")


@ensureDeferred
async def test_directory_away_and_back(leases, directory):
    """Without its directory that is said, and when it is back the same leases work again."""
    directory.rename(directory.with_name("away"))
    with pytest.raises(StorageFailed, match="No such file or directory"):
        await leases.take("key", "me", 30)
    directory.with_name("away").rename(directory)
    assert await leases.take("key", "me", 30)
    await leases.give_back("key", "me")
