"""A datastore that lasts as long as the process: for trying things out, and for tests.

Small files are in memory.  Zips are files in the process's spool, so that not even here one is whole in memory, and
so that they are served as those of a disk are.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence

from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Blob, ICatalog, IStorage, Kind, Page
from athensd.spool import Spool
from athensd.storage.layout import parse_token


@implementer(IStorage, ICatalog)
class MemoryStorage:
    """Versions in a dictionary, zips in ``spool``."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._files: dict[ModuleVersion, dict[Kind, BytesBlob | FileBlob]] = {}

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        try:
            return self._files[version][kind]
        except KeyError:
            raise NotFound(f"{version} {kind.value} is not stored") from None

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        try:
            kept = await (self._file(blob) if kind is Kind.ZIP else _in_memory(blob))
        except OSError as error:
            raise StorageFailed(f"{version} {kind.value} could not be stored: {error.strerror}") from error
        first = self._files.setdefault(version, {}).setdefault(kind, kept)
        if first is not kept:
            same = _same(first, kept)
            _forget(kept)
            if not same:
                raise Conflict(f"{version} {kind.value}: other bytes are stored already, and they stay")

    async def versions(self, path: str) -> Sequence[str]:
        return [version.version for version in self._complete() if version.path == path]

    async def delete(self, version: ModuleVersion) -> None:
        files = self._files.pop(version, None)
        if files is None:
            raise NotFound(f"{version} is not stored")
        for blob in files.values():
            _forget(blob)

    async def check(self) -> None:
        """Memory is always there."""

    async def page(self, token: str, size: int) -> Page:
        after = str(parse_token(token)) if token else ""
        names = {str(version): version for version in self._complete()}
        following = sorted(name for name in names if name > after)
        return Page(
            [names[name] for name in following[:size]],
            following[size - 1] if len(following) > size else "",
        )

    def _complete(self) -> list[ModuleVersion]:
        return [version for version, files in self._files.items() if files.keys() >= WHOLE]

    async def _file(self, blob: Blob) -> FileBlob:
        path = self._spool.new_path()
        if isinstance(blob, FileBlob) and self._spool.owns(blob.path):
            os.link(blob.path, path)
        else:
            try:
                with path.open("wb") as file:
                    async for piece in blob.chunks():
                        file.write(piece)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return FileBlob(path, blob.length)


def _same(one: BytesBlob | FileBlob, other: BytesBlob | FileBlob) -> bool:
    if isinstance(one, FileBlob) and isinstance(other, FileBlob):
        return filecmp.cmp(one.path, other.path, shallow=False)
    return one == other


def _forget(blob: BytesBlob | FileBlob) -> None:
    if isinstance(blob, FileBlob):
        blob.path.unlink()


async def _in_memory(blob: Blob) -> BytesBlob:
    return BytesBlob(b"".join([piece async for piece in blob.chunks()]))
