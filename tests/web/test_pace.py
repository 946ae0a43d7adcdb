"""Clients that are too slow, and too many of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from athensd.web.pace import LEAST, paced
from tests.web.fakes import Connection, Daemon

POST = b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"
REQUEST = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"


class Channel:
    """As much of an ``HTTPChannel`` as is needed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.site = SimpleNamespace(timeOut=60)
        self.transport = StringTransport()
        self.taken = 0


@pytest.fixture
def timed(daemon: Daemon) -> Daemon:
    """One whose clients are given a minute."""
    daemon.site.timeOut = 60
    daemon.site.reactor = daemon.clock
    return daemon


def test_a_body_that_is_taken() -> None:
    """Whoever takes 1 KiB a second may go on for hours; in the end nothing is left to be called."""
    channel = Channel()
    with paced(channel, lambda: channel.taken):
        for _ in range(600):
            channel.taken += 10 * LEAST
            channel.clock.advance(10)
    assert not channel.transport.disconnected
    assert channel.clock.getDelayedCalls() == []


@pytest.mark.parametrize("rate", [0, LEAST - 1])
def test_a_body_that_is_not_taken(rate: int) -> None:
    """Whoever takes less is cut off after the time he was given, even if he did well before."""
    channel = Channel()
    with paced(channel, lambda: channel.taken):
        channel.taken = 10 * 60 * LEAST
        channel.clock.advance(60)
        channel.taken += 59 * rate
        channel.clock.advance(59)
        assert not channel.transport.disconnected
        channel.taken += rate
        channel.clock.advance(1)
        assert channel.transport.disconnected


def test_without_a_limit() -> None:
    """A channel without a time-out has all the time there is."""
    channel = Channel()
    channel.site.timeOut = None
    with paced(channel, lambda: 0):
        assert channel.clock.getDelayedCalls() == []


@pytest.mark.parametrize("head", [b"GET /" + b"x" * 99, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 30, POST + b"x" * 50])
def test_a_request_that_trickles_in(timed: Daemon, head: bytes) -> None:
    """However often a byte comes, the whole must be there within a minute."""
    connection = timed.connect()
    connection.send(REQUEST)
    for at in range(60):
        assert not connection.transport.disconnected
        connection.send(head[at : at + 1])
        timed.clock.advance(1)
    assert connection.transport.disconnected


def test_many_requests_on_one_connection(timed: Daemon) -> None:
    """Whoever sends whole requests, in pieces or not, may do so for hours; then an idle client is let go."""
    connection = timed.connect()
    for _ in range(200):
        connection.send(REQUEST[:9])
        timed.clock.advance(20)
        connection.send(REQUEST[9:])
        timed.clock.advance(20)
    assert connection.transport.value().count(b"200 OK") == 200
    assert not connection.transport.disconnecting
    timed.clock.advance(60)
    assert connection.transport.disconnecting
    connection.hang_up()
    assert timed.clock.getDelayedCalls() == []


def test_who_leaves_in_the_middle(timed: Daemon) -> None:
    """Nothing is left to be called for a connection that is gone."""
    connection = timed.connect()
    connection.send(REQUEST[:9])
    connection.hang_up()
    assert timed.clock.getDelayedCalls() == []


def connect(daemon: Daemon, host: str) -> Connection | None:
    protocol = daemon.site.buildProtocol(IPv4Address("TCP", host, 4711))
    if protocol is None:
        return None
    connection = Connection(protocol)
    protocol.makeConnection(connection.transport)
    return connection


def test_too_many_connections(daemon: Daemon) -> None:
    """Beyond the limit connections are closed at once, and a line says so; when one leaves there is room again."""
    daemon.site._most = 2
    first, second = connect(daemon, "192.0.2.1"), connect(daemon, "192.0.2.2")
    with capture_logs() as lines:
        assert connect(daemon, "192.0.2.3") is None
        assert connect(daemon, "192.0.2.3") is None
    assert [(line["bound"], line["client"]) for line in lines] == [("MaxConnections", "192.0.2.3")]
    assert first and second
    first.hang_up()
    assert connect(daemon, "192.0.2.3")
    assert daemon.site.connections == 2


def test_too_many_of_one_client(daemon: Daemon) -> None:
    """One client's connections are counted by themselves."""
    daemon.site._most_of_one = 1
    first = connect(daemon, "192.0.2.1")
    assert first
    assert connect(daemon, "192.0.2.1") is None
    assert connect(daemon, "192.0.2.2")
    first.hang_up()
    assert connect(daemon, "192.0.2.1")


def test_a_store_that_is_slow() -> None:
    """While it is not the client who is waited for he is not cut off."""
    channel = Channel()
    with paced(channel, lambda: 0, lambda: False):
        channel.clock.advance(600)
        assert not channel.transport.disconnected


def test_requests_that_end_in_the_middle_of_the_next(timed: Daemon) -> None:
    """Each request behind another has a minute of its own, however the pieces fall."""
    connection = timed.connect()
    connection.send(REQUEST[:9])
    for _ in range(20):
        timed.clock.advance(20)
        connection.send(REQUEST[9:] + REQUEST[:9])
    assert not connection.transport.disconnected
    assert connection.transport.value().count(b"200 OK") == 20


def test_who_takes_slowly_what_the_lane_sent(timed: Daemon) -> None:
    """A client that has got more than it can take is not idle as long as it takes some."""
    connection = timed.connect()
    connection.send(REQUEST)
    channel = connection.protocol
    transport: Any = connection.transport
    transport.dataBuffer = bytes(300 * LEAST)
    channel._unsent = len(transport.dataBuffer)
    for _ in range(4):
        transport.dataBuffer = transport.dataBuffer[70 * LEAST :]
        timed.clock.advance(60)
        assert not transport.disconnecting
    timed.clock.advance(60)
    assert transport.disconnecting
