"""The datastore of what is not to be stored: there is never anything in it."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from athensd.errors import NotFound, Unsupported
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IStorage, Kind


@implementer(IStorage)
class NoStorage:
    """Has nothing and takes nothing."""

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        raise NotFound(f"{version} {kind.value} is not stored")

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        raise Unsupported(f"{version} {kind.value} is not to be stored")

    async def versions(self, path: str) -> Sequence[str]:
        return ()

    async def delete(self, version: ModuleVersion) -> None:
        raise NotFound(f"{version} is not stored")

    async def check(self) -> None:
        """Nothing can be wrong with it."""
