"""So many at a time; who waits is served in turn with all others, however often he asks."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from athensd.errors import Overloaded
from athensd.whose import whose


class Slots:
    """``at_once`` of them.

    A free one goes to whom of those who wait (``whose``) had one least lately.  So a client with a thousand questions
    keeps another one waiting for one answer, and not for a thousand.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._queues: dict[str, deque[Deferred[None]]] = {}  # none is empty; the first is the next

    @property
    def all_taken(self) -> bool:
        return not self._free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return sum(map(len, self._queues.values()))

    async def take(self) -> None:
        """Wait for one, and have it.  Raises ``Overloaded`` when somebody else took our place among those who wait."""
        if self._free:
            self._free -= 1
            return
        client = whose()
        waiter: Deferred[None] = Deferred(lambda waiter: self._leave(client, waiter))
        self._queues.setdefault(client, deque()).append(waiter)
        await waiter

    def give_back(self) -> None:
        """Leave ours to the next."""
        if not self._queues:
            self._free += 1
            return
        client = next(iter(self._queues))
        queue = self._queues.pop(client)
        waiter = queue.popleft()
        if queue:
            self._queues[client] = queue  # behind all others
        waiter.callback(None)

    def make_room(self) -> bool:
        """Send away who came last of the client with the most waiting, if that leaves it with as many as we would have.

        Says whether it was done.
        """
        if not self._queues:
            return False
        client, queue = max(self._queues.items(), key=lambda each: len(each[1]))
        if len(queue) - 1 <= len(self._queues.get(whose(), ())):
            return False
        last = queue[-1]
        self._leave(client, last)
        last.errback(overloaded())
        return True

    def _leave(self, client: str, waiter: Deferred[None]) -> None:
        self._queues[client].remove(waiter)
        if not self._queues[client]:
            del self._queues[client]


def overloaded() -> Overloaded:
    """What is said to whom there is no room for."""
    return Overloaded("too many modules are being fetched just now; ask again in a few seconds")
