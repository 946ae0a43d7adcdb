"""Where stored files go that turned out to be wrong: out of the store, and not out of the world."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from athensd.blob import read_all
from athensd.checksums.unverified import Sum
from athensd.errors import NotFound, StorageFailed
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import h1_of_mod
from athensd.interfaces import Blob, IStorage, Kind

log = structlog.get_logger()


class Quarantine:
    """Moves versions out of ``storage`` into the directory ``root``."""

    def __init__(self, storage: IStorage, root: Path, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._storage = storage
        self._root = root
        self._in_thread = in_thread

    async def put(self, found: Sum) -> None:
        """Keep a copy of all files of the version and delete it, if what is stored has this sum.

        A second time does nothing.  Raises ``StorageFailed``.
        """
        version = found.version
        if await self._stored_sum(found) != found.h1:
            return  # other bytes were stored first, and they are right for all that is known
        folder = self._root / escape_path(version.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for kind in Kind:
                await self._copy(found, kind, folder / f"{escape_version(version.version)}.{kind.value}")
        except OSError as error:
            raise StorageFailed(f"{version} could not be put into quarantine: {error.strerror}") from error
        try:
            await self._storage.delete(version)
        except NotFound:
            return
        log.error("in quarantine", module=version.path, version=version.version, folder=str(folder))

    async def set_aside(self, version: ModuleVersion, blob: Blob) -> None:
        """Keep a copy of a zip that was fetched and not stored, in the place of an earlier one of this version."""
        path = self._root / escape_path(version.path) / f"{escape_version(version.version)}.fetched.zip"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._write(blob, path)
        except OSError as error:
            raise StorageFailed(f"{version} could not be put into quarantine: {error.strerror}") from error
        log.error("in quarantine", module=version.path, version=version.version, file=str(path))

    async def _stored_sum(self, found: Sum) -> str:
        kind = Kind.MOD if found.go_mod else Kind.ZIPHASH
        try:
            data = await read_all(await self._storage.open(found.version, kind))
        except NotFound:
            return ""
        return h1_of_mod(data) if found.go_mod else data.decode("ascii", "replace").strip()

    async def _copy(self, found: Sum, kind: Kind, path: Path) -> None:
        try:
            blob = await self._storage.open(found.version, kind)
        except NotFound:
            return
        await self._write(blob, path)

    async def _write(self, blob: Blob, path: Path) -> None:
        local = blob.file()
        with path.open("wb") as copy:
            if local is None:
                async for piece in blob.chunks():
                    copy.write(piece)
            else:
                with local:
                    await self._in_thread(shutil.copyfileobj, local, copy)
