"""Any datastore, with copies of its files on the local disk.

What is stored never changes, so a copy is as good as the original: it is read without asking, while the store is away
too.  All else is the store's own to say: who was first with a file, which versions there are, whether it is well.

Copies only save work: what goes wrong with them is for the log, and the original is read instead.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog
from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from zope.interface import alsoProvides, implementer

from athensd.blob import BytesBlob, FileBlob, HeldBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IFlight, IStorage, Kind, Page
from athensd.spool import Spool
from athensd.steps import step
from athensd.storage.disk import DiskStorage
from athensd.storage.layout import file_name

log = structlog.get_logger()

HOUR = 3600
"""In each hour the first use of a file is recorded on disk, as its time of modification."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_SUFFIXES = {kind.value for kind in Kind}


@define
class Ledger:
    """Which files are kept, and in which order they were used (pure).

    ``kept`` are their bytes, ``promised`` those for which room was made; together never more than ``limit``.
    """

    limit: int
    kept: int = 0
    promised: int = 0
    _sizes: OrderedDict[str, int] = field(factory=OrderedDict)  # the one used least recently comes first

    def length(self, name: str) -> int | None:
        """How long a file is; ``None`` when it is not known."""
        return self._sizes.get(name)

    def use(self, name: str) -> None:
        """It was used just now."""
        if name in self._sizes:
            self._sizes.move_to_end(name)

    def promise(self, size: int) -> list[str] | None:
        """Make room for ``size`` bytes: the files that must go, forgotten here; ``None`` when there cannot be room."""
        if self.promised + size > self.limit:
            return None
        self.promised += size
        going = []
        while self.kept + self.promised > self.limit:
            going.append(next(iter(self._sizes)))
            self.drop(going[-1])
        return going

    def settle(self, size: int) -> None:
        """What was promised is needed no longer: the file is kept, or is not to be."""
        self.promised -= size

    def keep(self, name: str, size: int) -> None:
        """A file is there."""
        self.drop(name)
        self._sizes[name] = size
        self.kept += size

    def drop(self, name: str) -> None:
        """A file is gone."""
        self.kept -= self._sizes.pop(name, 0)

    def add_older(self, sizes: OrderedDict[str, int], total: int) -> None:
        """These were there, ``total`` bytes in their order of use, before any that is known."""
        for name, size in self._sizes.items():
            total += size - sizes.pop(name, 0)
            sizes[name] = size
        self._sizes, self.kept = sizes, total


@frozen
class KeptBlob:
    """A local file that may go away; then ``original`` is asked for its bytes."""

    local: FileBlob
    original: Callable[[], Awaitable[Blob]]

    @property
    def length(self) -> int:
        return self.local.length

    def file(self) -> BinaryIO | None:
        try:
            return self.local.file()
        except FileNotFoundError:
            return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        try:
            # Once it is open it cannot go away.
            async for piece in self.local.chunks(start, stop):
                yield piece
        except FileNotFoundError:
            async for piece in (await self.original()).chunks(start, stop):
                yield piece


