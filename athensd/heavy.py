"""Work that takes a whole processor for a while, such as checking a zip, and gives way to whoever waits for an answer.

At most as many pieces of it as there are processors are done at a time: more would not be done sooner, and each takes
memory.  Its threads are their own, since what an unprivileged thread gives up of its priority it cannot take back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import get_native_id
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

LESS = 10
"""So much "nicer" than the rest of the process; Linux gives a tenth of the time to such a thread, if others want it."""


class HeavyWork:
    """``threads`` for it, from ``start`` to ``stop``; what is given to it before is begun then."""

    def __init__(self, reactor: Any, threads: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "heavy")
        self._ending = False

    def start(self) -> None:
        """Begin."""
        self._pool.start()

    def stop(self) -> None:
        """Wait until what is being done is done.  What was to come is not begun, and raises ``CancelledError``."""
        self._ending = True
        self._pool.stop()

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """The result of the function; what it logs is known to be part of the same request."""
        return deferToThreadPool(self._reactor, self._pool, copy_context().run, self._do, function, *arguments)

    def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._ending:  # the pool would do all that is queued
            raise CancelledError
        return _nicely(function, *arguments)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nicely(function: Callable[..., Any], *arguments: Any) -> Any:
    # Elsewhere than on Linux a thread has no priority of its own.  Whoever was started with less than that keeps it.
    with suppress(AttributeError, OSError):
        thread = get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(LESS, os.getpriority(os.PRIO_PROCESS, thread)))
    return function(*arguments)
