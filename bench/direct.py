#!/usr/bin/env python3
"""What a fetch from a git repository of 200 MB costs here, as a part of what a go command without a cache takes.

    bench/direct.py [ROUNDS [MEGABYTES]]

Three questions, each put in turn to us, who have the repository from an earlier question, and to a go command with an
empty module cache, so that whatever else the machine does meets both: the list of versions, one more tag, one more
commit.  git reads the repository by ``file://``, which is the quickest that a host can be.  Medians of one of three
runs on 2 cores with others at work on them; the parts of all three were 0.08-0.09, 0.50-0.59, 0.24-0.30:

    list              0.016 s, 0.08 of  0.193 s   (wanted: 0.1 at most)
    further tag       0.899 s, 0.50 of  1.802 s   (wanted: 0.7 at most)
    further commit    0.934 s, 0.24 of  3.771 s   (wanted: 0.3 at most)

Most of ours is git packing the tree and go packing it again, so a larger tree beside the same history costs more.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.origin.direct import DirectOrigin
from athensd.origin.go_environment import go_environment, lay_out
from athensd.origin.go_process import GoCommand
from athensd.origin.turns import Turns
from athensd.origin.vcs_cache import VcsCache
from athensd.spool import Spool
from tests.rig.corpus import head
from tests.rig.heavy import make_heavy_repository

PATH = "github.com/heavy/m"
WANTED = {"list": 0.1, "further tag": 0.7, "further commit": 0.3}
ROUNDS, MEGABYTES = 5, 200


class Bench:
    """The repository, ourselves, and the times so far."""

    def __init__(self, reactor: Any, room: Path, rounds: int, megabytes: int) -> None:
        self._repository = room / f"corpus/{PATH}.git"
        make_heavy_repository(self._repository, PATH, megabytes=megabytes, tags=rounds + 1)
        self._room = room
        self._host = {"PATH": os.environ["PATH"], "HOME": str(room)}
        self._settings = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{room}/corpus/.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://",
            "GIT_ALLOW_PROTOCOL": "file",
        }
        self._spool = Spool(room / "spool")
        self.origin = DirectOrigin(
            go=GoCommand(reactor, "go"),
            flight=MemoryFlight(),
            spool=self._spool,
            in_thread=deferToThread,
            host=self._host,
            settings=self._settings,
            vcs=VcsCache(room / "vcs", 10**10),
            timeout=600,
            turns=Turns("direct", 10, 100),
        )
        self.times: dict[str, list[tuple[float, float]]] = {name: [] for name in WANTED}

    def commit(self, back: int) -> str:
        """The commit so many before the newest one."""
        return head(self._repository, f"main~{back}")

    async def fetch(self, version: str) -> None:
        with self._spool.directory() as into:
            await self.origin.fetch(ModuleVersion(PATH, version), Kind.ZIP, into)

    async def commit_of(self, revision: str) -> None:
        """What a client does with a commit: ask for its version, then fetch that."""
        await self.fetch((await self.origin.resolve(PATH, revision)).version)

    async def compare(self, name: str, ours: Callable[[], Awaitable[Any]], theirs: Sequence[str]) -> None:
        began = time.perf_counter()
        await ours()
        took = time.perf_counter() - began
        self.times[name].append((took, self._fresh(theirs)))

    def _fresh(self, arguments: Sequence[str]) -> float:
        work = Path(tempfile.mkdtemp(dir=self._room))
        lay_out(work)
        environment = go_environment(self._host, self._settings, work)
        began = time.perf_counter()
        subprocess.run(["go", *arguments], env=environment, cwd=work / "empty", check=True, capture_output=True)
        took = time.perf_counter() - began
        shutil.rmtree(work)
        return took


async def measure(bench: Bench, rounds: int) -> None:
    """Warm up, then all questions in each round, the quick one some times more."""
    await bench.origin.list(PATH)
    await bench.fetch("v1.0.0")
    for number in range(1, rounds + 1):
        tag = f"v1.{number}.0"
        listing = ["list", "-m", "-e", "-json", "-versions", "-retracted", f"{PATH}@latest"]
        for _ in range(5):
            await bench.compare("list", lambda: bench.origin.list(PATH), listing)
        await bench.compare(
            "further tag", lambda tag=tag: bench.fetch(tag), ["mod", "download", "-json", f"{PATH}@{tag}"]
        )
    await bench.commit_of(bench.commit(rounds + 1))
    for number in range(1, rounds + 1):
        commit = bench.commit(number)
        await bench.compare(
            "further commit",
            lambda commit=commit: bench.commit_of(commit),
            ["mod", "download", "-json", f"{PATH}@{commit}"],
        )


async def main(reactor: Any, rounds: int, megabytes: int) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(reactor, Path(name), rounds, megabytes)
        await measure(bench, rounds)
    for question, times in bench.times.items():
        ours, fresh = (statistics.median(each) for each in zip(*times, strict=True))
        part = statistics.median(ours / fresh for ours, fresh in times)
        print(f"{question:16} {ours:6.3f} s, {part:.2f} of {fresh:6.3f} s   (wanted: {WANTED[question]} at most)")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    rounds, megabytes = numbers + [ROUNDS, MEGABYTES][len(numbers) :]
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, rounds, megabytes)))
