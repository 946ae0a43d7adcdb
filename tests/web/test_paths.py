"""Which request paths reach the router."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from athensd.errors import InvalidPath
from athensd.web import request as web_request
from athensd.web.paths import LONGEST, PAGES, route_of
from tests.web.fakes import ESCAPED, Daemon

GOOD = [
    *(page.decode() for page in PAGES),
    "/robots%2Etxt",
    f"{ESCAPED}/@v/list",
    "/example.test/%21big/m/@v/list",
    f"{ESCAPED}/@latest",
    f"{ESCAPED}/@v/v1.0.0.info",
    f"{ESCAPED}/@v/v1.0.0+incompatible.mod",
    f"{ESCAPED}/@v/v2.0.0%2Bincompatible.zip",
    f"{ESCAPED}/@v/main.info",
    "/sumdb/sum.example.test/supported",
    "/sumdb/sum.example.test/x/latest",
    "/sumdb/sum.example.test/lookup/example.test/%21big@v1.0.0",
    "/sumdb/sum.example.test/tile/8/0/x001/234.p/5",
]
BAD = [
    "/x",
    "/favicon.ico",
    "/healthz/",
    "/HEALTHZ",
    "//healthz",
    "/@latest",
    "/@v/list",
    "/../etc/passwd",
    "/../../etc/passwd/@v/list",
    f"{ESCAPED}/../m/@v/list",
    f"{ESCAPED}/./@v/list",
    f"{ESCAPED}/%2e%2e/@v/list",
    f"{ESCAPED}/%2E%2E%2Fm/@v/list",
    f"{ESCAPED}/..%2fm/@v/list",
    f"/{ESCAPED}/@v/list",
    "/%2Fetc/passwd/@v/list",
    "/example.test//m/@v/list",
    "/example.test/%2Fm/@v/list",
    f"{ESCAPED}%00/@v/list",
    f"{ESCAPED}/@v/v1.0.0%00.zip",
    f"{ESCAPED}/@v/%ff.zip",
    f"{ESCAPED}/@v/v1%0A.zip",
    f"{ESCAPED}/@v/v1%20.zip",
    f"{ESCAPED}/@v/a%2Fb.zip",
    f"{ESCAPED}/@v/a%2F..%2F..%2Fb.zip",
    f"{ESCAPED}/@v/.zip",
    f"{ESCAPED}/@v/v1.0.0.ziphash",
    f"{ESCAPED}/@v/v1.0.0.zip.lock",
    f"{ESCAPED}/@v/v1.0.0.ZIP",
    f"{ESCAPED}/@v/",
    f"{ESCAPED}/@V/list",
    f"{ESCAPED}/@v/list/",
    f"{ESCAPED}/@latest/",
    "/example.test/\xe9/@v/list",
    f"/{'a' * LONGEST}.test/m/@v/list",
    "http://proxy.test/healthz",
    f"https://proxy.test{ESCAPED}/@v/list",
    "/sumdb",
    "/sumdb/",
    "/sumdb/latest",
    "/sumdb//latest",
    "/sumdb/sum.example.test",
    "/sumdb/sum.example.test/",
    "/sumdb/sum.example.test/else",
    "/sumdb/sum.example.test/latest/",
    "/sumdb/sum.example.test/lookup/",
    "/sumdb/sum.example.test/tile/",
    "/sumdb/sum.example.test/tile/8/0/../../lookup/x",
    "/sumdb/../sumdb/sum.example.test/latest",
    "/sumdb/sum.example.test/lookup/a%20b",
    "proxy.test:80",
    "*",
    "healthz",
]
ROUTES = [
    ("/", "home"),
    ("/metrics", "metrics"),
    ("/robots%2Etxt", "robots"),
    (f"{ESCAPED}/@v/list", "list"),
    (f"{ESCAPED}/@latest", "latest"),
    (f"{ESCAPED}/@v/v1.0.0.info", "info"),
    (f"{ESCAPED}/@v/v1.0.0.mod", "mod"),
    (f"{ESCAPED}/@v/v1.0.0%2Ezip", "zip"),
    ("/example.test/@v/list.info/@v/list", "list"),
    ("/sumdb/sum.example.test/latest", "sumdb"),
    ("/sumdb/sum.example.test/lookup/example.test/@v/v1.0.0.info", "sumdb"),
    ("/sumdb/sum.example.test/@latest", "latest"),
]


@pytest.mark.parametrize("path", GOOD)
def test_our_own_paths_pass(path: str) -> None:
    """The pages and the five endpoints pass, percent-encoded or not."""
    route_of(path.encode())


@pytest.mark.parametrize(("path", "route"), ROUTES)
def test_the_route_is_told(path: str, route: str) -> None:
    """What is asked for is known from the path alone."""
    assert route_of(path.encode()) == route


@pytest.mark.parametrize("path", BAD)
def test_other_paths_are_refused(path: str) -> None:
    """What cannot be one of ours is "not there", in words."""
    with pytest.raises(InvalidPath, match="path"):
        route_of(path.encode("latin-1"))


class Unreached:
    """A router that must not be asked."""

    def process(self, request: Any) -> None:
        raise AssertionError(f"{request.path!r} came through")


@pytest.mark.parametrize("path", [path for path in BAD if "\xe9" not in path])
def test_the_router_never_sees_them(
    path: str, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None]
) -> None:
    """A refused path is answered 404 before Klein is reached, and no origin is asked."""
    monkeypatch.setattr(web_request.Request, "process", Unreached.process)
    answer = daemon.ask(path)
    assert answer.status == 404
    refused(answer)
    assert daemon.origin.asked == []


def test_what_is_not_ascii_is_no_request(daemon: Daemon) -> None:
    """Raw bytes above ASCII in a request line are refused as no HTTP at all."""
    assert daemon.ask("/example.test/\xe9/@v/list").status == 400


def test_a_request_line_without_end_is_cut_off(daemon: Daemon) -> None:
    """A path of 64 kB is not read to its end: the connection is closed."""
    connection = daemon.connect()
    assert b" 20" not in connection.send(b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\n\r\n")
    assert connection.transport.disconnecting


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/example.test/Big/m/@v/list", 404),
        ("/example.test/!Big/m/@v/list", 404),
        ("/example.test/!/m/@v/list", 404),
        ("/example.test/m!/@v/list", 404),
        ("/nodot/m/@v/list", 404),
        ("/example.test/.hidden/@v/list", 404),
        ("/example.test/m@v1/@v/list", 404),
        ("/example.test/@v/list/@v/list", 404),
        ("/example.test/con/@v/list", 404),
        ("/-example.test/m/@v/list", 404),
        ("/example.test/m/v1/@v/list", 404),
        (f"{ESCAPED}/@v/V1.0.0.info", 404),
        (f"{ESCAPED}/@v/v1!.info", 404),
        (f"{ESCAPED}/@v/-x.info", 404),
        (f"{ESCAPED}/@v/latest.info", 404),
        (f"{ESCAPED}/@v/a:b.zip", 404),
        ("/169.254.169.254/latest/@v/list", 403),
        ("/127.0.0.1/m/@v/list", 403),
    ],
)
def test_what_passes_the_first_door_is_held_against_gos_rules(
    path: str, status: int, daemon: Daemon, refused: Callable[..., None]
) -> None:
    """A path of the right shape that names no module, or an address, is refused without asking the origin."""
    answer = daemon.ask(path)
    assert answer.status == status
    refused(answer)
    assert daemon.origin.asked == []


def test_an_escaped_slash_is_a_slash(daemon: Daemon) -> None:
    """%2F separates the elements of a module path as a slash does, and nothing else."""
    assert daemon.ask("/example.test%2F%21big%2Fm/@v/list").body == daemon.ask(f"{ESCAPED}/@v/list").body != b""
