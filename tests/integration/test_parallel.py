"""A thousand downloads at once, all of different modules, of which not one is there yet."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually
from tests.rig.corpus import Commit, make_repository
from tests.rig.hosts import Hosts, World
from tests.rig.modules import day, tree

pytestmark = [pytest.mark.slow, needs_go]

BUSY = "too many modules are being fetched just now; ask again in a few seconds"
FULL = f"503 Service Unavailable\n\tserver response:\n\t{BUSY}"
TRIES = 30


def modules(count: int) -> list[str]:
    """Their paths."""
    return [f"example.test/m{number}" for number in range(count)]


@contextmanager
def upstream_of(tree: Path, paths: Iterable[str]) -> Iterator[Upstream]:
    """Has these modules; every answer takes a while."""
    for path in paths:
        add_version(tree, path, "v1.0.0", {"m.go": b"package m\n", "go.mod": f"module {path}\n".encode()})
    upstream = Upstream(tree)
    upstream.delay = 0.02
    yield upstream
    upstream.stop()


def download(client: Client, paths: Sequence[str]) -> set[str]:
    """Have one go command ask for all zips at the same time, and again for what failed: what it was told meanwhile."""
    told: set[str] = set()
    for _ in range(TRIES):
        done = client.run("mod", "download", "-json", *(f"{path}@v1.0.0" for path in paths), timeout=200)
        if done.returncode == 0:
            break
        decoder, rest = json.JSONDecoder(), done.stdout.strip()
        while rest:
            answer, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()
            if "Error" in answer:
                told.add(re.sub(r".*?: (?=\d{3} )|\n\trequest id.*", "", answer["Error"]))
        time.sleep(1)  # nobody asks again at once
    return told


def test_a_thousand_downloads(tmp_path: Path) -> None:
    """Ten go commands with a hundred each: all have their modules, at once or after they were told to ask again."""
    paths = modules(1000)
    with (
        upstream_of(tmp_path / "tree", paths) as upstream,
        running(tmp_path / "athensd", upstream.url, ATHENS_QUEUE_LENGTH="100") as daemon,
    ):
        clients = [Client(tmp_path / f"go{number}", daemon.url, GOMAXPROCS="100") for number in range(10)]
        with ThreadPoolExecutor(10) as threads:
            done = list(threads.map(download, clients, [paths[first::10] for first in range(10)]))
        assert {name for client in clients for name in client.files() if name.endswith(".zip")} == {
            f"{path}/@v/v1.0.0.zip" for path in paths
        }
        assert set().union(*done) == {FULL}
        assert len([name for name in upstream.requests if name.endswith(".zip")]) == 1000
        assert [line for line in daemon.lines() if line["level"] == "error"] == []
        assert daemon.end() == 0


def test_a_client_with_one_question(tmp_path: Path) -> None:
    """He is served before one with a thousand, even when that one has filled the queue, and whoever is refused knows
    when to come again."""
    settings = {"ATHENS_QUEUE_LENGTH": "100", "ATHENS_PROTOCOL_WORKERS": "2", "ATHENS_FETCH_AHEAD": "false"}
    *many, last = paths = modules(201)
    with (
        upstream_of(tmp_path / "tree", paths) as upstream,
        running(tmp_path / "athensd", upstream.url, **settings) as daemon,
        ThreadPoolExecutor(200) as threads,
    ):
        upstream.delay = 0.1  # so that all have come before many are served
        answers = [threads.submit(ask, daemon, path, "127.0.0.1") for path in many]
        assert eventually(lambda: sum(answer.done() for answer in answers) >= 90), "these found the queue full"
        before = len(upstream.requests)
        assert ask(daemon, last, "127.0.0.2")[0] == 200
        assert len(upstream.requests) - before < 20
        statuses = [answer.result() for answer in answers]
    assert {status for status, _ in statuses} == {200, 503}
    assert {after for status, after in statuses if status == 503} == {"5"}


def ask(daemon: Daemon, path: str, client: str) -> tuple[int, str | None]:
    """Ask for a go.mod from an address of this machine: status and Retry-After."""
    host = urlsplit(daemon.url).netloc
    connection = http.client.HTTPConnection(host, timeout=60, source_address=(client, 0))
    connection.request("GET", f"/{path}/@v/v1.0.0.mod")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.getheader("Retry-After")


@ensureDeferred
async def test_straight_from_repositories(tmp_path: Path) -> None:
    """The same with a go command and a repository for each: two are cloned at a time, while three wait."""
    paths = modules(12)
    for path in paths:
        make_repository(tmp_path / f"corpus/{path}.git", [Commit(tree(path), day(1), tags=("v1.0.0",))])
    hosts = Hosts(reactor, World(tmp_path / "corpus"), tmp_path)
    settings = {"ATHENS_GOGET_WORKERS": "2", "ATHENS_QUEUE_LENGTH": "3", "GIT_CONFIG_NOSYSTEM": "1"}
    with running(tmp_path / "athensd", "direct", **settings, **hosts.environment(), HOME=str(tmp_path)) as daemon:
        clients = [Client(tmp_path / f"go{number}", daemon.url) for number in range(12)]
        with ThreadPoolExecutor(12) as threads:  # the reactor's own are for its hosts
            done = await deferToThread(lambda: list(threads.map(download, clients, [[path] for path in paths])))
        assert set().union(*done) == {FULL}
        for client, path in zip(clients, paths, strict=True):
            assert f"{path}/@v/v1.0.0.zip" in client.files()
        assert daemon.end() == 0
    for port in hosts.stop():
        await port
