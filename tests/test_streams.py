"""Bodies of HTTP messages, both ways, over real connections."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.server import NOT_DONE_YET

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import StorageFailed
from athensd.streams import Broken, exchange, pieces, plain_client, read_bounded
from tests.integration.process import free_ports
from tests.origin.fakes_http import Room, answer, cut, silent
from tests.storage.contract import BrokenBlob

MIB = 1 << 20


@pytest.fixture
def room():
    """Servers that are gone afterwards."""
    room = Room()
    yield room
    for server in room.servers:
        server.stop()


@pytest.fixture
def client():
    pool = HTTPConnectionPool(reactor)
    yield plain_client(Agent(reactor, pool=pool, connectTimeout=5))
    pool.closeCachedConnections()


def asked(client, url, **more):
    return exchange(client, reactor, more.pop("method", "GET"), url, more.pop("headers", {}), **{"idle": 5, **more})


async def content(response, idle=5.0):
    return b"".join([piece async for piece in pieces(response, idle, reactor)])


async def until(condition, seconds=10.0):
    """Let the reactor run until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await pause(0.01)


def pause(seconds):
    waiting = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


@define
class CountedBlob:
    """A large blob of which is known how much was read."""

    length: int
    read: int = 0
    closed: bool = False

    def file(self):
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        try:
            for _ in range(self.length // MIB):
                self.read += MIB
                yield bytes(MIB)
        finally:
            self.closed = True


@define
class Listener(Factory):
    """A server that keeps what it is sent, and reads only when told to."""

    reading: bool = True
    reply: bytes = b""
    received: int = 0
    lost: bool = False
    connections: list = field(factory=list)

    def buildProtocol(self, addr):
        protocol = _Connection(self)
        self.connections.append(protocol)
        return protocol


class _Connection(Protocol):
    def __init__(self, listener):
        self.listener = listener

    def connectionMade(self):
        if not self.listener.reading:
            self.transport.pauseProducing()

    def dataReceived(self, data):
        if not self.listener.received and self.listener.reply:
            self.transport.write(self.listener.reply)
        self.listener.received += len(data)

    def connectionLost(self, reason):
        self.listener.lost = True


@pytest.fixture
def listen():
    ports = []

    def listen(listener):
        ports.append(reactor.listenTCP(0, listener, interface="127.0.0.1"))
        return f"http://127.0.0.1:{ports[-1].getHost().port}/"

    yield listen
    for port in ports:
        port.stopListening()


@pytest.mark.parametrize("size", [0, 1, 65536, 3 * MIB + 1])
@ensureDeferred
async def test_both_ways(room, client, tmp_path, size):
    """What is sent arrives, and what is answered is read, byte by byte."""
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    server = room.serve(lambda request: request.content.read())
    for blob in (BytesBlob(data), FileBlob(tmp_path / "file", size)):
        response = await asked(client, server.url, method="PUT", blob=blob)
        assert await content(response) == data
    assert [one.headers["content-length"] for one in server.asked] == [str(size)] * 2
    assert len({one.peer.port for one in server.asked}) == 1, "the connection is used again"


@ensureDeferred
async def test_a_slow_server_slows_the_reading(client, listen):
    """Of what is sent no more is read than the connection takes; when the server goes on, so do we."""
    listener, blob = Listener(reading=False), CountedBlob(64 * MIB)
    url = listen(listener)
    sending = Deferred.fromCoroutine(asked(client, url, method="PUT", blob=blob))
    await until(lambda: listener.connections)
    await pause(0.3)
    assert 0 < blob.read < 16 * MIB
    listener.connections[0].transport.resumeProducing()
    await until(lambda: listener.received > 64 * MIB)
    listener.connections[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await sending).code == 200


@ensureDeferred
async def test_a_slow_reader_slows_the_server(room, client):
    """While the reader of a body is busy, the server cannot send on; nothing is lost thereby."""
    sent = []

    def handle(request):
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % (64 * MIB)])
        request.registerProducer(Endless(request, sent, 64), False)
        return NOT_DONE_YET

    response = await asked(client, room.serve(handle).url)
    read = 0
    async with aclosing(pieces(response, 5, reactor)) as body:
        async for piece in body:
            if not read:
                await pause(0.3)
                assert 0 < len(sent) < 16
            read += len(piece)
    assert read == 64 * MIB


@define
class Endless:
    """Sends MiBs whenever the connection takes one."""

    request: object
    sent: list
    count: int

    def resumeProducing(self):
        self.sent.append(MIB)
        self.request.write(bytes(MIB))
        if len(self.sent) == self.count:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        pass


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_who_leaves_early_drops_the_connection(room, client, tls):
    """A body that is not read to its end does not come on behind our back."""

    def handle(request):
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % (1 << 40)])
        request.registerProducer(Endless(request, [], 1 << 20), False)
        return NOT_DONE_YET

    server = room.serve_tls(handle) if tls else room.serve(handle)
    if tls:
        root = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(room.authority.cert_pem.bytes())])
        client = plain_client(Agent(reactor, BrowserLikePolicyForHTTPS(root)))
    for leave in ("break", "close", "bounded"):
        response = await asked(client, server.url)
        if leave == "break":
            async for _ in pieces(response, 5, reactor):
                break
        elif leave == "close":
            body = pieces(response, 5, reactor)
            await anext(body)
            await body.aclose()
        else:
            assert len(await read_bounded(response, 1000, 5, reactor)) == 1000
        await until(lambda: not server.open)


