"""Where clients come in: from the settings to sockets that listen."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Connection
from OpenSSL.SSL import Error as TLSError
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import CertificateOptions
from twisted.internet.tcp import Port as TCPPort
from twisted.internet.unix import Port as UNIXPort
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from athensd.config.settings import Config
from athensd.startup import Unusable

BACKLOG = 1024
GIVES_WAY = 0.002
FIRST_INHERITED = 3
"""The first file descriptor that systemd gives (sd_listen_fds(3))."""
WITH_OURS = "tls:"
"""What an endpoint's description begins with that has TLS with the certificate of the settings."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """The certificate of this server, with its key and those of its authorities.

    TLS is 1.2 or later.  Raises ``Unusable``, as ``read_again`` does.
    """

    def __init__(self, certificate: str, key: str) -> None:
        self._certificate, self._key = certificate, key
        self.use(self.read_again())

    def read_again(self) -> CertificateOptions:
        """What the files hold now, if it can be used."""
        chain = self._read(self._certificate, "certificate", _certificates)
        key = self._read(self._key, "key", _key)
        options = CertificateOptions(key, chain[0], extraCertChain=chain[1:])
        try:
            options.getContext()
        except TLSError as error:
            raise Unusable(f"the key in {self._key} is not that of the certificate in {self._certificate}") from error
        return options

    def use(self, options: CertificateOptions) -> None:
        """What new connections are given; those that there are stay as they are."""
        self._options = options

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Connection:
        return self._options.serverConnectionForTLS(tlsProtocol)

    def _read(self, name: str, what: str, parse: Any) -> Any:
        try:
            return parse(Path(name).read_bytes())
        except OSError as error:
            raise Unusable(f"the {what} in {name} cannot be read: {error.strerror}") from error
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:  # one of the reasons would be a page long
            raise Unusable(f"{name} holds no {what} in PEM that can be used") from error


def _certificates(pem: bytes) -> list[X509]:
    return [X509.from_cryptography(each) for each in load_pem_x509_certificates(pem)]


def _key(pem: bytes) -> PKey:
    return PKey.from_cryptography_key(load_pem_private_key(pem, None))  # type: ignore[arg-type]  # else a TypeError


class _TLSFactory(TLSMemoryBIOFactory):
    def buildProtocol(self, addr: Any) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)  # Twisted forgets that it may be refused


@implementer(IStreamServerEndpoint)
@frozen
class TLSEndpoint:
    """TLS over another endpoint."""

    endpoint: Any
    certificate: Certificate

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        listening: Deferred[IListeningPort] = self.endpoint.listen(
            _TLSFactory(self.certificate, False, protocolFactory)
        )
        return listening


@implementer(IStreamServerEndpoint)
@frozen
class UnixEndpoint:
    """A socket at ``path`` for those whom ``mode`` lets in.

    The socket of a process that is gone is taken away first, unless it ``is_open`` for us.  One that answers stays, and
    so does any other file.
    """

    reactor: Any
    path: str
    mode: int
    is_open: bool = False

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        try:
            if not self.is_open:
                _make_room(self.path)
        except OSError as error:
            return fail(CannotListenError(None, self.path, error))
        endpoint: Any = UNIXServerEndpoint(self.reactor, self.path, BACKLOG, self.mode)
        listening: Deferred[IListeningPort] = endpoint.listen(protocolFactory)
        return listening


@implementer(IStreamServerEndpoint)
@frozen
class GivenUnixEndpoint:
    """A socket that another process has opened, as the file descriptor ``number``.

    Its path, to which Twisted would give permissions of its own and which it would delete at the end, stays as it is.
    """

    reactor: Any
    number: int

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return succeed(adopted(self.reactor, self.number, protocolFactory))


class _Shared:
    """A port whose socket others have too: it takes one client at a time, and may leave him to them."""

    numberAccepts = property(lambda self: 1, lambda self, number: None)
    gives_way: Callable[[], bool]

    def doRead(self) -> None:
        port: Any = self
        if self.gives_way():
            port.stopReading()
            port.reactor.callLater(GIVES_WAY, self._go_on)
        else:
            super().doRead()  # type: ignore[misc]  # of the port beside us

    def _go_on(self) -> None:
        port: Any = self
        if port.connected and not port.disconnecting:
            super().doRead()  # type: ignore[misc]  # whoever still waits
            port.startReading()


class _SharedTCP(_Shared, TCPPort):
    pass


class _SharedUNIX(_Shared, UNIXPort):
    pass


def adopted(reactor: Any, number: int, factory: Any, gives_way: Callable[[], bool] = lambda: False) -> Any:
    """A port that listens at a copy of a descriptor, and leaves the socket as it is for others who have it.

    As long as it ``gives_way``, others have ``GIVES_WAY`` seconds for each client before it takes him.
    """
    given = socket.socket(fileno=os.dup(number))
    given.setblocking(False)
    port: Any
    if given.family == socket.AF_UNIX:
        # Without the path, which Twisted would give permissions of its own, and delete at the end.
        port = _SharedUNIX(b"\0", factory, BACKLOG, reactor=reactor)
    else:
        port = _SharedTCP(0, factory, BACKLOG, given.getsockname()[0], reactor)
    port.gives_way = gives_way
    port._preexistingSocket = given
    port.startListening()
    port._shouldShutdown = False
    return port


def _make_room(path: str) -> None:
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "there is a file of this name that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        else:
            raise OSError(errno.EADDRINUSE, "another process listens there")


@frozen
class Listener:
    """An endpoint, and the ``name`` that an operator has for it."""

    name: str
    endpoint: Any = field(repr=False)
    secure: bool = False


def make_listeners(
    reactor: Any, config: Config, certificate: Certificate | None, are_open: bool = False
) -> list[Listener]:
    """Those of the settings: ``Listen`` and ``UnixSocket``; without either what systemd gives, or else ``Port``.

    A ``certificate`` makes all of them secure, but of ``Listen`` those that say so.  ``are_open``: the reactor has the
    sockets already.  Raises ``Unusable``.
    """
    listeners, problems = [], []
    for text in config.endpoints:
        try:
            listeners.append(_described(reactor, text.strip(), certificate))
        except Unusable as error:
            problems.append(str(error))
    if problems:
        raise Unusable("\n".join(problems))
    if listeners and certificate is not None and not any(listener.secure for listener in listeners):
        raise Unusable("Listen has nothing with tls: before it, so nobody would see the certificate of TLSCertFile")
    if config.unix_socket:
        unix = UnixEndpoint(reactor, config.unix_socket, config.unix_socket_mode, are_open)
        listeners.append(_secured(f"the socket {config.unix_socket}", unix, certificate))
    listeners = listeners or [_secured(name, endpoint, certificate) for name, endpoint in _inherited(reactor)]
    if listeners:
        return listeners
    host, port = config.listen.host or any_host(), config.listen.port
    endpoint = (TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint)(reactor, port, BACKLOG, host)
    return [_secured(f"port {port}", endpoint, certificate)]


def read_certificate(config: Config) -> Certificate | None:
    """That of the settings, if there is one.  Raises ``Unusable``."""
    if bool(config.tls_cert_file) != bool(config.tls_key_file):
        raise Unusable("TLSCertFile and TLSKeyFile are needed both, or none of them")
    return Certificate(config.tls_cert_file, config.tls_key_file) if config.tls_cert_file else None


def _secured(name: str, endpoint: Any, certificate: Certificate | None) -> Listener:
    if certificate is None:
        return Listener(name, endpoint)
    return Listener(name, TLSEndpoint(endpoint, certificate), secure=True)


def _described(reactor: Any, text: str, certificate: Certificate | None) -> Listener:
    """The endpoint that a description in Twisted's form means; ``tls:`` before it is ours."""
    inner = text.removeprefix(WITH_OURS)
    secure = inner != text
    if secure and certificate is None:
        raise Unusable(f"Listen: {text} needs TLSCertFile and TLSKeyFile")
    try:
        endpoint = serverFromString(reactor, inner)
    except Exception as error:  # it depends on the kind of endpoint, and others may add kinds
        raise Unusable(f"Listen: {text} cannot be used: {error or type(error).__name__}") from error
    return _secured(text, endpoint, certificate) if secure else Listener(text, endpoint, inner.startswith("ssl:"))


