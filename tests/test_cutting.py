"""The proxy that cuts: what each of its ways looks like from the client."""

from __future__ import annotations

import random
import socket

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from tests.cutting import HOST, Cut, CuttingProxy
from tests.integration.process import free_ports

MESSAGE = random.Random(1).randbytes(1000)
LARGE = MESSAGE * 10_000


class Echo(Protocol):
    """Sends back what it is sent; what that was is told when the connection is lost."""

    def connectionMade(self):
        self.received = bytearray()

    def dataReceived(self, data):
        self.received += data
        self.transport.write(data)

    def connectionLost(self, reason):
        self.factory.lost.put(self.received)


@pytest.fixture
def echo():
    factory = Factory.forProtocol(Echo)
    factory.lost = DeferredQueue()
    return factory


@async_yield_fixture
async def proxy(echo):
    server = reactor.listenTCP(0, echo, interface=HOST)
    proxy = await CuttingProxy.listening(reactor, server.getHost().port)
    yield proxy
    await proxy.close()
    await server.stopListening()


def connect(proxy, timeout=10.0):
    return socket.create_connection((HOST, proxy.port), timeout)


def exchange(connection, data=MESSAGE):
    """What comes back of this, and how it ends where not all of it does."""
    read = b""
    try:
        connection.sendall(data)
        while len(read) < len(data):
            piece = connection.recv(len(data))
            if not piece:
                return read, "FIN"
            read += piece
    except (ConnectionResetError, BrokenPipeError):
        return read, "RST"
    except TimeoutError:
        return read, "silence"
    return read, ""


def talk(proxy, data=MESSAGE):
    try:
        connection = connect(proxy)
    except ConnectionResetError:
        return b"", "RST"
    with connection:
        return exchange(connection, data)


@ensureDeferred
async def test_uncut(proxy):
    """Without a plan everything passes, in both directions."""
    assert await deferToThread(talk, proxy) == (MESSAGE, "")
    assert (proxy.connections, proxy.cuts) == (1, 0)


@pytest.mark.parametrize(
    ("data", "after"), [(MESSAGE, 0), (MESSAGE, 1), (MESSAGE, 1000), (LARGE, 999), (LARGE, 9_999_999)]
)
@ensureDeferred
async def test_cut_downstream(proxy, after, data):
    """So many connections are cut at the byte, while the client sends still, and the next one is not."""
    proxy.cut(downstream=after, connections=2)
    for _ in range(2):
        assert await deferToThread(talk, proxy, data) == (data[:after], "FIN" if after < len(data) else "")
    assert await deferToThread(talk, proxy) == (MESSAGE, "")
    assert (proxy.connections, proxy.cuts) == (3, 2)


@pytest.mark.parametrize(
    ("data", "after"), [(MESSAGE, 0), (MESSAGE, 1), (MESSAGE, 1000), (LARGE, 999), (LARGE, 9_999_999)]
)
@ensureDeferred
async def test_cut_upstream(proxy, echo, after, data):
    """So much arrives at the server, while the client sends still, and it hears that it is over."""
    proxy.cut(upstream=after)
    read, end = await deferToThread(talk, proxy, data)
    assert end == "FIN"
    assert data[:after].startswith(read)
    assert await echo.lost.get() == data[:after]


@ensureDeferred
async def test_cut_before_slow_client(proxy):
    """What waits for a client that reads only when it has sent everything is not lost by the cut."""
    for after in range(6_000_000, 10_000_000, 700_000):
        proxy.cut(downstream=after)
        assert await deferToThread(talk, proxy, LARGE) == (LARGE[:after], "FIN")


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
@ensureDeferred
async def test_reset(proxy, echo, direction):
    """A connection can be broken off, at both ends, and no more has passed then than was to."""
    proxy.cut(**{direction: 500}, reset=True)
    read, end = await deferToThread(talk, proxy)
    assert end == "RST"
    assert MESSAGE[:500].startswith(read)
    assert MESSAGE.startswith(await echo.lost.get())


@ensureDeferred
async def test_open_connection(proxy):
    """A connection that was open before is cut too, and what it carried before does not count."""
    with connect(proxy) as connection:
        assert await deferToThread(exchange, connection) == (MESSAGE, "")
        proxy.cut(downstream=700)
        assert await deferToThread(exchange, connection) == (MESSAGE[:700], "FIN")


@ensureDeferred
async def test_random_plan(proxy):
    """A seed gives the same cuts again; every connection is cut, in time, and in each of the ways."""

    async def ends():
        proxy.cut_at_random(random.Random(7), len(MESSAGE))
        return [await deferToThread(talk, proxy) for _ in range(20)]

    first, second = await ends(), await ends()
    assert [end for _, end in first] == [end for _, end in second]
    assert {end for _, end in first} == {"FIN", "RST"}
    assert [read for read, end in first if end == "FIN"] == [read for read, end in second if end == "FIN"]
    assert proxy.cuts == 40


@ensureDeferred
async def test_follow(proxy):
    """A plan is a cut for each connection, of which some may be none."""
    proxy.follow([Cut(), Cut(downstream=3), Cut()])
    assert [len((await deferToThread(talk, proxy))[0]) for _ in range(4)] == [1000, 3, 1000, 1000]


@ensureDeferred
async def test_refuse(proxy):
    """Nobody is there for a while, at either end; then there is again, at the same port."""
    with connect(proxy) as connection:
        await deferToThread(exchange, connection)
        await proxy.refuse()
        assert await deferToThread(exchange, connection) == (b"", "RST")
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(talk, proxy)
    proxy.mend()
    assert await deferToThread(talk, proxy) == (MESSAGE, "")


@ensureDeferred
async def test_hang(proxy):
    """Connections are taken, and nothing comes, on an older one neither; mended, they go on where they were."""
    with connect(proxy, 0.2) as old, connect(proxy, 0.2) as new:
        await deferToThread(exchange, old)
        proxy.hang()
        for connection in (old, new):
            assert await deferToThread(exchange, connection) == (b"", "silence")
        proxy.mend()
        for connection in (old, new):
            assert await deferToThread(connection.recv, 1000) == MESSAGE


@ensureDeferred
async def test_slow_server(proxy):
    """A server that does not read holds up who sends."""
    with socket.create_server((HOST, 0)) as server:
        between = await CuttingProxy.listening(reactor, server.getsockname()[1])
        with connect(between, 0.5) as connection:
            with pytest.raises(TimeoutError):
                await deferToThread(connection.sendall, bytes(100_000_000))
        await between.close()


@ensureDeferred
async def test_no_server():
    """Where the server does not listen, what was taken is broken off."""
    between = await CuttingProxy.listening(reactor, free_ports(1)[0])
    assert await deferToThread(talk, between) == (b"", "RST")
    await between.close()


@ensureDeferred
async def test_client_leaves(proxy, echo):
    """What the client closes is closed at the server too, once all has arrived there."""
    await deferToThread(talk, proxy)
    assert await echo.lost.get() == MESSAGE
