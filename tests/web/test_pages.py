"""The pages beside the download protocol, in Athens' shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from zope.interface import implementer

from athensd import __version__
from athensd.errors import StorageFailed
from athensd.interfaces import IStorage
from athensd.web.download import JSON, TEXT
from tests.web.fakes import ESCAPED, PATH, VERSION, Daemon, Response, check_refusal


@pytest.mark.parametrize(
    ("target", "type", "body"),
    [
        ("/healthz", JSON, b""),
        ("/readyz", TEXT, b""),
        ("/version", JSON, f'{{"version":"{__version__}"}}\n'.encode()),
        ("/robots.txt", TEXT, b"User-agent: *\nDisallow: /\n"),
        ("/catalog", JSON, b'{"modules":[]}\n'),
        ("/index", JSON, b""),
        ("/index?since=2026-01-31T12:00:00Z&limit=5", JSON, b""),
        ("/catalog?pagesize=5", JSON, b'{"modules":[]}\n'),
    ],
)
def test_the_pages(daemon: Daemon, target: str, type: str, body: bytes) -> None:
    """Each page answers as it does at Athens, and is kept by nobody."""
    answer = daemon.ask(target)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, type, body)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["cache-control"] == "no-store"
    assert daemon.ask(target, "HEAD").headers.keys() == answer.headers.keys()


def test_metrics(daemon: Daemon, refused: Callable[[Response], None]) -> None:
    """They are there in the form that is wanted; where none are kept, that is said."""
    absent = daemon.ask("/metrics")
    assert absent.status == 404
    refused(absent)

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"up 1\n", f"text/for-{accept}"

    daemon.pages._metrics = exposition
    answer = daemon.ask("/metrics", headers={"Accept": "x"})
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/for-x", b"up 1\n")


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({}, "http://proxy.test"),
        ({"X-Forwarded-Proto": "https"}, "https://proxy.test"),
        ({"Host": "go.example.test:3000"}, "http://go.example.test:3000"),
    ],
)
def test_the_home_page_says_how_to_use_it(daemon: Daemon, headers: dict[str, str], base: str) -> None:
    """The page at the root shows the GOPROXY that leads here."""
    answer = daemon.ask("/", headers=headers)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f"GOPROXY={base}\n" in answer.body.decode()


@pytest.mark.parametrize("host", ["<script>alert(1)</script>", '"><img>', "{base}{version.__class__}", "\xff\x00"])
def test_the_home_page_believes_no_host(daemon: Daemon, host: str) -> None:
    """A Host header is text in the page and never a part of its markup."""
    answer = daemon.ask("/", headers={"Host": host})
    assert answer.status in {200, 400}
    page = answer.body.decode()
    assert "<script" not in page
    assert "<img" not in page
    assert "class 'str'" not in page


def test_catalog_and_index_name_whole_versions(daemon: Daemon) -> None:
    """A version is in the catalog and in the index when all its files are stored, in Athens' JSON."""
    daemon.ask(f"{ESCAPED}/@v/{VERSION}.mod")
    assert json.loads(daemon.ask("/catalog").body) == {"modules": []}
    daemon.ask(f"{ESCAPED}/@v/{VERSION}.zip")
    assert json.loads(daemon.ask("/catalog").body) == {"modules": [{"module": PATH, "version": VERSION}]}
    (line,) = daemon.ask("/index").body.decode().splitlines()
    entry = json.loads(line)
    assert list(entry) == ["Path", "Version", "Timestamp"]
    assert (entry["Path"], entry["Version"]) == (PATH, VERSION)
    assert entry["Timestamp"].endswith("Z")
    assert daemon.ask(f"/index?since={entry['Timestamp']}").body.count(b"\n") == 1
    assert daemon.ask("/index?since=2999-01-01T00:00:00Z").body == b""


def store(daemon: Daemon, version: str) -> None:
    """Put a version into the store behind everybody's back, as a copy of a module cache would."""
    folder = daemon.root / "store" / ESCAPED[1:] / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("info", "mod", "zip", "ziphash"):
        (folder / f"{version}.{kind}").write_bytes(b"x")


def test_a_catalog_has_pages(daemon: Daemon) -> None:
    """``next`` leads from page to page until it is no longer there, and each version is on one page."""
    versions = [f"v1.0.{number}" for number in range(5)]
    for version in versions:
        store(daemon, version)
    seen, token = [], ""
    for _ in range(5):
        page = json.loads(daemon.ask(f"/catalog?pagesize=2&token={token}").body)
        seen += [entry["version"] for entry in page["modules"]]
        token = page.get("next", "")
        if not token:
            break
    assert seen == versions


@pytest.mark.parametrize(
    "target",
    [
        "/catalog?pagesize=0",
        "/catalog?pagesize=-1",
        "/catalog?pagesize=x",
        "/catalog?pagesize=%C2%B2",
        "/catalog?token=x",
        "/catalog?token=..%2f..@v1",
        "/catalog?token=%00@v1",
        "/catalog?token=%ff@v1",
        "/index?limit=0",
        "/index?limit=1.5",
        "/index?since=yesterday",
        "/index?since=2026-01-31T12:00:00",
        "/index?since=%00",
        "/index?since=99999-01-01T00:00:00Z",
    ],
)
def test_bad_parameters_are_the_clients_fault(daemon: Daemon, target: str) -> None:
    """A number, time or token that is none is 400 with a word on what it should be."""
    answer = daemon.ask(target)
    assert answer.status == 400
    check_refusal(answer)


@pytest.mark.parametrize("target", [f"/catalog?pagesize={'9' * 5000}", f"/index?limit={'9' * 5000}"])
def test_a_large_number_is_a_large_number(daemon: Daemon, target: str) -> None:
    """As many as there are can be asked for, with any number of digits."""
    assert daemon.ask(target).status == 200


@implementer(IStorage)
@frozen
class Broken:
    """A store that cannot be read, and cannot list what it holds."""

    disk: Any

    async def open(self, version: Any, kind: Any) -> Any:
        raise StorageFailed("the store cannot be read: Input/output error")

    put = versions = delete = open

    async def check(self) -> None:
        raise StorageFailed("the store cannot be written: No space left on device")


def test_not_ready_says_why(tmp_path: Path) -> None:
    """With a broken store ``/readyz`` is 500 with the reason, as at Athens, while ``/healthz`` stays 200."""
    daemon = Daemon(tmp_path, storage=Broken)
    answer = daemon.ask("/readyz")
    assert (answer.status, answer.lines[0]) == (500, "the store cannot be written: No space left on device")
    assert daemon.ask("/healthz").status == 200
    assert daemon.ask(f"{ESCAPED}/@v/{VERSION}.mod").status == 500


def test_a_store_without_a_catalog(tmp_path: Path) -> None:
    """A store that cannot list what it holds answers 501, as Athens does."""
    answer = Daemon(tmp_path, storage=Broken).ask("/catalog")
    assert answer.status == 501
    check_refusal(answer)
