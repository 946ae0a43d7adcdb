"""What is asked, and by what."""

from __future__ import annotations

import pytest
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.web.client import Agent, HTTPConnectionPool

from athensd.streams import plain_client
from tests.origin.fakes_http import Room


@pytest.fixture
def client():
    """One with connections that it keeps for the length of a test."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 20
    yield plain_client(Agent(reactor, pool=pool, connectTimeout=5))
    blockon(pool.closeCachedConnections())


@pytest.fixture
def room():
    """Servers that are gone afterwards."""
    room = Room()
    yield room
    blockon(gatherResults([server.stop() for server in room.servers]))
