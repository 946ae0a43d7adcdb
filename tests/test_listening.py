"""Ways in, over real sockets of this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from athensd.config.kinds import Listen
from athensd.config.settings import Config
from athensd.listening import Certificate, Listener, address_of, any_host, make_listeners, read_certificate
from athensd.startup import Unusable
from tests.web.fakes import ESCAPED, VERSION, Daemon, parse

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does

loop: Any = reactor
HERE = Config(listen=Listen("127.0.0.1", 0))
MOD = f"GET {ESCAPED}/@v/{VERSION}.mod HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """One that has signed the files ``cert`` and ``key``."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    return authority


@pytest.fixture
def tls(tmp_path: Path, authority: trustme.CA) -> Config:
    """Settings with a certificate."""
    return evolve(HERE, tls_cert_file=str(tmp_path / "cert"), tls_key_file=str(tmp_path / "key"))


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    """Ports that are closed at the end."""
    ports: list[Any] = []
    yield ports
    for port in ports:
        port.stopListening()


class Client(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[Any] = Deferred().addTimeout(10, loop)
        self._more: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._more is not None:
            more, self._more = self._more, None
            more.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)

    async def ask(self, request: bytes) -> bytes:
        """What is answered, all of it at once."""
        self.received, self._more = b"", Deferred()
        more = self._more.addTimeout(10, loop)
        self.transport.write(request)
        await more
        return self.received


async def connect(port: Any, authority: trustme.CA) -> Client:
    trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(authority.cert_pem.bytes())])
    endpoint = HostnameEndpoint(loop, "127.0.0.1", port.getHost().port)
    client: Client = await wrapClientTLS(ssl.optionsForClientTLS("localhost", trust), endpoint).connect(
        Factory.forProtocol(Client)
    )
    return client


@ensureDeferred
async def test_the_lane_under_tls(daemon: Daemon, tls: Config, authority: trustme.CA, opened: list[Any]) -> None:
    """A hit is given by the lane, and counts as a secure one."""
    daemon.site.force_ssl = True
    [listener] = make_listeners(loop, tls, read_certificate(tls))
    opened.append(await listener.endpoint.listen(daemon.site))
    assert address_of(listener, opened[0]) == f"https://127.0.0.1:{opened[0].getHost().port}"
    client = await connect(opened[0], authority)
    for _ in range(2):
        assert parse(await client.ask(MOD)).status == 200
    daemon.proxy.mod = None  # type: ignore[assignment, method-assign]  # nobody is to ask it any more
    answer = parse(await client.ask(MOD))
    assert (answer.status, answer.body) == (200, b"module example.test/Big/m\n")
    client.transport.loseConnection()
    await client.lost


@ensureDeferred
async def test_too_many_under_tls(daemon: Daemon, tls: Config, authority: trustme.CA, opened: list[Any]) -> None:
    """A connection that is refused is closed, and the others go on."""
    daemon.site._most = 1
    [listener] = make_listeners(loop, tls, read_certificate(tls))
    opened.append(await listener.endpoint.listen(daemon.site))
    client = await connect(opened[0], authority)
    await client.ask(MOD)
    other = await connect(opened[0], authority)
    await other.lost
    assert parse(await client.ask(MOD)).status == 200
    client.transport.loseConnection()
    await client.lost


@ensureDeferred
async def test_who_never_speaks_tls(daemon: Daemon, tls: Config, opened: list[Any]) -> None:
    """Whoever connects and begins no TLS, or never ends its beginning, is cut off as other idle clients are."""
    daemon.site.timeOut = 1
    [listener] = make_listeners(loop, tls, read_certificate(tls))
    opened.append(await listener.endpoint.listen(daemon.site))
    endpoint = HostnameEndpoint(loop, "127.0.0.1", opened[0].getHost().port)
    for beginning in (b"", b"\x16\x03\x01\x02\x00"):
        client: Client = await endpoint.connect(Factory.forProtocol(Client))
        client.transport.write(beginning)
        await client.lost


def test_a_certificate_that_cannot_be_used_changes_nothing(tmp_path: Path, tls: Config) -> None:
    """What is in use stays, whatever became of the files."""
    certificate = Certificate(tls.tls_cert_file, tls.tls_key_file)
    used = certificate._options
    for file in ("cert", "key"):
        (tmp_path / file).write_text("")
        with pytest.raises(Unusable):
            certificate.read_again()
    assert certificate._options is used


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, ["port 0"]),
        ({"unix_socket": "/s"}, ["the socket /s"]),
        ({"endpoints": ("tcp:1", " unix:/t")}, ["tcp:1", "unix:/t"]),
        ({"endpoints": ("tcp:1",), "unix_socket": "/s"}, ["tcp:1", "the socket /s"]),
    ],
)
def test_what_goes_before_what(changed: dict[str, Any], names: list[str]) -> None:
    """Port is for those who have set nothing else."""
    assert [listener.name for listener in make_listeners(loop, evolve(HERE, **changed), None)] == names


def test_which_are_secure(tls: Config) -> None:
    """With a certificate all are, but of ``Listen`` those alone that say so."""
    certificate = read_certificate(tls)

    def secure(**changed: Any) -> list[bool]:
        return [listener.secure for listener in make_listeners(loop, evolve(tls, **changed), certificate)]

    assert secure() == [True]
    assert secure(unix_socket="/s") == [True]
    assert secure(endpoints=("tcp:1", "tls:tcp:2"), unix_socket="/s") == [False, True, True]
    with pytest.raises(Unusable, match="nothing with tls:"):
        secure(endpoints=("tcp:1",))


@ensureDeferred
async def test_all_addresses(daemon: Daemon, opened: list[Any]) -> None:
    """Without a host both kinds of addresses are served, where the system has both."""
    [listener] = make_listeners(loop, evolve(HERE, listen=Listen("", 0)), None)
    opened.append(await listener.endpoint.listen(daemon.site))
    port = opened[0].getHost().port
    assert address_of(listener, opened[0]) == (
        f"http://[::]:{port}" if any_host() == "::" else f"http://0.0.0.0:{port}"
    )
    socket.create_connection(("127.0.0.1", port), 5).close()


def test_a_door_shows_no_secret() -> None:
    """An endpoint may hold a key."""
    assert repr(Listener("a", object())) == "Listener(name='a', secure=False)"
