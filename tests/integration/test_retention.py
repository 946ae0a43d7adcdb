"""A store that is kept at its bound while much more is asked for."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.daemon import running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version

ASKERS = 8
COUNT = 45
LENGTH = 100_000
BOUND = COUNT * LENGTH // 3
KINDS = ("info", "mod", "zip")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Modules that have three times as many bytes as may be stored."""
    root = tmp_path / "tree"
    for number in range(COUNT):
        data = random.Random(number).randbytes(LENGTH)
        add_version(root, f"example.test/m{number}", "v1.0.0", {"m.go": b"package m\n", "data.bin": data})
    return root


@pytest.fixture
def upstream(tree: Path) -> Iterator[Upstream]:
    server = Upstream(tree)
    yield server
    server.stop()


def names(number: int) -> list[str]:
    return [f"example.test/m{number}/@v/v1.0.0.{kind}" for kind in KINDS]


def stored(directory: Path) -> dict[str, int]:
    """What the files of modules are, and how long."""
    store = directory / "store/example.test"
    found = {}
    for path in store.rglob("@v/*"):
        try:
            found[str(path.relative_to(store))] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found


@contextmanager
def weighed(directory: Path) -> Iterator[list[int]]:
    """How many bytes were stored, time and again."""
    weights = [0]
    over = threading.Event()

    def weigh() -> None:
        while not over.wait(0.005):
            weights.append(sum(stored(directory).values()))

    thread = threading.Thread(target=weigh)
    thread.start()
    try:
        yield weights
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_three_times_as_much(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """Every request is answered with the right bytes; never is more stored than may be; every version stays listed."""
    home = tmp_path / "athensd"
    settings = {"ATHENS_STORAGE_MAX_BYTES": str(BOUND), "ATHENS_STORAGE_PINNED": "example.test/m0"}
    with running(home, upstream.url, **settings) as daemon, weighed(home) as weights:

        def ask(number: int) -> list[bool]:
            return [daemon.get(name) == (200, (tree / name).read_bytes()) for name in names(number)]

        with ThreadPoolExecutor(ASKERS) as askers:
            order = [*range(COUNT), *random.Random(1).choices(range(COUNT), k=COUNT)]
            assert all(all(answers) for answers in askers.map(ask, order))
        # While it is weighed, as much as is in flight may have come and gone.
        assert BOUND // 2 < max(weights) <= BOUND + ASKERS * LENGTH
        files = stored(home)
        assert sum(files.values()) <= BOUND
        assert "m0/@v/v1.0.0.zip" in files
        assert len([name for name in files if name.endswith(".zip")]) < COUNT // 2
        assert len([name for name in files if name.endswith((".info", ".mod", ".ziphash"))]) == 3 * COUNT
        modules = json.loads(daemon.get("catalog?pagesize=1000")[1])["modules"]
        assert len(modules) == COUNT
        metrics = daemon.get("metrics")[1].decode()
        [kept] = [float(line.split()[1]) for line in metrics.splitlines() if line.startswith("proxy_storage_bytes ")]
        assert kept == sum(files.values())
        assert [line for line in daemon.lines() if line["level"] in {"error", "warning"}] == []
        assert daemon.end() == 0


def test_what_is_gone_from_its_origin_stays(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """Nothing is evicted that its origin has no more, or has as another one; then what comes is passed on."""
    home = tmp_path / "athensd"
    with running(home, upstream.url, ATHENS_STORAGE_MAX_BYTES=str(3 * LENGTH + 10_000)) as daemon:
        for number in range(2):
            assert [daemon.get(name)[0] for name in names(number)] == [200] * 3
        (tree / names(0)[0]).unlink()
        (tree / names(1)[0]).write_text('{"Version": "v1.0.0", "Time": "2025-01-01T00:00:00Z"}')
        for number in range(2, 5):
            assert [daemon.get(name) for name in names(number)] == [
                (200, (tree / name).read_bytes()) for name in names(number)
            ]
        zips = {name for name in stored(home) if name.endswith(".zip")}
        assert {"m0/@v/v1.0.0.zip", "m1/@v/v1.0.0.zip"} <= zips
        assert len(zips) == 3


@needs_go
def test_another_zip_comes_back(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """It is refused, so that the go command stops and tries nowhere else; the right one is taken when it comes."""
    home = tmp_path / "athensd"
    other = tmp_path / "other"
    add_version(other, "example.test/m0", "v1.0.0", {"m.go": b"package evil\n"})
    name = names(0)[2]
    right = (tree / name).read_bytes()
    with running(home, upstream.url, ATHENS_STORAGE_MAX_BYTES=str(3 * LENGTH)) as daemon:
        for number in range(4):
            assert [daemon.get(each)[0] for each in names(number)] == [200] * 3
        assert "m0/@v/v1.0.0.zip" not in stored(home)
        (tree / name).write_bytes((other / name).read_bytes())
        client = Client(tmp_path / "client", f"{daemon.url},direct")
        (client.work / "go.mod").write_text("module example.test/program\n\ngo 1.20\n")
        done = client.run("mod", "download", "example.test/m0@v1.0.0")
        assert done.returncode != 0
        assert "checksum mismatch" in done.stderr
        assert "403" in done.stderr
        assert (home / "store/.athensd/quarantine" / "example.test/m0/v1.0.0.fetched.zip").read_bytes() != right
        assert [line["level"] for line in daemon.lines() if line["msg"] == "not the zip that was here"] == ["error"]
        (tree / name).write_bytes(right)
        assert daemon.get(name) == (200, right)