@implementer(IStorage)
class CachedStorage:
    """``remote``, and a catalog if it is one, with at most ``max_bytes`` of copies under ``root``.

    Those used least recently go first.  ``flight`` is one of this process; ``spool`` is in the file system of ``root``,
    and not under it.  ``hits``, ``misses`` and ``evicted`` count files since the start.
    """

    def __init__(
        self,
        remote: IStorage,
        *,
        root: Path,
        spool: Spool,
        flight: IFlight,
        in_thread: Callable[..., Awaitable[Any]],
        clock: IReactorTime,
        max_bytes: int,
    ) -> None:
        self._remote = remote
        self._root = root
        self._spool = spool
        self._flight = flight
        self._in_thread = in_thread
        self._clock = clock
        self._disk = DiskStorage(root, spool, in_thread)
        self._ledger = Ledger(max_bytes)
        self._counted = False
        self._deletions = 0
        self._used: set[str] = set()  # in this hour
        self._hour = 0
        self._hashless: set[str] = set()  # zips for which the remote has no hash: Athens, for one, stores none
        self.hits = 0
        self.misses = 0
        self.evicted = 0
        if ICatalog.providedBy(remote):
            alsoProvides(self, ICatalog)

    @property
    def size(self) -> int:
        """How many bytes are kept, or are coming; what was there before the start counts from the first miss on."""
        return self._ledger.kept + self._ledger.promised

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        kept = await self._kept(version, kind)
        if kept is not None:
            self.hits += 1
            return kept
        if kind is Kind.ZIPHASH and file_name(version, Kind.ZIP) in self._hashless:
            raise NotFound(f"{version} {kind.value} is not stored")
        self.misses += 1
        return await self._flight.run(f"cache {version} {kind.value}", lambda: self._fetch(version, kind))

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        deletions = self._deletions
        await self._remote.put(version, kind, blob)
        self._hashless.discard(file_name(version, Kind.ZIP))
        async with self._room(blob.length) as room:
            if room:
                await self._keep(version, kind, blob, deletions)

    async def versions(self, path: str) -> Sequence[str]:
        return await self._remote.versions(path)

    async def delete(self, version: ModuleVersion) -> None:
        try:
            await self._remote.delete(version)
        finally:
            await self.forget(version)

    async def forget(self, version: ModuleVersion) -> None:
        """It was deleted from the store, by us or by others: no copy of it is served from now on."""
        self._deletions += 1
        await self._remove([file_name(version, kind) for kind in Kind])

    async def check(self) -> None:
        await self._remote.check()

    async def page(self, token: str, size: int) -> Page:
        """Part of ``ICatalog``."""
        return await cast(ICatalog, self._remote).page(token, size)

    async def _kept(self, version: ModuleVersion, kind: Kind) -> Blob | None:
        """The copy, if there is a sound one."""
        name = file_name(version, kind)
        try:
            copy = await self._disk.open(version, kind)
        except NotFound:
            return None
        except StorageFailed as error:
            log.warning("copy cannot be read", file=name, error=str(error))
            return None
        if self._ledger.length(name) not in {None, copy.length}:
            log.warning("copy is damaged", file=name, bytes=copy.length)
            await self._remove([name])
            return None
        self._use(name)
        return self._blob(version, kind, copy.length)

    def _blob(self, version: ModuleVersion, kind: Kind, length: int) -> KeptBlob:
        copy = FileBlob(self._root / file_name(version, kind), length)
        return KeptBlob(copy, lambda: self._remote.open(version, kind))

    def _use(self, name: str) -> None:
        self._ledger.use(name)
        now = self._clock.seconds()
        if now // HOUR != self._hour:
            self._hour = int(now // HOUR)
            self._used.clear()
        if name not in self._used:
            self._used.add(name)
            with suppress(OSError):
                os.utime(self._root / name, (now, now))

    async def _fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """The file, of which a copy is made on the way if that can be."""
        deletions = self._deletions
        with step("storage.remote", kind=kind.value, module=version.path, version=version.version) as this:
            try:
                blob = await self._remote.open(version, kind)
            except NotFound:
                if kind is Kind.ZIPHASH:
                    self._note_hashless(file_name(version, Kind.ZIP))
                raise
            this.note(bytes=blob.length)
            async with self._room(blob.length) as room:
                if not room:
                    return blob
                try:
                    return await self._copied(version, kind, blob, deletions)
                except OSError as error:
                    log.warning("copy cannot be made", file=file_name(version, kind), error=error.strerror)
                    return blob

    def _note_hashless(self, zip_name: str) -> None:
        # A hash is stored before its zip: where there is none beside a zip, none will come.
        if self._ledger.length(zip_name) is not None:
            self._hashless.add(zip_name)

    async def _copied(self, version: ModuleVersion, kind: Kind, blob: Blob, deletions: int) -> Blob:
        """The file as we have it now; a zip is never whole in memory."""
        if kind is not Kind.ZIP:
            data = BytesBlob(await read_all(blob))
            await self._keep(version, kind, data, deletions)
            return data
        path = self._spool.new_path()
        try:
            with path.open("wb") as file:
                async for piece in blob.chunks():
                    file.write(piece)
            if path.stat().st_size != blob.length:
                raise StorageFailed(f"{version} {kind.value}: the store sends not as much as it says")
            if await self._keep(version, kind, FileBlob(path, blob.length), deletions):
                return self._blob(version, kind, blob.length)
            return HeldBlob(path)
        finally:
            path.unlink(missing_ok=True)

    async def _keep(self, version: ModuleVersion, kind: Kind, blob: Blob, deletions: int) -> bool:
        """Make this the copy, for which there is room; whether that was done."""
        name = file_name(version, kind)
        try:
            try:
                await self._disk.put(version, kind, blob)
            except Conflict:
                # Damaged, or left from before the version was deleted by somebody else and stored anew.
                await self._remove([name])
                await self._disk.put(version, kind, blob)
        except (Conflict, StorageFailed) as error:
            log.warning("copy cannot be kept", file=name, error=str(error))
            return False
        self._ledger.keep(name, blob.length)
        if self._deletions == deletions:
            return True
        # What was deleted meanwhile may have been this.
        await self._remove([name])
        return False

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[bool]:
        """Room for so many bytes until the end of the block; whether there is."""
        if not self._counted:
            await self._flight.run("cache count", self._count)
        going = self._ledger.promise(size)
        if going is None:
            yield False
            return
        try:
            self.evicted += len(going)
            await self._remove(going)
            yield True
        finally:
            self._ledger.settle(size)

    async def _count(self) -> None:
        """Find out what is there from before."""
        self._ledger.add_older(*await self._in_thread(_found, self._root))
        self._counted = True

    async def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self._ledger.drop(name)
            self._hashless.discard(name)
        if names:
            await self._in_thread(_unlink, self._root, names)


def _found(root: Path) -> tuple[OrderedDict[str, int], int]:
    """The files of versions under ``root`` with their lengths, least recently used first, and the sum."""
    hours: defaultdict[float, list[tuple[float, str, int]]] = defaultdict(list)
    total = 0
    for place, _, names in os.walk(root):
        folder = Path(place).relative_to(root)
        for name in names if folder.name == "@v" else ():
            if name.rpartition(".")[2] in _SUFFIXES:
                with suppress(FileNotFoundError):
                    found = Path(place, name).stat()
                    hours[found.st_mtime // HOUR].append((found.st_mtime, f"{folder}/{name}", found.st_size))
                    total += found.st_size
    # No other thread runs during a sort; so these are many small ones.
    order = (each for hour in sorted(hours) for each in sorted(hours[hour]))
    return OrderedDict((name, size) for _, name, size in order), total


def _unlink(root: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            (root / name).unlink()
        except OSError as error:
            if error.errno not in _ABSENT:
                log.warning("copy cannot be removed", file=name, error=error.strerror)
        with suppress(OSError):  # at the first directory that is not empty
            for directory in Path(name).parents[:-1]:
                (root / directory).rmdir()
