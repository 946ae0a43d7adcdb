"""What cannot be shown with a real proxy: bytes that are early, names that cannot be resolved."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, DNSLookupError, TCPTimedOutError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from athensd.outbound.proxies import ProxyURL
from athensd.outbound.tunnel import Digging, ProxyEndpoint, ProxyFailed, Tunnel

PROXY = ProxyURL("http", "proxy.test", 3128, "Basic c4n4ry")
REQUEST = (
    b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nUser-Agent: athensd\r\n"
    b"Proxy-Authorization: Basic c4n4ry\r\n\r\n"
)


@implementer(IStreamClientEndpoint)
class Way:
    """To a proxy in memory, or to an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.transport = StringTransport()
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        self.protocol = factory.buildProtocol(None)
        made: Deferred[Any] = Deferred()
        self.protocol.makeConnection(self.transport)
        made.callback(self.protocol)
        return made


def dig(way: Way) -> tuple[Deferred[Any], list[Any]]:
    ends: list[Any] = []

    def end() -> AccumulatingProtocol:
        ends.append(AccumulatingProtocol())
        return ends[-1]

    factory: Any = Factory.forProtocol(end)
    factory.protocolConnectionMade = None  # which such a protocol asks for
    return Tunnel(way, PROXY, "a.test:443", Clock(), 10).connect(factory), ends


@pytest.mark.parametrize(
    "pieces", [[b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nearly"], [*(bytes([byte]) for byte in b"HTTP/1.0 200\r\n\r\nearly")]]
)
def test_whatever_comes_in_which_pieces(pieces: list[bytes]) -> None:
    """The protocol at our end gets all that is behind the answer, and the end of the connection, and nothing else."""
    way = Way()
    dug, ends = dig(way)
    assert way.transport.value() == REQUEST
    for piece in pieces:
        assert dug.called == bool(ends)
        way.protocol.dataReceived(piece)
    assert dug.result is ends[0]
    way.protocol.dataReceived(b" and late")
    assert (ends[0].data, ends[0].closed) == (b"early and late", 0)
    assert ends[0].transport is way.transport
    way.protocol.connectionLost(Failure(ConnectError()))
    assert ends[0].closed == 1


def test_a_proxy_that_hangs_up() -> None:
    """A connection that ends before there is an answer is the proxy's failure."""
    way = Way()
    dug, ends = dig(way)
    way.protocol.dataReceived(b"HTTP/1.1 200")
    way.protocol.connectionLost()
    reason: Any = dug.result
    dug.addErrback(lambda _: None)
    assert str(reason.value) == "the proxy proxy.test:3128 closed the connection"
    assert ends == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DNSLookupError("proxy.test"), "the name of the proxy proxy.test:3128 could not be resolved"),
        (ConnectTimeout(), "the proxy proxy.test:3128 did not answer in time"),
        (TCPTimedOutError(), "the proxy proxy.test:3128 did not answer in time"),
        (ConnectError(), "the proxy proxy.test:3128 cannot be reached"),
    ],
)
def test_a_proxy_that_is_not_reached(error: Exception, text: str) -> None:
    """Each failure on the way to the proxy is told of the proxy, and is a failure to connect for whoever asks."""
    failed = ProxyEndpoint(Way(error), PROXY).connect(Factory())
    reason: Any = failed.result
    failed.addErrback(lambda _: None)
    assert reason.check(ProxyFailed)
    assert isinstance(reason.value, ConnectError)
    assert str(reason.value) == text


def test_what_they_are() -> None:
    """Endpoints as Twisted has them; ours shows no login where it is printed."""
    verifyObject(IStreamClientEndpoint, ProxyEndpoint(Way(), PROXY))
    verifyObject(IStreamClientEndpoint, Tunnel(Way(), PROXY, "a.test:443", Clock(), 10))
    assert "c4n4ry" not in repr(Tunnel(Way(), PROXY, "a.test:443", Clock(), 10))
    assert Digging(PROXY, "a.test:443").through.called is False
