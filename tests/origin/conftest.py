"""What the tests of origins over HTTP share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme
from pytest_twisted import blockon
from twisted.internet.defer import gatherResults

from tests.origin.fakes_http import Room


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the servers of a room."""
    return trustme.CA()


@pytest.fixture
def room(authority: trustme.CA) -> Iterator[Room]:
    """A client and the servers that a test starts for it, all gone afterwards."""
    room = Room(authority)
    yield room
    blockon(room.pool.closeCachedConnections())
    blockon(gatherResults([server.stop() for server in room.servers]))
