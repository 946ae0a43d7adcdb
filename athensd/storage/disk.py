"""A datastore on a local disk, in Go's own layout (see ``layout``).

A file is written somewhere else in the same file system, made durable (fsync), and then given its name by link(2),
which never replaces: so a name appears with all its bytes or not at all, and the first writer wins, whoever else
writes, whatever kills us.
"""

from __future__ import annotations

import errno
import filecmp
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import Conflict, InvalidPath, InvalidRequest, NotFound, StorageFailed
from athensd.gomod.escape import unescape_path
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IStorage, Kind, Page
from athensd.spool import Spool
from athensd.storage.layout import complete_versions, file_name, folder

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


@implementer(IStorage, ICatalog)
class DiskStorage:
    """Files under ``root``; slow calls are made by ``in_thread(function, *arguments)``."""

    def __init__(self, root: Path, spool: Spool, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._root = root
        self._spool = spool
        self._in_thread = in_thread

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        path = self._root / file_name(version, kind)
        try:
            return FileBlob(path, path.stat().st_size)
        except OSError as error:
            raise _word(error, f"{version} {kind.value}") from error

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        target = self._root / file_name(version, kind)
        what = f"{version} {kind.value}"
        try:
            if isinstance(blob, FileBlob) and self._spool.owns(blob.path):
                await self._in_thread(_publish, blob.path, target)
            elif isinstance(blob, BytesBlob):
                await self._in_thread(_write_and_publish, self._spool.new_path(), blob.data, target)
            else:
                await self._copy_and_publish(blob, target)
        except FileExistsError as error:
            raise Conflict(f"{what}: other bytes are stored already, and they stay") from error
        except OSError as error:
            raise StorageFailed(f"{what} could not be stored: {error.strerror}") from error

    async def _copy_and_publish(self, blob: Blob, target: Path) -> None:
        copy = self._spool.new_path()
        try:
            with copy.open("wb") as file:
                async for piece in blob.chunks():
                    file.write(piece)
            await self._in_thread(_publish, copy, target)
        finally:
            copy.unlink(missing_ok=True)

    async def versions(self, path: str) -> Sequence[str]:
        try:
            names = await self._in_thread(os.listdir, self._root / folder(path))
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise _word(error, path) from error
        return complete_versions(names)

    async def delete(self, version: ModuleVersion) -> None:
        gone = 0
        for kind in Kind:
            try:
                (self._root / file_name(version, kind)).unlink()
                gone += 1
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise _word(error, str(version)) from error
        if not gone:
            raise NotFound(f"{version} is not stored")

    async def check(self) -> None:
        try:
            check = self._spool.new_path()
            check.write_bytes(b"")
            check.unlink()
        except OSError as error:
            raise StorageFailed(f"the store cannot be written: {error.strerror}") from error

    async def page(self, token: str, size: int) -> Page:
        after = _position(token)
        try:
            found = await self._in_thread(lambda: list(islice(_walk(self._root, (), after), size)))
        except OSError as error:
            raise _word(error, "the catalog") from error
        return Page(found, str(found[-1]) if len(found) == size else "")


def _word(error: OSError, what: str) -> NotFound | StorageFailed:
    if error.errno in _ABSENT:
        return NotFound(f"{what} is not stored")
    return StorageFailed(f"{what} could not be read from the store: {error.strerror}")


def _write_and_publish(source: Path, data: bytes, target: Path) -> None:
    try:
        source.write_bytes(data)
        _publish(source, target)
    finally:
        source.unlink(missing_ok=True)


def _publish(source: Path, target: Path) -> None:
    """Give a finished file its name for good.  Raises ``FileExistsError`` when other bytes have that name."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    _make_directory(target.parent)
    try:
        os.link(source, target)
    except FileExistsError:
        if not filecmp.cmp(source, target, shallow=False):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_unless_there(source, target)
    _make_durable(target.parent)


def _rename_unless_there(source: Path, target: Path) -> None:
    """For file systems without hard links: rename(2), which is atomic but can replace what came a moment before."""
    if not target.exists():
        source.rename(target)
    elif not filecmp.cmp(source, target, shallow=False):
        raise FileExistsError(errno.EEXIST, "other bytes are stored already")


def _make_directory(directory: Path) -> None:
    """Like ``mkdir -p``, durably: a new name is on disk only when the directory that holds it is."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    _make_durable(directory.parent)


def _make_durable(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Position = tuple[tuple[str, ...], str]


def _position(token: str) -> Position:
    """Where the last page ended: the segments of its last module path as they are on disk, and the version."""
    if not token:
        return ((), "")
    path, at, version = token.rpartition("@")
    try:
        return (tuple(folder(path).split("/")[:-1]), version) if at else _bad_token(token)
    except InvalidPath:
        return _bad_token(token)


def _bad_token(token: str) -> Position:
    raise InvalidRequest(f"token {token!r} did not come from this catalog")


def _walk(directory: Path, segments: tuple[str, ...], after: Position) -> Iterator[ModuleVersion]:
    """Every complete version under ``directory`` that follows ``after``, each module before those nested in it."""
    names = sorted(os.listdir(directory))
    if "@v" in names and (path := _module_path(segments)) and segments >= after[0]:
        for version in sorted(complete_versions(os.listdir(directory / "@v"))):
            if (segments, version) > after:
                yield ModuleVersion(path, version)
    for name in names:
        below = (*segments, name)
        # Whatever sorts before the place where the last page ended was shown already.
        if below >= after[0][: len(below)] and name[0] not in ".@" and (directory / name).is_dir():
            yield from _walk(directory / name, below, after)


def _module_path(segments: tuple[str, ...]) -> str | None:
    try:
        return unescape_path("/".join(segments))
    except InvalidPath:
        return None
