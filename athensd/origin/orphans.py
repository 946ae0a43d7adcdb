"""Processes whose parent died before them, for whoever is process 1 and so becomes their parent.

Without it each git that outlives its go by a moment would stay as a zombie in a container that has no init.
"""

from __future__ import annotations

import os

from twisted.internet.interfaces import IReactorTime
from twisted.internet.process import reapProcessHandlers
from twisted.internet.task import LoopingCall

EVERY = 2.0


class Orphans:
    """Collects, every ``EVERY`` seconds, the ended children that nobody here has started."""

    def __init__(self, clock: IReactorTime) -> None:
        self._call = LoopingCall(reap)
        self._call.clock = clock

    def start(self) -> None:
        self._call.start(EVERY)

    def stop(self) -> None:
        if self._call.running:
            self._call.stop()


def reap() -> None:
    """Collect those that have ended by now.

    One that Twisted waits for is left to it, and those behind it in the kernel's list to the next time.
    """
    while (ended := _ended()) and ended not in reapProcessHandlers:
        os.waitpid(ended, os.WNOHANG)


def _ended() -> int:
    """A child that has ended, and stays as it is; 0 when there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found else 0
