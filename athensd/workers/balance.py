"""Who takes the next client: the worker that has the fewest.

The system wakes all workers for each client, and always in the same order: left to themselves, the first would take
nearly all of them, and keep them.
"""

from __future__ import annotations

import os
import tempfile
from mmap import mmap

_NONE = 2**32 - 1


class Balance:
    """How many connections each worker has, in a file that all of them have in memory.

    ``descriptor`` is that of a file with four bytes for each, as ``make_balance`` makes it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap(descriptor, 0)).cast("I")

    def gives_way(self, worker: int, connections: int) -> bool:
        """Whether a worker, which has so many, leaves the next client to another."""
        self._counts[worker - 1] = connections
        return connections > min(self._counts)

    def gone(self, worker: int) -> None:
        """Nobody is to wait for this one."""
        self._counts[worker - 1] = _NONE


def make_balance(workers: int) -> Balance:
    """For so many, none of which is there yet."""
    with tempfile.TemporaryFile() as file:
        file.write(b"\xff" * 4 * workers)
        file.flush()
        return Balance(os.dup(file.fileno()))
