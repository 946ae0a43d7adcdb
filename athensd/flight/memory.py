"""One piece of work for any number of askers in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from athensd.interfaces import IFlight

T = TypeVar("T")


@define(eq=False)
class _Flight:
    work: Deferred[Any] | None = None
    waiters: list[Deferred[Any]] = field(factory=list)


@implementer(IFlight)
class MemoryFlight:
    """Flights of this process."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        waiter: Deferred[T] = Deferred()
        flight = self._flights.get(key)
        if flight is not None:
            flight.waiters.append(waiter)
        else:
            flight = self._flights[key] = _Flight(waiters=[waiter])
            flight.work = Deferred.fromCoroutine(_coroutine(work))
            flight.work.addBoth(self._land, key)
        # Each asker waits on a Deferred of its own: cancelling it (the client hung up) leaves the work alone.
        return await waiter

    @property
    def size(self) -> int:
        """How many pieces of work are under way."""
        return len(self._flights)

    def stop(self) -> None:
        """Give up all work under way; whoever still waits sees it cancelled."""
        for flight in list(self._flights.values()):
            if flight.work is not None:
                flight.work.cancel()

    def _land(self, result: Any, key: str) -> None:
        # A Failure among the results is raised in every waiter; with nobody waiting it ends here, as it has been
        # logged where it arose.
        for waiter in self._flights.pop(key).waiters:
            waiter.callback(result)


async def _coroutine(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
