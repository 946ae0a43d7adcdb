"""Which worker a process is, as its parent tells it; and the words that both send each other."""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence
from typing import Any

from attrs import asdict, frozen

VARIABLE = "ATHENSD_WORKER"
"""The variable of the environment that only a parent sets."""


@frozen
class Worker:
    """The worker ``number``, from 1; 0 is a process that is all of the daemon.

    A worker hears its parent at the descriptor ``hears`` and speaks at ``speaks``; ``balance`` is that of ``Balance``.
    ``sockets`` are descriptors that listen already, each with what would be listened at.
    """

    number: int = 0
    hears: int = 0
    speaks: int = 0
    balance: int = 0
    sockets: Sequence[tuple[str, int]] = ()

    @property
    def text(self) -> str:
        """For the variable."""
        return json.dumps(asdict(self))


def this_worker(environ: MutableMapping[str, str]) -> Worker:
    """Which one we are.  The variable is taken away: it is not for processes that we start."""
    return Worker(**json.loads(environ.pop(VARIABLE, "{}")))


class Lines:
    """The whole lines of what comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Those that this piece has made whole, without the end of the last one; or nothing."""
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        return whole


def line_of(*words: Any) -> bytes:
    """A message: a verb and what belongs to it, as a line of JSON."""
    return json.dumps(words).encode() + b"\n"
