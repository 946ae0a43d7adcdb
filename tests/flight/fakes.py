"""Leases in memory, which keep the contract."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from athensd.errors import StorageFailed
from athensd.interfaces import ILeases


@implementer(ILeases)
@define
class MemoryLeases:
    """Who has which key, and until when.

    While ``failure`` is set, everything raises ``StorageFailed`` with this text; while ``silent``, nothing is answered.
    ``asked`` is every call so far: when, its method, key and holder.
    """

    clock: IReactorTime
    held: dict[str, tuple[str, float]] = field(factory=dict)
    failure: str = ""
    silent: bool = False
    asked: list[tuple[float, str, str, str]] = field(factory=list)

    async def take(self, key: str, holder: str, seconds: float) -> bool:
        await self._answer("take", key, holder)
        if self.holder(key) not in {"", holder}:
            return False
        self.held[key] = holder, self.clock.seconds() + seconds
        return True

    async def give_back(self, key: str, holder: str) -> None:
        await self._answer("give back", key, holder)
        if self.holder(key) == holder:
            del self.held[key]

    def holder(self, key: str) -> str:
        """Who has it now, or nobody."""
        holder, until = self.held.get(key, ("", 0.0))
        return holder if self.clock.seconds() < until else ""

    async def _answer(self, *question: str) -> None:
        self.asked.append((self.clock.seconds(), *question))
        if self.silent:
            await Deferred()
        if self.failure:
            raise StorageFailed(self.failure)
