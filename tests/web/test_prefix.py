"""What stands before the paths, and before the whole daemon: a prefix, HTTPS that must be, reverse proxies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from athensd.web.forwarded import Proxies
from athensd.web.paths import PAGES
from tests.web.fakes import CLIENT, ESCAPED, VERSION, Daemon, Response, check_refusal

MOD, LIST = f"{ESCAPED}/@v/{VERSION}.mod", f"{ESCAPED}/@v/list"
HTTPS = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def prefixed(daemon: Daemon) -> Daemon:
    """One whose paths begin with ``/go/proxy``."""
    daemon.site.prefix = b"/go/proxy"
    return daemon


@pytest.fixture
def forced(daemon: Daemon) -> Daemon:
    """One that serves nobody without HTTPS."""
    daemon.site.force_ssl = True
    return daemon


@pytest.mark.parametrize("target", [MOD, LIST, *(page.decode() for page in PAGES if page != b"/metrics")])
def test_all_is_below_the_prefix(prefixed: Daemon, target: str) -> None:
    """Whatever there is, is there below the prefix; asked three times, the lane has its turn."""
    assert [prefixed.ask(f"/go/proxy{target}").status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("target", [MOD, LIST, "/catalog", "/version", "/go", "/go/", "/go/proxyx", f"/go{MOD}"])
def test_above_the_prefix_is_nothing(prefixed: Daemon, target: str, refused: Callable[[Response], None]) -> None:
    """A path without it is not found, and the reason names it; what is stored makes no difference."""
    prefixed.ask(f"/go/proxy{MOD}")
    prefixed.ask(f"/go/proxy{MOD}")
    answer = prefixed.ask(target)
    assert answer.status == 404
    assert answer.lines[0].endswith("is below /go/proxy/")
    refused(answer)


@pytest.mark.parametrize("target", ["/", "/healthz", "/readyz", "/robots.txt"])
def test_probes_need_no_prefix(prefixed: Daemon, target: str) -> None:
    """Probes and robots ask where they always do; ``/`` is one of them, as in Athens."""
    answer = prefixed.ask(target)
    assert answer.status == 200
    assert answer.body == (b"" if target != "/robots.txt" else b"User-agent: *\nDisallow: /\n")


def test_the_prefix_itself(prefixed: Daemon) -> None:
    """Without its last slash, links of the page would lead astray."""
    answer = prefixed.ask("/go/proxy")
    assert (answer.status, answer.headers["location"]) == (307, "/go/proxy/")


def test_the_home_page_names_the_prefix(prefixed: Daemon) -> None:
    """A user is told the whole GOPROXY, and the links of the page stay below it."""
    page = prefixed.ask("/go/proxy/").body.decode()
    assert "GOPROXY=http://proxy.test/go/proxy\n" in page
    assert 'href="/' not in page


def test_the_log_has_the_whole_path(prefixed: Daemon) -> None:
    """A line of the log shows what was asked, whichever way it was answered."""
    with capture_logs() as lines:
        for _ in range(3):
            prefixed.ask(f"/go/proxy{MOD}?x" if not lines else f"/go/proxy{MOD}")
    assert {line["http-path"] for line in lines if "http-path" in line} == {f"/go/proxy{MOD}"}


@pytest.mark.parametrize("target", [MOD, "/", "/catalog?pagesize=1", "/metrics"])
def test_https_is_forced(forced: Daemon, target: str) -> None:
    """Who comes without it is sent there, also when the lane could answer; who has it is served."""
    for _ in range(2):
        assert forced.ask(target, headers=HTTPS).status in {200, 404}
    answer = forced.ask(target)
    assert (answer.status, answer.headers["location"]) == (301, f"https://proxy.test{target}")
    assert answer.headers["cache-control"] == "no-store"
    check_refusal(answer)


@pytest.mark.parametrize("target", ["/healthz", "/readyz"])
def test_probes_are_never_redirected(forced: Daemon, target: str) -> None:
    """Whoever asks from inside, has no TLS before it."""
    assert forced.ask(target).status == 200


def test_a_redirect_believes_no_host(forced: Daemon) -> None:
    """A host that is none is not sent back to anybody."""
    assert forced.ask(MOD, headers={"Host": "a.test/b"}).status == 400
    forced.site.proxies = Proxies([CLIENT.host])
    assert forced.ask(MOD, headers={"X-Forwarded-Host": "b.test\x01"}).status == 400
    answer = forced.ask(MOD, headers={"X-Forwarded-Host": "b.test:444"})
    assert answer.headers["location"] == f"https://b.test:444{MOD}"


def test_who_is_no_proxy_cannot_say_that_it_has_https(forced: Daemon) -> None:
    """With proxies named, the header of anybody else is nothing; also where the lane could answer."""
    for _ in range(2):
        assert forced.ask(MOD, headers=HTTPS).status == 200
    forced.site.proxies = Proxies(["10.0.0.0/8"])
    assert forced.ask(MOD, headers=HTTPS).status == 301


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.5"}, {"Forwarded": "for=203.0.113.5"}])
@pytest.mark.parametrize(("networks", "client"), [(["192.0.2.0/24"], "203.0.113.5"), (["10.0.0.0/8"], CLIENT.host)])
def test_whose_request_it_was(daemon: Daemon, headers: dict[str, str], networks: list[str], client: str) -> None:
    """The log names the client of a trusted proxy, and the peer where it is none, whichever way it was answered."""
    daemon.site.proxies = Proxies(networks)
    with capture_logs() as lines:
        for _ in range(4):
            daemon.ask(MOD, headers=headers)
    assert [line["client"] for line in lines if "client" in line] == [client] * 4


@pytest.mark.parametrize("lane", [True], indirect=True)
def test_the_lane_takes_part(prefixed: Daemon) -> None:
    """Below a prefix, behind a trusted proxy and with HTTPS forced, a hit still goes past the router."""
    prefixed.site.proxies = Proxies([CLIENT.host])
    prefixed.site.force_ssl = True
    headers = {**HTTPS, "X-Forwarded-For": "203.0.113.5"}
    for _ in range(2):
        prefixed.ask(f"/go/proxy{MOD}", headers=headers)
    prefixed.proxy.mod = None  # type: ignore[assignment, method-assign]  # nobody is to ask it any more
    assert prefixed.ask(f"/go/proxy{MOD}", headers=headers).status == 200
    assert prefixed.ask(f"/go/proxy{MOD}", headers={"X-Forwarded-For": "203.0.113.5"}).status == 301


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (CLIENT, False),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 1), False),
        (IPv4Address("TCP", "10.1.1.1", 1), True),
        (UNIXAddress("/s"), True),
    ],
)
def test_a_proxy_has_more_connections(daemon: Daemon, peer: object, allowed: bool) -> None:
    """The bound for one address is not for proxies, nor for a socket at which no two clients can be told apart."""
    daemon.site.proxies = Proxies(["10.0.0.0/8"])
    daemon.site._most_of_one = 1
    assert daemon.site.buildProtocol(peer) is not None
    assert (daemon.site.buildProtocol(peer) is not None) is allowed
