"""How the store is, for people; programs ask ``/readyz``."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from athensd.errors import AthensError
from athensd.interfaces import IStorage
from athensd.waiting import within

FRESH = 5.0
"""So many seconds an answer holds: to ask may take as long as a page may take altogether."""
PATIENCE = 2.0
"""So many seconds it is waited for, for a store that hangs keeps nobody from the page."""


class StoreHealth:
    """What ails ``storage``, asked again when the last answer is not fresh any more."""

    def __init__(self, storage: IStorage, clock: IReactorTime) -> None:
        self._storage = storage
        self._clock = clock
        self._trouble = ""
        self._until = 0.0

    async def trouble(self) -> str:
        """Why it cannot be used; empty when it can."""
        if self._clock.seconds() >= self._until:
            self._until = self._clock.seconds() + FRESH  # who comes meanwhile does not ask too
            try:
                await within(self._clock, PATIENCE, self._storage.check(), "looking at it")
                self._trouble = ""
            except AthensError as error:
                self._trouble = str(error)
        return self._trouble
