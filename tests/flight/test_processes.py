"""Flights of real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import redis

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=["lock file", "redis"])
def place(request, tmp_path):
    """Where the processes find each other."""
    if request.param == "lock file":
        yield str(tmp_path / "locks")
    else:
        with redis(tmp_path) as server:
            yield str(server.port)


@contextmanager
def process(place: str, store: Path, askers: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """One that is ready."""
    command = [sys.executable, "-m", "tests.flight.asker", place, str(store), str(askers), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        hear(process, "ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str], word: str) -> None:
    """Wait until it says so."""
    assert process.stdout is not None
    assert word in map(str.strip, process.stdout)


def go(*processes: subprocess.Popen[str]) -> None:
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()


def test_many_processes(place, tmp_path):
    """Twenty askers in three processes have the work done once."""
    store = tmp_path / "store"
    with process(place, store, 7, 1) as one, process(place, store, 7, 1) as two, process(place, store, 6, 1) as three:
        go(one, two, three)
        said = [set(each.communicate(timeout=20)[0].split()) for each in (one, two, three)]
    assert ["begun" in words for words in said].count(True) == 1
    assert all("done" in words for words in said)
    assert len(store.with_suffix(".begun").read_text().split()) == 1


def test_holder_is_killed(place, tmp_path):
    """When the process that does the work is killed, another does it, once, and all have it within ten seconds."""
    store = tmp_path / "store"
    with (
        process(place, store, 7, 60) as dying,
        process(place, store, 7, 0) as two,
        process(place, store, 6, 0) as three,
    ):
        go(dying)
        hear(dying, "begun")
        go(two, three)
        hear(two, "asked")
        hear(three, "asked")
        dying.kill()
        killed = time.monotonic()
        said = [each.communicate(timeout=20)[0].split() for each in (two, three)]
        took = time.monotonic() - killed
    assert sorted(said) == [["begun", "done"], ["done"]]
    assert took < 10
    assert len(store.with_suffix(".begun").read_text().split()) == 2
