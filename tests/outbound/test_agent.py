"""Requests by a real proxy on loopback, to servers that only the proxy can reach."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trustme
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.client import HTTPConnectionPool
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from athensd.errors import UpstreamFailed
from athensd.outbound.agent import make_agent
from tests.origin.fakes_http import answer, loop
from tests.outbound.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does

WHAT = "example.test/m (list)"
LIMIT = 64 << 20
LOGIN = "us%40er:p%3Ac4n4ry@"
AUTHORIZATION = "Basic dXNAZXI6cDpjNG40cnk="


def by(url: str) -> dict[str, str]:
    """The environment with this proxy for everything."""
    return {"HTTP_PROXY": url, "HTTPS_PROXY": url}


async def failure(work: Any) -> str:
    """The text of the failure that the work must end in."""
    with pytest.raises(UpstreamFailed) as error:
        await work
    text = str(error.value)
    assert text.startswith(WHAT)
    for secret in ("c4n4ry", "Basic", "dXNA"):
        assert secret not in text
    return text


@ensureDeferred
async def test_https_in_a_tunnel(world: World) -> None:
    """The proxy is shown a login and only host and port of a request, the server everything else; tunnels are kept."""
    server = world.serve("https://a.test", answer(b"from a"))
    other = world.serve("https://b.test", answer(b"from b"))
    proxy = world.start_proxy(authorization=AUTHORIZATION)
    transfer = world.transfer(by(proxy.url(LOGIN)))
    for _ in range(3):
        assert await transfer.small("https://a.test/x?y", WHAT, LIMIT, "Basic inner") == b"from a"
        assert await transfer.small("https://b.test/x", WHAT, LIMIT) == b"from b"
    assert proxy.asked == ["CONNECT a.test:443 HTTP/1.1", "CONNECT b.test:443 HTTP/1.1"]
    assert "inner" not in str(proxy.heads)
    assert server.targets == ["/x?y"] * 3
    assert server.asked[0].headers["authorization"] == "Basic inner"
    assert not [name for asked in server.asked + other.asked for name in asked.headers if name.startswith("proxy")]


@ensureDeferred
async def test_http_is_asked_of_the_proxy(world: World) -> None:
    """An http URL is asked for whole, with the login, over a connection that is used again."""
    server = world.serve("http://a.test", answer(b"from a"))
    proxy = world.start_proxy(authorization=AUTHORIZATION)
    transfer = world.transfer(by(proxy.url(LOGIN)))
    for _ in range(3):
        assert await transfer.small("http://a.test/x?y", WHAT, LIMIT) == b"from a"
    assert proxy.asked == ["GET http://a.test/x?y HTTP/1.1"] * 3
    assert len(proxy.connections) == 1
    assert server.targets == ["/x?y"] * 3


@ensureDeferred
async def test_past_the_proxy(world: World) -> None:
    """This machine is asked itself."""
    server = world.serve("http://a.test", answer(b"here"))
    proxy = world.start_proxy()
    transfer = world.transfer(by(proxy.url()))
    for host in ("127.0.0.1", "localhost"):
        assert await transfer.small(f"http://{host}:{server.port}/x", WHAT, LIMIT) == b"here"
    assert proxy.asked == []


@ensureDeferred
async def test_a_large_body(world: World, tmp_path: Path) -> None:
    """Bodies come through a tunnel as they were sent."""
    body = random.Random(3).randbytes(8 << 20)
    world.serve("https://a.test", answer(body))
    transfer = world.transfer(by(world.start_proxy().url()))
    assert await transfer.file("https://a.test/x", WHAT, LIMIT, tmp_path / "x") == len(body)
    assert (tmp_path / "x").read_bytes() == body


@ensureDeferred
async def test_a_proxy_that_wants_tls(world: World) -> None:
    """An https:// proxy is spoken to by TLS, in which the other TLS goes; its certificate is checked."""
    world.serve("https://a.test", answer(b"secure"))
    world.serve("http://a.test", answer(b"plain"))
    proxy = world.start_proxy(certificate=world.authority.issue_cert("localhost"), authorization=AUTHORIZATION)
    transfer = world.transfer(by(proxy.url(LOGIN)))
    assert await transfer.small("https://a.test/x", WHAT, LIMIT) == b"secure"
    assert await transfer.small("http://a.test/x", WHAT, LIMIT) == b"plain"
    assert proxy.asked == ["CONNECT a.test:443 HTTP/1.1", "GET http://a.test/x HTTP/1.1"]

    for certificate, why in (
        (world.authority.issue_cert("other.test"), "has a certificate for another name"),
        (trustme.CA().issue_cert("localhost"), "cannot be spoken to by TLS (certificate verify failed)"),
    ):
        proxy = world.start_proxy(certificate=certificate)
        transfer = world.transfer(by(proxy.url(LOGIN)))
        assert why in await failure(transfer.small("https://a.test/x", WHAT, LIMIT))
        assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("login", "says"), [("", "asks for a login"), ("me:c4n4ry@", "does not accept our login")])
