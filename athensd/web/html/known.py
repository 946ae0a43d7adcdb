"""The modules of a store by their paths, kept in memory: so a search reads no catalog."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from athensd.errors import AthensError, StorageFailed, TimedOut
from athensd.interfaces import ICatalog, IStorage
from athensd.steps import aside
from athensd.waiting import within

MOST = 100_000
"""So many paths are kept, which takes some 15 MB; of a larger store they are the first of its catalog."""
FRESH = 300.0
"""So many seconds a reading of the catalog holds: others may store into it too."""
PATIENCE = 1.0
"""So many seconds the first search waits for the first reading."""
PAGE_SIZE = 1000


class KnownPaths:
    """Follows the catalog of ``storage``, which is read page by page in the background when somebody looks.

    ``whole`` when there are no others in the catalog.
    """

    def __init__(self, storage: IStorage, clock: IReactorTime) -> None:
        self._storage = storage
        self._clock = clock
        self._paths: list[str] = []  # in order
        self._doubtful: set[str] = set()
        self._reading = False
        self._changed: set[str] = set()  # while it is being read
        self._fresh_until = 0.0  # 0 before it was read for the first time
        self._trouble = ""
        self._waiting: list[Deferred[None]] = []
        self.whole = False

    def look(self) -> None:
        """Have the catalog read, unless it was a moment ago, or is just now."""
        if not self._reading and self._clock.seconds() >= self._fresh_until:
            self._reading = True
            aside("catalog", self._read)

    async def paths(self) -> Sequence[str]:
        """The paths, in order; while they are read for the first time, what has come.  Raises ``StorageFailed``."""
        self.look()
        if self._reading and not self._fresh_until:
            with suppress(TimedOut):
                await within(self._clock, PATIENCE, self._read_through(), "reading the catalog")
        if self._trouble and not self._paths:
            raise StorageFailed(self._trouble)
        return self._paths

    async def confirmed(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of ``paths`` of which a whole version is stored.  Raises ``StorageFailed``."""
        gone = set()
        for path in self._doubtful.intersection(paths):
            if not await self._storage.versions(path):
                gone.add(path)
            self._doubtful.discard(path)
        if gone:
            self._paths = [path for path in self._paths if path not in gone]
        return [path for path in paths if path not in gone]

    def changed(self, path: str) -> None:
        """Something of a module was stored or deleted; whether a whole version is there is for ``confirmed``."""
        if self._reading:
            self._changed.add(path)
        if self._reading or self._fresh_until:
            self._add(path)
            self._doubtful.add(path)

    def _add(self, path: str) -> None:
        at = bisect_left(self._paths, path)
        if self._paths[at : at + 1] != [path] and len(self._paths) < MOST:
            self._paths.insert(at, path)

    async def _read(self) -> None:
        seen: set[str] = set()
        token = ""
        try:
            while True:
                page = await ICatalog(self._storage).page(token, PAGE_SIZE)
                for path in {version.path for version in page.versions} - seen:
                    seen.add(path)
                    self._add(path)
                token = page.next
                if not token or len(seen) >= MOST:
                    break
        except AthensError as error:
            self._trouble = str(error)
        else:
            self._trouble = ""
            self._paths = sorted(seen | self._changed)[:MOST]
            self._doubtful = self._changed
            self._fresh_until = self._clock.seconds() + FRESH
            self.whole = not token
        finally:
            self._reading = False
            self._changed = set()
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    async def _read_through(self) -> None:
        """Wait for the end of the reading that is under way."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        await waiter
