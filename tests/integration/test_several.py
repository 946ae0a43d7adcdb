"""Several athensd that share one bucket: each cold version is fetched once, whatever dies."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import define, field

from athensd.gomod.escape import escape_path
from tests.integration.daemon import Daemon, running
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually
from tests.servers import Server, minio, redis

pytestmark = pytest.mark.slow

MODULES = [f"example.test/Module{number}" for number in range(50)]
FILES = [f"{escape_path(path)}/@v/v1.0.0.zip" for path in MODULES]
CLIENTS = 200
PASSWORD = "a password"
Answer = tuple[int, str, str]  # status, path, and the body if it is wrong


@define
class Site:
    """An upstream, a bucket, a lock service, and two athensd that know nothing else of each other."""

    upstream: Upstream
    tree: Path
    bucket: Server
    locks: Server
    stop_locks: Callable[[], None]
    daemons: list[Daemon] = field(factory=list)

    def fetched(self) -> Counter[str]:
        """How often the upstream was asked for each zip."""
        return Counter(path for path in self.upstream.requests if path.endswith(".zip"))

    def ask_all(
        self, daemons: list[Daemon], meanwhile: Callable[[], None] = lambda: None
    ) -> list[tuple[int, str, str]]:
        """All clients at once, each for some of the versions: what was wrong with the answers."""
        right = {path: hashlib.sha256((self.tree / path).read_bytes()).hexdigest() for path in FILES}

        def ask(number: int) -> Answer:
            path = FILES[number % len(FILES)]
            status, body = daemons[number // len(FILES) % len(daemons)].get(path)
            return status, path, "" if hashlib.sha256(body).hexdigest() == right[path] else body[:200].decode("latin-1")

        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = [clients.submit(ask, number) for number in range(CLIENTS)]
            meanwhile()
            return [answer.result() for answer in answers]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        tree = tmp_path / "tree"
        for path in MODULES:
            add_version(tree, path, "v1.0.0", {"go.mod": f"module {path}\n".encode(), "m.go": b"package m\n" * 5000})
        upstream = Upstream(tree)
        stack.callback(upstream.stop)
        for name in ("minio", "redis"):
            (tmp_path / name).mkdir()
        bucket = stack.enter_context(minio(tmp_path / "minio"))
        locks = ExitStack()
        stack.push(locks)
        service = locks.enter_context(redis(tmp_path / "redis", PASSWORD))
        site = Site(upstream, tree, bucket, service, locks.close)
        for name in ("one", "other"):
            daemon = stack.enter_context(
                running(tmp_path / name, upstream.url, ATHENS_GOGET_DIR=str(tmp_path / name), **settings(site))
            )
            assert daemon.get("readyz")[0] == 200
            site.daemons.append(daemon)
        yield site


def settings(site: Site) -> dict[str, str]:
    return {
        "ATHENS_STORAGE_TYPE": "minio",
        "ATHENS_MINIO_ENDPOINT": f"{site.bucket.host}:{site.bucket.port}",
        "ATHENS_MINIO_ACCESS_KEY_ID": site.bucket.user,
        "ATHENS_MINIO_SECRET_ACCESS_KEY": site.bucket.password,
        "ATHENS_MINIO_BUCKET_NAME": "modules",
        "ATHENS_SINGLE_FLIGHT_TYPE": "redis",
        "ATHENS_REDIS_ENDPOINT": f"{site.locks.host}:{site.locks.port}",
        "ATHENS_REDIS_PASSWORD": site.locks.password,
    }


def test_fetched_once(site: Site) -> None:
    """200 clients ask both for the same 50 cold versions: 50 transfers, and every answer is right."""
    site.upstream.delay = 0.05
    answers = site.ask_all(site.daemons)
    assert {(status, wrong) for status, _, wrong in answers} == {(200, "")}
    assert sorted(site.fetched().values()) == [1] * len(FILES)
    for daemon in site.daemons:
        assert daemon.get("readyz")[0] == 200


def test_the_lock_service_dies(site: Site) -> None:
    """With Redis killed half-way every client is right, and a line at info level says what is missing."""
    site.upstream.delay = 0.05

    def meanwhile() -> None:
        eventually(lambda: len(site.fetched()) > 15)
        site.stop_locks()

    answers = site.ask_all(site.daemons, meanwhile)
    assert {(status, wrong) for status, _, wrong in answers} == {(200, "")}
    assert len(site.fetched()) == len(FILES)
    for daemon in site.daemons:
        levels = {line["level"] for line in daemon.lines() if line["msg"] != "incoming request"}
        assert levels <= {"info", "warning"}, "a second fetch may be warned of, and nothing is an error"


def test_one_of_them_dies(site: Site, tmp_path: Path) -> None:
    """One athensd is killed in the middle of its fetches: every client of the other is right, and soon."""
    site.upstream.delay = 0.3
    doomed, other = site.daemons
    with ThreadPoolExecutor(CLIENTS) as clients:
        for path in FILES:
            clients.submit(_ignore, doomed, path)
        eventually(lambda: len(site.fetched()) > 5)

        def kill() -> None:
            doomed.process.kill()

        began = time.monotonic()
        answers = site.ask_all([other], kill)
        took = time.monotonic() - began
    assert {(status, wrong) for status, _, wrong in answers} == {(200, "")}
    assert took < 25, "a dead holder delays the others by ten seconds at most"


def _ignore(daemon: Daemon, path: str) -> None:
    with suppress(OSError):
        daemon.get(path)
