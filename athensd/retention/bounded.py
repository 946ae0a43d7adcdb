"""Any datastore that can let zips go, within a bound: room is made before a file is stored.

The zips used least recently go first, each only after its origin has said that it can be had again.  A version stays
complete without its zip, which is fetched anew when somebody asks, and must have the hash that is recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from athensd.errors import AthensError, NoRoom, NotFound, StorageFailed, TimedOut
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IFlight, IStorage, Kind, Page, Stock
from athensd.retention.ledger import Ledger
from athensd.retention.reasons import Reasons
from athensd.steps import aside, step
from athensd.waiting import within

log = structlog.get_logger()

HOUR = 3600.0
"""So often uses are recorded and files are counted anew, and so long nobody asks again why a zip has to stay."""
MINUTE = 60.0
"""So long nobody asks again about a zip whose origin did not answer."""
RESERVE = 20
"""One of so many parts of the bound is kept free, so that who stores something seldom waits."""
AT_ONCE = 8
"""About so many zips origins are asked at a time."""
PATIENCE = 30.0
"""So many seconds whoever stores something waits for room."""


@define(eq=False)
class _Waiter:
    size: int
    room: Deferred[bool] = field(factory=Deferred)


@implementer(IStorage, ICatalog)
class BoundedStorage:
    """``storage``, which is a catalog and evictable, with at most ``max_bytes`` in its files.

    ``changed`` is told of each module of which a zip is gone.  ``flight`` is one of this process.  The bound holds for
    what is stored through here; what others store is known after the next count.
    """

    def __init__(
        self,
        storage: Any,
        reasons: Reasons,
        *,
        clock: IReactorTime,
        flight: IFlight,
        in_thread: Callable[..., Awaitable[Any]],
        max_bytes: int,
        changed: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._reasons = reasons
        self._clock = clock
        self._flight = flight
        self._in_thread = in_thread
        self._changed = changed
        self._ledger = Ledger(max_bytes)
        self._is_counted = False
        self._used: dict[ModuleVersion, float] = {}  # since uses were recorded
        self._going: dict[ModuleVersion, Deferred[None]] = {}
        self._waiting: deque[_Waiter] = deque()
        self._evicting = False
        self._is_full = False
        self._is_over = False
        self._loop = LoopingCall(self._count_in_the_background)
        self._loop.clock = clock

    @property
    def size(self) -> int:
        """How many bytes are there, or are coming; what was there before the start counts when it is counted."""
        return self._ledger.kept + self._ledger.promised

    def start(self) -> None:
        """Count what is there, now and then."""
        self._loop.start(HOUR, now=True)

    async def stop(self) -> None:
        """Begin to evict nothing more, and record what was used."""
        self._is_over = True
        if self._loop.running:
            self._loop.stop()
        await self._record()

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        # Whoever has opened a zip in time holds its file before a thread comes to remove it.
        if self._going and kind is Kind.ZIP and version in self._going:
            raise NotFound(f"{version} {kind.value} is not stored")
        blob: Blob = await self._storage.open(version, kind)
        if kind is Kind.ZIP:
            # The fast lane answers in place of this for a minute at most: so exact is the order.
            self._used[version] = self._clock.seconds()
            self._ledger.use(version)
        return blob

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        """Part of ``IStorage``; raises ``NoRoom`` too."""
        if version in self._going:
            await self._going[version]
        if not self._is_counted:
            await self._count()
        if await self._length(version, kind) is not None:
            await self._storage.put(version, kind, blob)
            return
        async with self._room(version, kind, blob.length):
            await self._storage.put(version, kind, blob)
            if kind is Kind.ZIP and not self._reasons.for_good(version):
                self._ledger.keep(version, blob.length)
            else:
                self._ledger.add(blob.length)

    async def versions(self, path: str) -> Sequence[str]:
        return cast(Sequence[str], await self._storage.versions(path))

    async def delete(self, version: ModuleVersion) -> None:
        lengths = [await self._length(version, kind) or 0 for kind in Kind]
        await self._storage.delete(version)
        self._ledger.lose(sum(lengths) - self._ledger.drop(version))

    async def check(self) -> None:
        await self._storage.check()

    async def page(self, token: str, size: int) -> Page:
        """Part of ``ICatalog``."""
        return cast(Page, await self._storage.page(token, size))

    async def _length(self, version: ModuleVersion, kind: Kind) -> int | None:
        try:
            blob: Blob = await self._storage.open(version, kind)
        except NotFound:
            return None
        return blob.length

    @asynccontextmanager
    async def _room(self, version: ModuleVersion, kind: Kind, size: int) -> AsyncIterator[None]:
        """Room for so many bytes until the end of the block.  Raises ``NoRoom``."""
        if not await self._promised(size):
            if not self._is_full:
                self._is_full = True
                log.warning("the store is full: what is fetched is not stored", module=version.path, bytes=size)
            raise NoRoom(f"{version} {kind.value}: the store is full")
        try:
            yield
        finally:
            self._ledger.settle(size)

    async def _promised(self, size: int) -> bool:
        if size > self._ledger.limit:
            return False
        if not self._waiting and self._ledger.promise(size):
            self._begin_to_evict()
            return True
        waiter = _Waiter(size)
        self._waiting.append(waiter)
        self._begin_to_evict()
        try:
            return await within(self._clock, PATIENCE, _result(waiter.room), "making room")
        except TimedOut:
            return False
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _admit(self) -> None:
        """Give those who wait what room there is, in their turn."""
        while self._waiting and self._ledger.promise(self._waiting[0].size):
            self._waiting.popleft().room.callback(True)

    def _refuse(self) -> None:
        """No more room will come."""
        while self._waiting:
            self._waiting.popleft().room.callback(False)

    @property
    def _short(self) -> int:
        """How many bytes are to go."""
        ledger = self._ledger
        return self.size + sum(each.size for each in self._waiting) - (ledger.limit - ledger.limit // RESERVE)

    def _begin_to_evict(self) -> None:
        if self._short > 0 and not self._evicting:
            self._evicting = True
            aside("evict", self._evict_in_the_background)

    async def _evict_in_the_background(self) -> None:
        try:
            await self._evict_enough()
        except CancelledError:
            pass
        except Exception:
            log.exception("evicting failed unexpectedly")
        finally:
            self._evicting = False
            self._refuse()

    async def _evict_enough(self) -> None:
        while not self._is_over:
            oldest = self._ledger.oldest(self._short, AT_ONCE, self._clock.seconds())
            evicting: list[Deferred[Any]] = [Deferred.fromCoroutine(self._evict(*each)) for each in oldest.items()]
            if not any(await gatherResults(evicting, consumeErrors=True)):
                return  # nothing is left that may go; or origins are away, and so would be those of the others
            self._admit()

    async def _evict(self, version: ModuleVersion, length: int) -> bool:
        """Evict a zip unless there is a reason not to; whether that could be found out."""
        used = self._used.get(version)
        about = {"module": version.path, "version": version.version}
        try:
            reason = await self._reasons.for_now(version)
        except AthensError as error:
            self._ledger.put_aside(version, self._clock.seconds() + MINUTE)
            log.info("not evicted", **about, reason=str(error))
            return False
        if reason:
            self._ledger.put_aside(version, self._clock.seconds() + HOUR)
            log.info("not evicted", **about, reason=reason)
        elif used == self._used.get(version) and not self._is_over:
            await self._remove(version, length)
        return True

    async def _remove(self, version: ModuleVersion, length: int) -> None:
        about = {"module": version.path, "version": version.version}
        gone: Deferred[None] = Deferred()
        self._going[version] = gone
        try:
            with step("storage.evict", **about, bytes=length):
                await self._storage.evict(version)
        except StorageFailed as error:
            self._ledger.put_aside(version, self._clock.seconds() + HOUR)
            log.warning("not evicted", **about, reason=str(error))
        else:
            self._ledger.drop(version)
            self._is_full = False
            self._changed(version.path)
            log.info("evicted", **about, bytes=length)
        finally:
            del self._going[version]
            gone.callback(None)

    async def _count(self) -> None:
        """Find out what is there; whoever asks meanwhile waits for the same."""
        await self._flight.run("count the store", self._counted)

    async def _counted(self) -> None:
        self._ledger.begin_count()
        await self._record()
        stock = await self._storage.stock()
        zips = await self._in_thread(self._may_go, stock)
        self._ledger.counted(zips, stock.total)
        if not self._is_counted:
            self._is_counted = True
            log.info("store counted", bytes=stock.total, zips=len(stock.zips), to_stay=len(stock.zips) - len(zips))
        self._begin_to_evict()

    def _may_go(self, stock: Stock) -> list[tuple[ModuleVersion, int]]:
        return [(each.version, each.length) for each in stock.zips if not self._reasons.for_good(each.version)]

    async def _count_in_the_background(self) -> None:
        try:
            await self._count()
        except (AthensError, CancelledError) as error:
            log.warning("the store could not be counted", reason=str(error))
        except Exception:
            log.exception("counting the store failed unexpectedly")

    async def _record(self) -> None:
        times, self._used = self._used, {}
        if times:
            await self._storage.used(times)


async def _result(room: Deferred[bool]) -> bool:
    return await room