@ensureDeferred
async def test_a_body_that_breaks_off(room, client):
    """Half a body is an error, after its bytes."""
    response = await asked(client, room.serve(cut(b"x" * 1000, 500)).url)
    got = b""
    with pytest.raises(Broken, match="broke off"):
        async for piece in pieces(response, 5, reactor):
            got += piece
    assert got == b"x" * 500


@ensureDeferred
async def test_silence(room, client):
    """A server that says nothing, or nothing more, is waited for so long and no longer."""
    with pytest.raises(StorageFailed, match=r"127\.0\.0\.1:\d+ did not answer in time"):
        await asked(client, room.serve(silent()).url, idle=0.2)
    server = room.serve(silent(b"some"))
    response = await asked(client, server.url)
    with pytest.raises(StorageFailed, match=r"nothing came for 0\.2 seconds"):
        await content(response, 0.2)
    await until(lambda: not server.open)


@ensureDeferred
async def test_a_server_that_takes_nothing_more(client, listen):
    """A server that stops reading in the middle of an upload is waited for so long; then the source is closed too."""
    listener, blob = Listener(reading=False), CountedBlob(64 * MIB)
    with pytest.raises(StorageFailed, match="did not answer in time"):
        await asked(client, listen(listener), method="PUT", blob=blob, idle=0.3)
    assert blob.closed


@ensureDeferred
async def test_nobody_there(client):
    """A port where nobody listens is known at once."""
    [port] = free_ports(1)
    started = time.monotonic()
    with pytest.raises(StorageFailed, match="refused"):
        await asked(client, f"http://127.0.0.1:{port}/")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (BrokenBlob(), "the other machine went away"),
        (BrokenBlob(10 * MIB), "the other machine went away"),
        (CountedBlob(MIB + 1), "not as long as it was"),
    ],
)
@ensureDeferred
async def test_a_source_that_breaks_off(client, listen, blob, why):
    """What cannot be read to its end is not sent to its end: the server never sees a whole request."""
    listener = Listener()
    with pytest.raises(StorageFailed, match=why):
        await asked(client, listen(listener), method="PUT", blob=blob)
    await until(lambda: listener.lost)
    assert listener.received < blob.length + 200


@ensureDeferred
async def test_the_server_leaves_in_the_middle(client, listen):
    """An upload whose connection is lost is an error, and its source is closed."""
    listener, blob = Listener(reading=False), CountedBlob(64 * MIB)
    sending = Deferred.fromCoroutine(asked(client, listen(listener), method="PUT", blob=blob))
    await until(lambda: listener.connections)
    listener.connections[0].transport.abortConnection()
    with pytest.raises(Broken, match="broke off"):
        await sending
    assert blob.closed


@ensureDeferred
async def test_an_answer_before_the_end(client, listen):
    """A server may refuse before it has read everything; its answer counts, and when it leaves the sending ends."""
    listener = Listener(reply=b"HTTP/1.1 412 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    blob = CountedBlob(1024 * MIB)
    response = await asked(client, listen(listener), method="PUT", blob=blob)
    assert response.code == 412
    assert await content(response) == b"no"
    assert blob.read < blob.length
    listener.connections[0].transport.abortConnection()
    await until(lambda: blob.closed)


@ensureDeferred
async def test_who_asks_may_leave(room, client):
    """Cancelling ends the request and is no failure of the server."""
    server = room.serve(silent())
    asking = Deferred.fromCoroutine(asked(client, server.url))
    await until(lambda: server.asked)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    await until(lambda: not server.open)


class NeverConnected:
    """An agent that is connecting for ever."""

    def request(self, method, uri, headers=None, bodyProducer=None):
        return Deferred(lambda asked: asked.errback(ConnectingCancelledError(None)))


@ensureDeferred
async def test_no_connection_yet():
    """The same while there is no connection yet, for who leaves and for who waits too long."""
    client = plain_client(NeverConnected())
    asking = Deferred.fromCoroutine(asked(client, "http://127.0.0.1/"))
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    with pytest.raises(StorageFailed, match="did not answer in time"):
        await asked(client, "http://127.0.0.1/", idle=0.1)


@ensureDeferred
async def test_no_compression(room, client):
    """Nothing is asked to be compressed, and what is stored compressed comes as it is stored."""
    body = gzip.compress(b"text")
    server = room.serve(answer(body, Content_Encoding="gzip"))
    assert await content(await asked(client, server.url)) == body
    assert server.asked[0].headers["accept-encoding"] == "identity"


@ensureDeferred
async def test_redirects_are_not_followed(room, client):
    """Where a datastore leads to is for its provider to judge."""
    response = await asked(client, room.serve(answer(b"", 307, Location="http://127.0.0.1:1/")).url)
    assert response.code == 307
