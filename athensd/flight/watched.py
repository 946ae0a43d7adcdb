"""Any flight, with a step for each asker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from zope.interface import implementer

from athensd.interfaces import IFlight
from athensd.steps import Place, here, step

T = TypeVar("T")


@implementer(IFlight)
class WatchedFlight:
    """``flight``, with a step for each asker: those who join are linked to the work that they wait for."""

    def __init__(self, flight: IFlight) -> None:
        self._flight = flight
        self._under_way: dict[str, Place | None] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        async def watched() -> T:
            self._under_way[key] = here()
            try:
                return await work()
            finally:
                del self._under_way[key]

        with step("flight", key=key, joined=key in self._under_way) as this:
            this.link(self._under_way.get(key))
            result: T = await self._flight.run(key, watched)
            return result
