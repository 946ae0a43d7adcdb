"""Upstream servers on loopback that do as a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trustme
from attrs import define, field
from treq.client import HTTPClient
from twisted.internet import reactor, ssl
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from athensd.origin.transfer import Transfer

loop: Any = reactor
Handler = Callable[[Any], Any]


@define
class Asked:
    """One request that a server has seen."""

    target: str
    headers: Mapping[str, str]
    peer: Any


class Upstream(Resource):
    """Answers by ``handler``, which gets the request and returns a body or ``NOT_DONE_YET``; remembers all requests."""

    isLeaf = True

    def __init__(self, handler: Handler, certificate: trustme.LeafCert | None = None) -> None:
        super().__init__()
        self.handler = handler
        self.asked: list[Asked] = []
        self.open = 0
        site = Site(self)
        site.displayTracebacks = False
        if certificate is None:
            self._port = loop.listenTCP(0, site, interface="127.0.0.1")
        else:
            options = ssl.PrivateCertificate.loadPEM(certificate.private_key_and_cert_chain_pem.bytes()).options()
            self._port = loop.listenSSL(0, site, options, interface="127.0.0.1")
        self.port: int = self._port.getHost().port
        self.host = f"{'127.0.0.1' if certificate is None else 'localhost'}:{self.port}"
        self.url = f"{'http' if certificate is None else 'https'}://{self.host}"

    def render(self, request: Request) -> Any:
        headers = {
            name.decode().lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.asked.append(Asked(request.uri.decode(), headers, request.getClientAddress()))
        self.open += 1
        request.notifyFinish().addBoth(self._ended)
        return self.handler(request)

    @property
    def targets(self) -> list[str]:
        return [asked.target for asked in self.asked]

    def _ended(self, result: object) -> None:
        self.open -= 1

    def stop(self) -> Any:
        return self._port.stopListening()


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Handler:
    """A handler that always answers so; underscores in header names are dashes."""

    def handle(request: Any) -> bytes:
        request.setResponseCode(status)
        for name, value in headers.items():
            request.responseHeaders.setRawHeaders(name.replace("_", "-").encode(), [value.encode("latin-1")])
        return body

    return handle


def table(answers: Mapping[str, Handler]) -> Handler:
    """A handler by the request's target; what is not in the table is 404."""
    return lambda request: answers.get(
        request.uri.decode(), answer(b"not found: no such thing", 404, Content_Type="text/plain")
    )(request)


def cut(body: bytes, at: int, **headers: str) -> Handler:
    """A handler that promises the whole body and closes the connection behind ``at`` bytes."""

    def handle(request: Any) -> Any:
        answer(**headers)(request)
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        request.write(body[:at])
        loop.callLater(0.01, request.loseConnection)
        return NOT_DONE_YET

    return handle


def silent(body: bytes = b"", length: int = 100) -> Handler:
    """A handler that sends the head and a part of the body and then nothing; without a body no head either."""

    def handle(request: Any) -> Any:
        if body:
            request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % length])
            request.write(body)
        return NOT_DONE_YET

    return handle


@define
class Room:
    """Servers that are stopped at the end, and a client for them."""

    authority: trustme.CA = field(factory=trustme.CA)
    servers: list[Upstream] = field(factory=list)
    pool: Any = field(factory=lambda: HTTPConnectionPool(loop))

    def serve(self, handler: Handler) -> Upstream:
        self.servers.append(Upstream(handler))
        return self.servers[-1]

    def serve_tls(self, handler: Handler, name: str = "localhost", authority: trustme.CA | None = None) -> Upstream:
        self.servers.append(Upstream(handler, (authority or self.authority).issue_cert(name)))
        return self.servers[-1]

    def transfer(self, **settings: Any) -> Transfer:
        root = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(self.authority.cert_pem.bytes())])
        policy: IPolicyForHTTPS = BrowserLikePolicyForHTTPS(root)
        agent = Agent(loop, policy, connectTimeout=5, pool=self.pool)
        return Transfer(HTTPClient(agent), loop, **{"headers_timeout": 5, "idle_timeout": 5, **settings})
