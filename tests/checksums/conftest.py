"""What the tests of checksum databases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_twisted import blockon

from tests.origin.fakes_http import Room
from tests.rig.sumdb import Database, Server


@pytest.fixture
def room() -> Iterator[Room]:
    """A client for HTTP, whose connections are gone afterwards."""
    room = Room()
    yield room
    blockon(room.pool.closeCachedConnections())


@pytest.fixture
def server() -> Iterator[Server]:
    """A database of some records, at its own URL and as a proxy has it."""
    database = Database()
    database.fill(300)
    with Server(database) as server:
        yield server
