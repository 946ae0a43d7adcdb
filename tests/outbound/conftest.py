"""What the tests of our way out share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import define, field
from pytest_twisted import blockon
from treq.client import HTTPClient
from twisted.internet.defer import gatherResults
from twisted.web.client import HTTPConnectionPool

from athensd.origin.transfer import Transfer
from athensd.outbound.agent import make_agent
from tests.origin.fakes_http import Handler, Upstream, loop
from tests.outbound.fakes import ForwardProxy


@define
class World:
    """Servers that stand somewhere in the world, a proxy that leads to them, and our requests."""

    directory: Path
    authority: trustme.CA
    proxy: ForwardProxy = field(factory=lambda: ForwardProxy({}))
    servers: list[Any] = field(factory=list)
    pools: list[HTTPConnectionPool] = field(factory=list)

    def serve(self, url: str, handler: Handler, authority: trustme.CA | None = None) -> Upstream:
        """A server at ``http://host`` or ``https://host``, behind the proxy."""
        scheme, _, host = url.partition("://")
        leaf = (authority or self.authority).issue_cert(host) if scheme == "https" else None
        self.servers.append(Upstream(handler, leaf))
        self.proxy.places[f"{host}:{443 if leaf else 80}"] = self.servers[-1].port
        return self.servers[-1]

    def start_proxy(self, **settings: Any) -> ForwardProxy:
        """The proxy, as it is set from now on."""
        self.proxy = ForwardProxy(self.proxy.places, **settings)
        self.proxy.start()
        self.servers.append(self.proxy)
        return self.proxy

    def transfer(self, environ: dict[str, str], connect_timeout: float = 5) -> Transfer:
        """Requests under this environment, in which our authority is trusted."""
        bundle = self.directory / "authority.pem"
        self.authority.cert_pem.write_to_path(bundle)
        self.pools.append(HTTPConnectionPool(loop))
        environ = {"SSL_CERT_FILE": str(bundle), "SSL_CERT_DIR": str(self.directory / "none"), **environ}
        agent = make_agent(loop, environ, pool=self.pools[-1], connect_timeout=connect_timeout)
        return Transfer(HTTPClient(agent), loop, headers_timeout=10, idle_timeout=10)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the servers."""
    return trustme.CA()


@pytest.fixture
def world(tmp_path: Path, authority: trustme.CA) -> Iterator[World]:
    world = World(tmp_path, authority)
    yield world
    blockon(gatherResults([pool.closeCachedConnections() for pool in world.pools]))
    blockon(gatherResults([each.stop() for each in world.servers]))
