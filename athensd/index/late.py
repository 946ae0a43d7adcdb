"""An index that may be away: what it could not take is added later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from athensd.errors import AthensError, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.index.journal import Journal
from athensd.interfaces import IIndex, IndexLine

log = structlog.get_logger()
T = TypeVar("T")

PATIENCE = 5.0
"""How many seconds a download waits for the index."""
LONGEST = 30.0
"""How many seconds a question to the index, or adding what is late, may take."""
PAUSE = 30.0
"""How many seconds there are between two tries."""
_END = datetime.max.replace(tzinfo=UTC)


@implementer(IIndex)
class LateIndex:
    """``index``, and a journal in the directory ``root`` of what it could not take, which is tried again and again.

    Adding does not fail, and while the index is away it waits for nothing but the journal.  What the index will never
    take is an error line in the log.
    """

    def __init__(
        self, index: IIndex, root: Path, clock: IReactorTime, in_thread: Callable[..., Awaitable[Any]]
    ) -> None:
        self._index = index
        self._journal = Journal(root)
        self._clock = clock
        self._in_thread = in_thread
        self._late: dict[ModuleVersion, None] = {}  # a set in the order of time
        self._away = False
        self._next: IDelayedCall | None = None
        self._work: Deferred[None] | None = None

    @property
    def size(self) -> int:
        """How many versions are to be added."""
        return len(self._late)

    def start(self) -> None:
        """Try the index, and add what an earlier life left."""
        self._begin(self._start())

    async def stop(self) -> None:
        """Give up; what is late is left to the next life."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._work is not None:
            self._work.cancel()

    async def add(self, version: ModuleVersion) -> None:
        if not self._away:
            try:
                await self._add(version, PATIENCE)
            except StorageFailed as error:
                self._say_away(error)
            except CancelledError:
                # Whoever stored it has no more time; perhaps it is added and perhaps not.
                await self._remember(version)
                raise
            else:
                return
        await self._remember(version)

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        return await self._within(LONGEST, self._index.since(when, limit))

    async def _start(self) -> None:
        try:
            self._late |= dict.fromkeys(await self._in_thread(self._journal.all))
        except OSError as error:
            log.error("the journal of the index cannot be read", reason=error.strerror)
        await self._catch_up()

    async def _remember(self, version: ModuleVersion) -> None:
        try:
            await self._in_thread(self._journal.add, version)
        except OSError as error:
            log.error("the journal of the index cannot be written", reason=error.strerror, **_facts(version))
        self._late[version] = None
        self._try_later()

    def _try_later(self) -> None:
        if self._next is None and self._work is None:
            self._next = self._clock.callLater(PAUSE, self._try)

    def _try(self) -> None:
        self._next = None
        self._begin(self._catch_up())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = Deferred.fromCoroutine(work)
        self._work.addCallbacks(self._ended, self._failed)

    def _ended(self, _: None) -> None:
        self._work = None
        if self._away or self._late:
            self._try_later()

    def _failed(self, failure: Any) -> None:
        self._work = None
        if failure.check(CancelledError):
            return
        log.error("what is late cannot be added to the index", exc_info=failure.value)
        self._try_later()

    async def _catch_up(self) -> None:
        """Add what is late; with nothing late see whether the index can be used."""
        count = 0
        try:
            if not self._late:
                await self.since(_END, 1)
            while self._late:
                version = next(iter(self._late))
                await self._add(version, LONGEST)
                await self._forget(version)
                count += 1
        except StorageFailed as error:
            self._say_away(error)
            return
        if self._away or count:
            self._away = False
            log.info("the index has caught up", versions=count)

    async def _forget(self, version: ModuleVersion) -> None:
        try:
            await self._in_thread(self._journal.remove, version)
        except OSError as error:
            log.error("the journal of the index cannot be written", reason=error.strerror, **_facts(version))
        del self._late[version]

    async def _add(self, version: ModuleVersion, seconds: float) -> None:
        """Raises ``StorageFailed`` when it is worth another try."""
        try:
            await self._within(seconds, self._index.add(version))
        except StorageFailed:
            raise
        except AthensError as error:
            log.error("a version cannot be in the index", reason=str(error), **_facts(version))

    async def _within(self, seconds: float, work: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            return await Deferred.fromCoroutine(work).addTimeout(seconds, self._clock)
        except DeferredTimeout as error:
            raise StorageFailed(f"the index did not answer within {seconds:g} seconds") from error

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.info("the index is away: what it misses is added later", reason=str(error))


def _facts(version: ModuleVersion) -> dict[str, str]:
    return {"module": version.path, "version": version.version}
