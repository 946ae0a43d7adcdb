"""Wiring of what workers ask each other for, so that each of them can show what all of them do."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import astuple

from athensd.observe.stats import Stats
from athensd.observe.underway import UnderWay
from athensd.web.html.now import Fetch, fetches
from athensd.web.pages import Exposition
from athensd.workers.siblings import Alone, Siblings
from athensd.workers.worker import Worker


def make_siblings(
    reactor: Any,
    worker: Worker,
    stats: Stats | None,
    under_way: UnderWay,
    in_thread: Callable[..., Awaitable[Any]],
    leave: Callable[[], object],
) -> Alone | Siblings:
    """Those of this process, if it is a worker."""
    if not worker.number:
        return Alone()

    async def metrics() -> Any:
        return await in_thread(stats.packed) if stats else ()

    async def fetched() -> Any:
        return [astuple(each) for each in fetches(under_way.steps(), time.perf_counter())]

    answers = {"metrics": metrics, "fetches": fetched}
    return Siblings(reactor, worker, answers, lambda number: os.kill(os.getpid(), number), leave)


def exposition(
    stats: Stats | None, siblings: Alone | Siblings, in_thread: Callable[..., Awaitable[Any]]
) -> Exposition | None:
    """The metrics of all workers as a page, if they are to be one; with many series that is work for a thread."""
    page = stats.exposition if stats else None

    async def made(accept: str) -> tuple[bytes, str]:
        text: tuple[bytes, str] = await in_thread(page, accept, await siblings.ask("metrics"))
        return text

    return made if page else None


async def fetches_elsewhere(siblings: Alone | Siblings) -> Sequence[Fetch]:
    """What the other workers are fetching."""
    return [Fetch(*each) for answer in await siblings.ask("fetches") for each in answer]