def _inherited(reactor: Any) -> Iterator[tuple[str, Any]]:
    """The sockets that systemd has opened for us; of what says so Twisted has left nothing but their names."""
    names = os.environ.get("LISTEN_FDNAMES", "")
    for index, name in enumerate(names.split(":") if names else []):
        try:
            with socket.socket(fileno=os.dup(FIRST_INHERITED + index)) as found:
                family = found.family
            endpoint = serverFromString(reactor, f"systemd:domain={family.name.removeprefix('AF_')}:index={index}")
        except (OSError, IndexError):
            return  # they were for another process, which has started us
        if family == socket.AF_UNIX:
            endpoint = GivenUnixEndpoint(reactor, FIRST_INHERITED + index)
        yield f"systemd's socket {name}", endpoint


def address_of(listener: Listener, listening: Any) -> str:
    """Where a listener has come to be, as a URL."""
    here = listening.getHost()
    if isinstance(here, UNIXAddress):
        return f"{'https' if listener.secure else 'http'}+unix:{os.fsdecode(here.name or b'')}"
    host = getattr(here, "host", "")
    return (
        f"{'https' if listener.secure else 'http'}://{f'[{host}]' if ':' in host else host}:{getattr(here, 'port', '')}"
    )


def any_host() -> str:
    """All addresses: IPv6 with IPv4 inside it where the system has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"  # noqa: S104 - what an empty host means
    return "::"
