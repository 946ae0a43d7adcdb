"""Zips over real sockets: whole, at the client's pace, and with an end whatever happens."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import define
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from athensd.gomod.escape import escape_path
from tests.web.fakes import ESCAPED, PATH, VERSION, Daemon, parse

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does

ZIP = f"{ESCAPED}/@v/{VERSION}.zip"
MIB = 1 << 20
BIG = 50 * MIB
loop: Any = reactor


@define
class Server:
    """A daemon that listens on loopback, in the clear and with TLS."""

    daemon: Daemon
    port: int
    tls_port: int
    authority: trustme.CA

    def zip_is(self, length: int, random: bool = False) -> Path:
        """Put a zip of this length into the store: a sparse one, or one of which no two blocks are alike."""
        path = self.daemon.root / "store" / escape_path(PATH) / "@v" / f"{VERSION}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for _ in range(length // MIB if random else 0):
                file.write(os.urandom(MIB))
            file.truncate(length)
        return path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(tmp_path: Path, authority: trustme.CA, lane: bool) -> Iterator[Server]:
    daemon = Daemon(tmp_path)
    certificate = authority.issue_cert("localhost")
    pem = certificate.private_key_and_cert_chain_pem.bytes()
    options = ssl.PrivateCertificate.loadPEM(pem).options()
    ports = [
        loop.listenTCP(0, daemon.site, interface="127.0.0.1"),
        loop.listenSSL(0, daemon.site, options, interface="127.0.0.1"),
    ]
    yield Server(daemon, *(port.getHost().port for port in ports), authority)
    for port in ports:
        port.stopListening()


class Client(Protocol):
    """Counts and hashes what comes; keeps the beginning of it; reads at a pace."""

    def __init__(self) -> None:
        self.received = 0
        self.beginning = b""
        self.hash = hashlib.sha256()
        self.lost: Deferred[Any] = Deferred().addTimeout(30, loop)
        self.closed: Failure | None = None
        self._awaited: list[tuple[int, Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        if self.received < 65536:
            self.beginning += data
        self.received += len(data)
        self.hash.update(data)
        for count, deferred in self._awaited[:]:
            if self.received >= count:
                self._awaited.remove((count, deferred))
                deferred.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = reason
        self.lost.callback(None)

    def got(self, count: int) -> Deferred[None]:
        """Fires when at least so many bytes have come in all."""
        deferred: Deferred[None] = Deferred()
        if self.received >= count:
            deferred.callback(None)
        else:
            self._awaited.append((count, deferred))
        return deferred.addTimeout(20, loop)

    async def head(self) -> int:
        """Wait for the first head; how long it is in bytes."""
        while b"\r\n\r\n" not in self.beginning:
            await deferLater(loop, 0.005)
        return self.beginning.index(b"\r\n\r\n") + 4


async def connect(server: Server, tls: bool = False) -> Client:
    endpoint: Any = HostnameEndpoint(loop, "127.0.0.1", server.tls_port if tls else server.port)
    if tls:
        trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(server.authority.cert_pem.bytes())])
        endpoint = wrapClientTLS(ssl.optionsForClientTLS("localhost", trust), endpoint)
    client: Client = await endpoint.connect(Factory.forProtocol(Client))
    return client


def get(target: str = ZIP, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something to become true."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(loop, 0.01)
    raise AssertionError("it did not come true in time")


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """The memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sent_by_sendfile(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all sendfile calls from now on."""
    sizes: list[int] = []
    sendfile = os.sendfile

    def counted(out: int, source: int, offset: int, count: int) -> int:
        sent = sendfile(out, source, offset, count)
        sizes.append(sent)
        return sent

    monkeypatch.setattr(os, "sendfile", counted)
    return sizes


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_big_zip_arrives_as_it_is(server: Server, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MB come through byte for byte: by sendfile on a plain socket, in pieces under TLS."""
    sizes = sent_by_sendfile(monkeypatch)
    path = server.zip_is(BIG, random=True)
    before = descriptors()
    client = await connect(server, tls)
    client.transport.write(get(ZIP, "Connection: close"))
    await client.lost
    head = client.beginning.index(b"\r\n\r\n") + 4
    assert b"\r\nContent-Length: %d\r\n" % BIG in client.beginning[:head]
    assert client.received == head + BIG
    expected = hashlib.sha256(client.beginning[:head])
    expected.update(path.read_bytes())
    assert client.hash.digest() == expected.digest()
    assert sum(sizes) == (0 if tls else BIG)
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_slow_reader_holds_no_memory(server: Server, tls: bool) -> None:
    """While its readers pause, a server of 20 zips of 50 MB holds no more than a few buffers for each."""
    server.zip_is(BIG)
    clients = [await connect(server, tls) for _ in range(20)]
    before = resident()
    for client in clients:
        client.transport.write(get())
        await client.head()
        client.transport.pauseProducing()
    await deferLater(loop, 0.3)
    assert resident() - before < 60 * MIB
    assert len(server.daemon.site.busy) == 20
    assert max(client.received for client in clients) < 20 * MIB
    for client in clients:
        client.transport.abortConnection()
    await gatherResults([client.lost for client in clients])
    await until(lambda: not server.daemon.site.busy)


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_client_that_hangs_up_leaves_nothing(server: Server, tls: bool) -> None:
    """Who leaves in the middle ends the request: its file is closed, its line written, and nothing is an error."""
    server.zip_is(BIG)
    before = descriptors()
    with capture_logs() as lines:
        client = await connect(server, tls)
        client.transport.write(get())
        await client.got(MIB)
        client.transport.abortConnection()
        await until(lambda: not server.daemon.site.busy)
        await until(lambda: descriptors() <= before)
    (line,) = [line for line in lines if line["event"] == "incoming request"]
    assert line["client-left"] is True
    assert 0 < line["bytes"] < BIG
    assert line["client"] == "127.0.0.1"
    assert {line["log_level"] for line in lines} == {"info"}


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_connection_goes_on_behind_a_zip(server: Server, tls: bool) -> None:
    """After a zip the same connection serves the next request, a part of a zip and another zip."""
    server.zip_is(3 * MIB)
    client = await connect(server, tls)
    for _ in range(3):
        start = client.received
        client.beginning, client.received = b"", 0
        client.transport.write(get())
        head = await client.head()
        await client.got(head + 3 * MIB)
        assert client.received == head + 3 * MIB, start
        client.beginning, client.received = b"", 0
        client.transport.write(get("/version"))
        await until(lambda: client.beginning.endswith(b"}\n"))
        assert client.beginning.startswith(b"HTTP/1.1 200 ")
    client.transport.loseConnection()
    await client.lost


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_requests_that_queue_behind_a_zip(server: Server, tls: bool) -> None:
    """Pipelined requests are answered in their order, each behind the whole of the one before."""
    server.zip_is(2 * MIB)
    client = await connect(server, tls)
    client.transport.write(
        get("/version")
        + get()
        + get("/healthz")
        + get()
        + get(ZIP, "Range: bytes=0-4")
        + get("/x", "Connection: close")
    )
    await client.lost
    assert client.received > 4 * MIB
    assert client.received < 4 * MIB + 4000
    assert client.beginning.startswith(b"HTTP/1.1 200 ")


@ensureDeferred
async def test_a_zip_behind_many_small_answers(server: Server) -> None:
    """A zip behind answers that filled the buffer leaves the connection as it was: it goes on, and is still bounded."""
    path = server.zip_is(2 * MIB)
    client = await connect(server)
    client.transport.write(get("/x") * 400 + get())
    await client.got(2 * MIB + 400 * 100)
    await until(lambda: not server.daemon.site.busy)
    os.truncate(path, BIG)
    client.transport.write(get())
    await client.got(4 * MIB)
    client.transport.pauseProducing()
    client.transport.write(get("/version") * 100_000)
    await deferLater(loop, 0.2)
    (request,) = server.daemon.site.busy
    assert sum(map(len, request.channel._dataBuffer)) < MIB, "what is asked ahead is not taken in without bound"
    client.transport.abortConnection()
    await client.lost


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_small_zips_at_the_pace_of_their_reader(server: Server, tls: bool) -> None:
    """One that is sent at once, as far as the system takes it, arrives whole, again and again; and who leaves may."""
    path = server.zip_is(MIB, random=True)
    before = descriptors()
    client = await connect(server, tls)
    for turn in range(12):
        client.transport.pauseProducing()
        client.beginning, client.received, client.hash = b"", 0, hashlib.sha256()
        client.transport.write(get())
        await deferLater(loop, 0.02)
        client.transport.resumeProducing()
        head = await client.head()
        await client.got(head + MIB)
        assert client.received == head + MIB, turn
        hashed = hashlib.sha256(client.beginning[:head])
        hashed.update(path.read_bytes())
        assert client.hash.digest() == hashed.digest()
    client.transport.pauseProducing()
    for _ in range(20):
        client.transport.write(get())
        await deferLater(loop, 0.01)
    client.transport.abortConnection()
    await client.lost
    await until(lambda: descriptors() <= before + 1)


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_who_takes_nothing_is_cut_off(server: Server, tls: bool) -> None:
    """A client that stops in the middle of a zip loses its connection, one that takes its time gets the whole."""
    server.zip_is(BIG)
    server.daemon.site.timeOut = 0.6
    idle, slow = await connect(server, tls), await connect(server, tls)
    for client in (idle, slow):
        client.transport.write(get())
    idle.transport.pauseProducing()
    while slow.received < BIG:
        slow.transport.pauseProducing()
        await deferLater(loop, 0.1)
        slow.transport.resumeProducing()
        await deferLater(loop, 0.02)
    assert slow.closed is None
    await until(lambda: not server.daemon.site.busy)
    idle.transport.resumeProducing()
    await idle.lost
    assert idle.received < BIG


def connections_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list to which the server's side of each new connection is added."""
    connections: list[Any] = []
    build = server.daemon.site.buildProtocol
    monkeypatch.setattr(
        server.daemon.site, "buildProtocol", lambda peer: connections.append(build(peer)) or connections[-1]
    )
    return connections


@pytest.mark.parametrize("path", ["/version", "/nothing"])
@ensureDeferred
async def test_who_asks_and_never_reads_costs_little(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """However much a client asks for without reading, few answers are kept for it: by then it is not listened to."""
    connections = connections_of(server, monkeypatch)
    client = await connect(server)
    client.transport.pauseProducing()
    client.transport.write(get(path) * 200_000)
    await deferLater(loop, 2)
    transport = connections[0].transport
    assert len(transport.dataBuffer) + transport._tempDataLen < 2 * MIB
    client.transport.abortConnection()
    await client.lost


@ensureDeferred
async def test_answers_behind_a_zip_wait_for_their_reader(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a zip, as before it, a client that asks and does not read is soon not listened to any more."""
    server.zip_is(2 * MIB)
    connections = connections_of(server, monkeypatch)
    client = await connect(server)
    client.transport.write(get())
    await client.got(2 * MIB)
    transport = connections[0].transport
    await until(lambda: not server.daemon.site.busy)
    client.transport.pauseProducing()
    client.transport.write(get("/version") * 50_000)
    await deferLater(loop, 1)
    assert len(transport.dataBuffer) + transport._tempDataLen < MIB
    client.transport.abortConnection()
    await client.lost


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_part_of_a_zip(server: Server, tls: bool) -> None:
    """A range is cut out of the file, wherever it lies."""
    data = server.zip_is(10 * MIB, random=True).read_bytes()
    client = await connect(server, tls)
    client.transport.write(get(ZIP, "Range: bytes=9000000-9000099", "Connection: close"))
    await client.lost
    answer = parse(client.beginning)
    assert (answer.status, answer.body) == (206, data[9_000_000:9_000_100])
    assert answer.headers["content-range"] == f"bytes 9000000-9000099/{10 * MIB}"


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_file_that_became_shorter(server: Server, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a file ends before the length that was promised, the connection is aborted and nothing is padded."""
    path = server.zip_is(64 * MIB)  # more than two kernels hold between them
    with capture_logs() as lines:
        client = await connect(server, tls)
        client.transport.write(get())
        head = await client.head()
        client.transport.pauseProducing()
        os.truncate(path, client.received)
        client.transport.resumeProducing()
        await client.lost
    assert client.received < head + 64 * MIB
    assert client.closed is not None
    await until(lambda: not server.daemon.site.busy)
    assert len([line for line in lines if line["event"] == "incoming request"]) <= 1


@ensureDeferred
async def test_many_at_once(server: Server) -> None:
    """Thirty clients each get the whole zip, and no descriptor is left open."""
    server.zip_is(2 * MIB)
    before = descriptors()
    clients = [await connect(server) for _ in range(30)]
    for client in clients:
        client.transport.write(get(ZIP, "Connection: close"))
    await gatherResults([client.lost for client in clients])
    lengths = {client.received - client.beginning.index(b"\r\n\r\n") - 4 for client in clients}
    assert lengths == {2 * MIB}
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(("version", "headers"), [("1.0", ()), ("1.1", ("Connection: close",))])
@ensureDeferred
async def test_a_connection_that_ends_behind_its_zip(
    server: Server, tls: bool, version: str, headers: tuple[str, ...]
) -> None:
    """An old client, and one that wants only one thing, get the whole zip and then the end of the connection."""
    server.zip_is(2 * MIB)
    client = await connect(server, tls)
    client.transport.write(get(ZIP, *headers, version=version))
    await client.lost
    assert client.received == client.beginning.index(b"\r\n\r\n") + 4 + 2 * MIB


@ensureDeferred
async def test_head_of_a_zip_sends_no_zip(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD tells the length and does not touch the file's bytes."""
    sizes = sent_by_sendfile(monkeypatch)
    server.zip_is(2 * MIB)
    client = await connect(server)
    client.transport.write(get(method="HEAD") + get("/version", "Connection: close"))
    await client.lost
    assert b"Content-Length: %d\r\n" % (2 * MIB) in client.beginning
    assert (sizes, client.received < 2000) == ([], True)


@ensureDeferred
async def test_the_clients_address(server: Server) -> None:
    """The log names the peer of the connection, IPv6 too, and believes no header about it."""
    port = loop.listenTCP(0, server.daemon.site, interface="::1") if has_ipv6() else None
    with capture_logs() as lines:
        client = await connect(server)
        client.transport.write(get("/healthz", "X-Forwarded-For: 203.0.113.9", "Connection: close"))
        await client.lost
        if port is not None:
            endpoint = HostnameEndpoint(loop, "::1", port.getHost().port)
            other = await endpoint.connect(Factory.forProtocol(Client))
            other.transport.write(get("/healthz", "Connection: close"))
            await other.lost
            await port.stopListening()
    addresses = [line["client"] for line in lines if line["event"] == "incoming request"]
    assert addresses == ["127.0.0.1", *(["::1"] if port else [])]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
