"""A process of its own, whose askers all want the same work done.

    python -m tests.flight.asker LEASES STORE ASKERS SECONDS

LEASES is a directory, or the port of a Redis.  The work looks first whether there is a file STORE, else it takes so
many seconds and makes it; that it was begun is a line in the file STORE.begun.  What has happened is said on the
standard output: ready, then, after a line from the standard input, asked, begun and done.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from athensd.flight.leased import LeasedFlight
from athensd.flight.lock_file import FileLeases
from athensd.flight.memory import MemoryFlight
from athensd.flight.redis import RedisLeases, one_server, redis_place
from athensd.interfaces import ILeases

reactor: Any = _reactor


def say(word: str) -> None:
    print(word, flush=True)


def leases_of(place: str) -> ILeases:
    if place.isdigit():
        return RedisLeases(one_server(redis_place(f"127.0.0.1:{place}")), deferToThread)
    return FileLeases(Path(place), reactor)


async def main(_: object, place: str, store: Path, askers: int, seconds: float) -> None:
    flight = LeasedFlight(MemoryFlight(), leases_of(place), reactor, name=str(os.getpid()))

    async def work() -> None:
        if store.exists():
            return
        with store.with_suffix(".begun").open("a") as file:
            file.write(f"{os.getpid()}\n")
        say("begun")
        await deferLater(reactor, seconds)
        store.touch()

    say("ready")
    await deferToThread(sys.stdin.readline)
    runs = [Deferred.fromCoroutine(flight.run("fetch example.com/m@v1.2.3 zip", work)) for _ in range(askers)]
    say("asked")
    await gatherResults(runs)
    say("done")
    await flight.stop()


if __name__ == "__main__":
    place, store, askers, seconds = sys.argv[1:]
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, place, Path(store), int(askers), float(seconds))))
