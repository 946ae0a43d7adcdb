"""The agent of all our own requests: to their hosts, or by the operator's proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    HTTPConnectionPool,
    ProxyAgent,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from athensd.outbound.proxies import Proxies, ProxyURL, netloc, read_proxies
from athensd.outbound.trust import trust_root
from athensd.outbound.tunnel import ProxyEndpoint, Tunnel, refused


def make_agent(
    reactor: Any, environ: Mapping[str, str], *, pool: HTTPConnectionPool, connect_timeout: float = 10
) -> IAgent:
    """What our requests go out by; ``connect_timeout`` is for a connection, and for a tunnel through a proxy once more.

    Raises ``ValueError`` that says what is wrong with the environment.
    """
    # Without the cache every request, even on a connection that is open, makes a TLS context: a third of its cost.
    policy = HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(trust_root(environ)))
    return OutboundAgent(reactor, Ways(reactor, read_proxies(environ), policy, connect_timeout), pool)


@implementer(IAgentEndpointFactory)
@frozen
class Ways:
    """How hosts are reached."""

    reactor: Any
    proxies: Proxies
    policy: IPolicyForHTTPS
    timeout: float

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """To the host itself, or by a tunnel through its proxy."""
        if uri.scheme not in {b"http", b"https"}:
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        host = uri.host.decode("ascii")
        proxy = self.proxies.proxy_for(uri.toBytes().decode("ascii"))
        way: IStreamClientEndpoint = self._tcp(host, uri.port)
        if proxy is not None:
            way = Tunnel(self.to(proxy), proxy, netloc(host, uri.port), self.reactor, self.timeout)
        return way if uri.scheme == b"http" else self._tls(host, uri.port, way)

    def to(self, proxy: ProxyURL) -> IStreamClientEndpoint:
        """To a proxy."""
        way = ProxyEndpoint(self._tcp(proxy.host, proxy.port), proxy)
        return way if proxy.scheme == "http" else self._tls(proxy.host, proxy.port, way)

    def _tcp(self, host: str, port: int) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self.reactor, host, port, timeout=self.timeout)
        return endpoint

    def _tls(self, host: str, port: int, way: IStreamClientEndpoint) -> IStreamClientEndpoint:
        return wrapClientTLS(self.policy.creatorForNetloc(host.encode("ascii"), port), way)


@implementer(IAgent)
class OutboundAgent:
    """Requests go their ways on connections of ``pool``; those in a tunnel serve the host at its end alone."""

    def __init__(self, reactor: Any, ways: Ways, pool: HTTPConnectionPool) -> None:
        self._proxies = ways.proxies
        self._agent = Agent.usingEndpointFactory(reactor, ways, pool)
        proxy = ways.proxies.http
        self._by_proxy = ProxyAgent(ways.to(proxy), reactor, pool) if proxy else None

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """As ``IAgent`` says; raises ``ProxyFailed`` where the proxy and not the host is at fault."""
        proxy = self._proxies.proxy_for(uri.decode("ascii"))
        asked: Deferred[IResponse]
        if proxy is None or self._by_proxy is None or uri[:6].lower() == b"https:":
            asked = self._agent.request(method, uri, headers, bodyProducer)
            return asked
        headers = headers.copy() if headers else Headers()
        if proxy.authorization:
            headers.setRawHeaders("Proxy-Authorization", [proxy.authorization])
        asked = self._by_proxy.request(method, uri, headers, bodyProducer)
        return asked.addCallback(_let_through, proxy)


def _let_through(response: IResponse, proxy: ProxyURL) -> IResponse:
    """The response, unless it is the proxy that asks for a login."""
    if response.code != 407:
        return response
    response.deliverBody(_Unwanted())
    raise refused(proxy, response.code)


class _Unwanted(Protocol):
    """A body that nobody is to see; what of it is still to come is not waited for."""

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