@ensureDeferred
async def test_a_login_that_is_missing_or_wrong(world: World, scheme: str, login: str, says: str) -> None:
    """It is said of the proxy, by its name, and never with the login; a body of the proxy's is not shown."""
    server = world.serve(f"{scheme}://a.test", answer(b"from a"))
    proxy = world.start_proxy(authorization=AUTHORIZATION)
    transfer = world.transfer(by(proxy.url(login)))
    text = await failure(transfer.small(f"{scheme}://a.test/x", WHAT, LIMIT))
    assert text == f"{WHAT}: no answer from a.test (the proxy 127.0.0.1:{proxy.port} {says} (407))"
    assert server.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@ensureDeferred
async def test_a_proxy_that_is_down(world: World, scheme: str) -> None:
    """It is said that the proxy cannot be reached, not that the host refuses; when it is back, all is well."""
    world.serve(f"{scheme}://a.test", answer(b"from a"))
    proxy = world.start_proxy()
    transfer = world.transfer(by(proxy.url(LOGIN)))
    await proxy.stop()
    text = await failure(transfer.small(f"{scheme}://a.test/x", WHAT, LIMIT))
    assert text == f"{WHAT}: no answer from a.test (the proxy 127.0.0.1:{proxy.port} cannot be reached)"
    proxy.start()
    assert await transfer.small(f"{scheme}://a.test/x", WHAT, LIMIT) == b"from a"


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"HTTP/1.1 403 c4n4ry\r\n\r\nc4n4ry", "opens no way to it (403)"),
        (b"HTTP/1.0 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "opens no way to it (502)"),
        (b"HTTP/1.1 204\r\n\r\n", "opens no way to it (204)"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer as a proxy does"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000, "does not answer as a proxy does"),
        (b"", "did not answer in time"),
        (b"HTTP/1.1 200 OK\r\n", "did not answer in time"),
    ],
)
@ensureDeferred
async def test_a_proxy_that_opens_no_way(world: World, says: bytes, why: str) -> None:
    """What a proxy does instead is told in words of ours, and the connection is closed."""
    proxy = world.start_proxy(says=says)
    transfer = world.transfer(by(proxy.url(LOGIN)), connect_timeout=0.3)
    text = await failure(transfer.small("https://a.test/x", WHAT, LIMIT))
    assert text == f"{WHAT}: no answer from a.test (the proxy 127.0.0.1:{proxy.port} {why})"
    while proxy.connections:
        await deferLater(loop, 0.01)


@ensureDeferred
async def test_certificates_behind_a_tunnel(world: World) -> None:
    """The server must have a certificate for its own name by somebody we trust: no proxy reads along."""
    world.serve("https://a.test", answer(b"from a"), trustme.CA())
    world.serve("https://b.test", answer(b"from b"))
    world.proxy.places["c.test:443"] = world.proxy.places["b.test:443"]
    transfer = world.transfer(by(world.start_proxy().url()))
    assert "certificate verify failed" in await failure(transfer.small("https://a.test/x", WHAT, LIMIT))
    assert "its certificate is for another name" in await failure(transfer.small("https://c.test/x", WHAT, LIMIT))
    assert await transfer.small("https://b.test/x", WHAT, LIMIT) == b"from b"


@ensureDeferred
async def test_whoever_leaves(world: World) -> None:
    """An asker who leaves while the proxy thinks takes the connection along."""
    proxy = world.start_proxy(says=b"")
    asked = Deferred.fromCoroutine(world.transfer(by(proxy.url())).small("https://a.test/x", WHAT, LIMIT))
    while not proxy.heads:
        await deferLater(loop, 0.01)
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    while proxy.connections:
        await deferLater(loop, 0.01)


def test_what_it_is(world: World) -> None:
    """An agent as Twisted has them; an environment that makes no sense is told at once."""
    pool = HTTPConnectionPool(loop)
    verifyObject(IAgent, make_agent(loop, {}, pool=pool))
    for name in ("HTTP_PROXY", "SSL_CERT_FILE"):
        with pytest.raises(ValueError, match=name):
            make_agent(loop, {name: "/no/such"}, pool=pool)
