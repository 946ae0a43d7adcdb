"""A datastore behind Athens' HTTP contract for external storage.

A version is saved there whole, in one request; here its files come one at a time.  So those of a version that is not
whole yet wait in a local store and are served from it.  The contract has no place for the hash of a zip, which stays
in another local store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

import structlog
from twisted.internet.defer import DeferredLock
from zope.interface import implementer

from athensd.blob import FileBlob
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Blob, IStorage, Kind
from athensd.storage.cached import KeptBlob
from athensd.storage.external_server import ExternalServer

log = structlog.get_logger()

_NOBODY = "example.com/athensd"  # a module path of which there are no versions


@implementer(IStorage)
class ExternalStorage:
    """Versions on ``server``, files of those that are not whole in ``pending``, hashes in ``hashes``.

    Both local stores must survive a restart.
    """

    def __init__(self, server: ExternalServer, pending: IStorage, hashes: IStorage) -> None:
        self._server = server
        self._pending = pending
        self._hashes = hashes
        self._turns: WeakValueDictionary[ModuleVersion, DeferredLock] = WeakValueDictionary()

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        if kind is Kind.ZIPHASH:
            return await self._hashes.open(version, kind)
        try:
            part = await self._pending.open(version, kind)
        except NotFound:
            return await self._server.open(version, kind)
        # When the version is saved, it goes from here.
        return KeptBlob(part, lambda: self._server.open(version, kind)) if isinstance(part, FileBlob) else part

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        if kind is Kind.ZIPHASH:
            await self._hashes.put(version, kind, blob)
            return
        async with self._turn(version):
            if await self._is_saved(version, kind, blob):
                return
            parts = await self._parts(version)
            if kind in parts or {*parts, kind} < WHOLE:
                await self._pending.put(version, kind, blob)
                parts = await self._parts(version)  # another process may have put one meanwhile
            parts[kind] = blob
            if parts.keys() >= WHOLE:
                await self._save(version, parts, kind)

    async def versions(self, path: str) -> Sequence[str]:
        found = set(await self._server.versions(path))
        # There are none but those that we were about to save when we were stopped.
        for version in await self._pending.versions(path):
            found.add(version)
            await self._save_left(ModuleVersion(path, version))
        return list(found)

    async def delete(self, version: ModuleVersion) -> None:
        removed = 0
        async with self._turn(version):
            for store in (self._server, self._pending, self._hashes):
                with suppress(NotFound):
                    await store.delete(version)
                    removed += 1
        if not removed:
            raise NotFound(f"{version} is not stored")

    async def check(self) -> None:
        await self._pending.check()
        await self._hashes.check()
        await self._server.versions(_NOBODY)

    def _turn(self, version: ModuleVersion) -> DeferredLock:
        """A version is changed by one at a time."""
        return self._turns.setdefault(version, DeferredLock())

    async def _is_saved(self, version: ModuleVersion, kind: Kind, blob: Blob) -> bool:
        """Whether the server has this file.  Raises ``Conflict`` when it has another one."""
        try:
            theirs = await self._server.open(version, kind)
        except NotFound:
            return False
        try:
            same = await _same(theirs, blob)
        except OSError as error:
            raise StorageFailed(f"{version} {kind.value} could not be read: {error.strerror}") from error
        if kind is Kind.ZIP:
            # Then it has the whole version, and its files are those that count.
            await self._forget(version)
        if not same:
            raise Conflict(f"{version} {kind.value}: other bytes are stored already, and they stay")
        return True

    async def _parts(self, version: ModuleVersion) -> dict[Kind, Blob]:
        """The files that wait here."""
        parts = {}
        for kind in WHOLE:
            with suppress(NotFound):
                parts[kind] = await self._pending.open(version, kind)
        return parts

    async def _save(self, version: ModuleVersion, parts: Mapping[Kind, Blob], kind: Kind) -> None:
        """Save a whole version; the file of this kind is the one that is being put."""
        try:
            await self._server.save(version, parts)
        except StorageFailed:
            # Somebody else was first, or we were, and the answer did not arrive.
            if not await self._is_saved(version, kind, parts[kind]):
                raise
        await self._forget(version)

    async def _save_left(self, version: ModuleVersion) -> None:
        async with self._turn(version):
            parts = await self._parts(version)
            if parts.keys() >= WHOLE:
                try:
                    await self._save(version, parts, Kind.ZIP)
                except (Conflict, StorageFailed) as error:
                    log.warning("version waits to be saved", version=str(version), error=str(error))

    async def _forget(self, version: ModuleVersion) -> None:
        with suppress(NotFound):
            await self._pending.delete(version)


async def _same(theirs: Blob, ours: Blob) -> bool:
    """Whether two blobs have the same bytes; ours can be read from anywhere, theirs comes as it comes."""
    if theirs.length != ours.length:
        return False
    at = 0
    async for piece in theirs.chunks():
        if b"".join([part async for part in ours.chunks(at, at + len(piece))]) != piece:
            return False
        at += len(piece)
    return True
