"""A forward proxy on loopback, for which every name of the world is this machine."""

from __future__ import annotations

import re
from typing import Any

import trustme
from attrs import define, field
from twisted.internet import reactor, ssl
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from athensd.outbound.proxies import netloc

loop: Any = reactor


@define
class ForwardProxy:
    """Leads to the ports that ``places`` has for ``host:port``, and opens a way only for ``authorization``, if any.

    ``says`` is a whole answer to give to everybody instead; empty bytes are none.
    """

    places: dict[str, int]
    authorization: str = ""
    says: bytes | None = None
    certificate: trustme.LeafCert | None = None
    heads: list[str] = field(factory=list)  # of the requests, in their order
    connections: set[Protocol] = field(factory=set)
    port: int = 0
    _listening: Any = None

    def start(self) -> None:
        factory = Factory.forProtocol(lambda: _Client(self))
        if self.certificate is None:
            self._listening = loop.listenTCP(self.port, factory, interface="127.0.0.1")
        else:
            pem = self.certificate.private_key_and_cert_chain_pem.bytes()
            options = ssl.PrivateCertificate.loadPEM(pem).options()
            self._listening = loop.listenSSL(self.port, factory, options, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    def url(self, login: str = "") -> str:
        host = "127.0.0.1" if self.certificate is None else "localhost"
        return f"{'http' if self.certificate is None else 'https'}://{login}{netloc(host, self.port)}"

    @property
    def asked(self) -> list[str]:
        """The first lines of the requests."""
        return [head.partition("\r\n")[0] for head in self.heads]

    def stop(self) -> Any:
        for each in list(self.connections):
            each.transport.abortConnection()  # type: ignore[union-attr]
        return self._listening.stopListening()


class _Pipe(Protocol):
    """Hands on what it gets to its peer."""

    peer: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.loseConnection()


class _Client(_Pipe):
    """Whoever asks the proxy."""

    def __init__(self, proxy: ForwardProxy) -> None:
        self._proxy = proxy
        self._head = b""

    def connectionMade(self) -> None:
        self._proxy.connections.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._proxy.connections.discard(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._head.startswith(b"CONNECT") and self.peer is not None:
            self.peer.transport.write(data)
            return
        self._head += data
        while b"\r\n\r\n" in self._head and (self.peer is None or not self._head.startswith(b"CONNECT")):
            head, _, rest = self._head.partition(b"\r\n\r\n")
            self._proxy.heads.append(head.decode())
            answer = self._refusal(head.decode())
            if answer is not None:
                self.transport.write(answer)  # type: ignore[union-attr]
                self._head = b""
                return
            if head.startswith(b"CONNECT"):
                self._dig(head.decode().split(" ")[1])
                return
            self._head = rest
            self._hand_on(head.decode())

    def _refusal(self, head: str) -> bytes | None:
        if self._proxy.says is not None:
            return self._proxy.says
        login = re.search(r"(?im)^proxy-authorization: (.*?)\r?$", head)
        if self._proxy.authorization and (login is None or login[1] != self._proxy.authorization):
            return b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\ninner"
        return None

    def _connect(self, place: str) -> Any:
        endpoint = TCP4ClientEndpoint(loop, "127.0.0.1", self._proxy.places.get(place, 1))
        return connectProtocol(endpoint, _Pipe())

    def _dig(self, place: str) -> None:
        def through(peer: _Pipe) -> None:
            peer.peer, self.peer = self, peer
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")  # type: ignore[union-attr]

        def closed(reason: Failure) -> None:
            self.transport.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")  # type: ignore[union-attr]

        self._connect(place).addCallbacks(through, closed)

    def _hand_on(self, head: str) -> None:
        """A request without a body, in the form that servers know, by a connection of its own."""
        line, _, lines = head.partition("\r\n")
        method, url, version = line.split(" ")
        split = re.fullmatch(r"http://([^/]+)(/.*)", url)
        assert split, "what is asked of a proxy is a whole URL"
        place = split[1] if ":" in split[1] else f"{split[1]}:80"
        kept = [each for each in lines.split("\r\n") if not each.lower().startswith("proxy-")]
        request = "\r\n".join([f"{method} {split[2]} {version}", *kept, "", ""])

        def through(peer: _Pipe) -> None:
            peer.peer, self.peer = self, peer
            peer.connectionLost = lambda reason=None: None  # type: ignore[method-assign]
            peer.transport.write(request.encode())  # type: ignore[union-attr]

        self._connect(place).addCallback(through)
