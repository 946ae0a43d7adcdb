"""Any datastore, with a step for each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from zope.interface import alsoProvides, implementer

from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IStorage, Kind, Page
from athensd.steps import step


@implementer(IStorage)
class WatchedStorage:
    """``storage``, and a catalog if it is one.

    ``stored`` is told of each version of which the zip has come, ``deleted`` of each that is gone.
    """

    def __init__(
        self,
        storage: IStorage,
        deleted: Callable[[ModuleVersion], None] = lambda version: None,
        stored: Callable[[ModuleVersion], None] = lambda version: None,
    ) -> None:
        self._storage = storage
        self._deleted = deleted
        self._stored = stored
        if ICatalog.providedBy(storage):
            alsoProvides(self, ICatalog)

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        with step("storage.open", kind=kind.value, module=version.path, version=version.version) as this:
            blob = await self._storage.open(version, kind)
            this.facts["bytes"] = blob.length
            return blob

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        with step("storage.put", kind=kind.value, module=version.path, version=version.version, bytes=blob.length):
            await self._storage.put(version, kind, blob)
            if kind is Kind.ZIP:
                self._stored(version)

    async def versions(self, path: str) -> Sequence[str]:
        with step("storage.versions", module=path):
            return await self._storage.versions(path)

    async def delete(self, version: ModuleVersion) -> None:
        with step("storage.delete", module=version.path, version=version.version):
            try:
                await self._storage.delete(version)
            finally:
                self._deleted(version)  # part of it may be gone

    async def check(self) -> None:
        with step("storage.check"):
            await self._storage.check()

    async def page(self, token: str, size: int) -> Page:
        """Part of ``ICatalog``."""
        with step("storage.page"):
            return await cast(ICatalog, self._storage).page(token, size)
