"""A datastore on a local disk, in Go's own layout (see ``layout``).

A file is written somewhere else in the same file system, made durable (fsync), and then given its name by link(2),
which never replaces: so a name appears with all its bytes or not at all, and the first writer wins, whoever else
writes, whatever kills us.
"""

from __future__ import annotations

import errno
import filecmp
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import Conflict, InvalidPath, NotFound, StorageFailed
from athensd.gomod.escape import unescape_path
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IEvictable, IStorage, Kind, Page, Stock, StoredZip
from athensd.spool import Spool, locked
from athensd.storage.layout import EVICTED, complete_versions, file_name, folder, parse_token, version_of

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


_SUFFIXES = {kind.value for kind in Kind}


@implementer(IStorage, ICatalog, IEvictable)
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
            published = await self._publish(blob, target)
        except OSError as error:
            raise StorageFailed(f"{what} could not be stored: {error.strerror}") from error
        if not published:
            raise Conflict(f"{what}: other bytes are stored already, and they stay")

    async def _publish(self, blob: Blob, target: Path) -> Any:
        if isinstance(blob, FileBlob) and self._spool.owns(blob.path):
            return await self._in_thread(_publish, blob.path, target)
        copy = self._spool.new_path()
        if isinstance(blob, BytesBlob):
            return await self._in_thread(_write_and_publish, copy, blob.data, target)
        try:
            with copy.open("wb") as file:
                async for piece in blob.chunks():
                    file.write(piece)
            return await self._in_thread(_publish, copy, target)
        finally:
            copy.unlink(missing_ok=True)

    async def versions(self, path: str) -> Sequence[str]:
        try:
            return complete_versions(await self._in_thread(_names, self._root / folder(path)))
        except OSError as error:
            raise _word(error, path) from error

    async def delete(self, version: ModuleVersion) -> None:
        gone = 0
        files = [self._root / file_name(version, kind) for kind in Kind]
        for file in (*files, self._mark(version)):
            try:
                file.unlink()
                gone += 1
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise _word(error, str(version)) from error
        if not gone:
            raise NotFound(f"{version} is not stored")

    async def stock(self) -> Stock:
        return cast(Stock, await self._in_thread(_stock, self._root))

    async def used(self, times: Mapping[ModuleVersion, float]) -> None:
        """Part of ``IEvictable``: recorded as the zips' times of modification."""
        await self._in_thread(_touch, {self._root / file_name(each, Kind.ZIP): time for each, time in times.items()})

    async def evict(self, version: ModuleVersion) -> None:
        try:
            await self._in_thread(_evict, self._root / file_name(version, Kind.ZIP), self._mark(version))
        except OSError as error:
            raise StorageFailed(f"{version} zip could not be evicted: {error.strerror}") from error

    def _mark(self, version: ModuleVersion) -> Path:
        return (self._root / file_name(version, Kind.ZIP)).with_suffix(f".{EVICTED}")

    async def check(self) -> None:
        try:
            await self._in_thread(_check, self._root, self._spool.new_path())
        except OSError as error:
            raise StorageFailed(f"the store cannot be read and written: {error.strerror}") from error

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


def _names(directory: Path) -> list[str]:
    """What is in a directory: nothing, when there is none."""
    try:
        return os.listdir(directory)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise


def _stock(root: Path) -> Stock:
    zips: list[StoredZip] = []
    total = 0
    for place, below, names in os.walk(root):
        segments = Path(place).relative_to(root).parts
        below[:] = [name for name in below if name == "@v" or _may_hold_modules((*segments, name))]
        path = _module_path(segments[:-1]) if segments[-1:] == ("@v",) else None
        for name in names if path else ():
            stem, _, suffix = name.rpartition(".")
            if suffix in _SUFFIXES:
                with suppress(FileNotFoundError):
                    found = Path(place, name).stat()
                    total += found.st_size
                    if suffix == Kind.ZIP.value and (version := version_of(stem)):
                        zips.append(StoredZip(ModuleVersion(path or "", version), found.st_size, found.st_mtime))
    return Stock(sorted(zips, key=attrgetter("used")), total)


def _touch(times: Mapping[Path, float]) -> None:
    for file, time in times.items():
        with suppress(OSError):
            os.utime(file, (time, time))


def _evict(file: Path, mark: Path) -> None:
    """The mark is on disk before the zip is gone: the version is complete all the time."""
    mark.touch()
    _make_durable(mark.parent)
    file.unlink(missing_ok=True)


def _check(root: Path, file: Path) -> None:
    _make_directory(root)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    file.touch()
    file.unlink()


def _write_and_publish(source: Path, data: bytes, target: Path) -> bool:
    try:
        source.write_bytes(data)
        return _publish(source, target)
    finally:
        source.unlink(missing_ok=True)


def _publish(source: Path, target: Path) -> bool:
    """Give a finished file its name for good; whether the file of that name, perhaps an older one, has these bytes."""
    # The order is what makes it quick: a journal that is written for the file takes the new directories along, and
    # they cost next to nothing when they are asked for at the end.
    changed = _make_directory(target.parent)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    if not _named(source, target) and not filecmp.cmp(source, target, shallow=False):
        return False
    for directory in (target.parent, *changed):
        _make_durable(directory)
    return True


def _named(source: Path, target: Path) -> bool:
    """Name a file unless the name is taken; whether that was done."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _renamed(source, target)
    return True


def _renamed(source: Path, target: Path) -> bool:
    """The same without hard links: rename(2) is atomic but replaces, so one at a time."""
    with locked(target.parent):
        if target.exists():
            return False
        source.rename(target)
        return True


def _make_directory(directory: Path) -> list[Path]:
    """Like ``mkdir -p``; the directories that have got a new name in them, which is on disk only when they are."""
    if directory.is_dir():
        return []
    changed = _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    return [directory.parent, *changed]


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
    last = parse_token(token)
    return tuple(folder(last.path).split("/")[:-1]), last.version


def _walk(directory: Path, segments: tuple[str, ...], after: Position) -> Iterator[ModuleVersion]:
    """Every complete version under ``directory`` that follows ``after``, each module before those nested in it."""
    names = sorted(_names(directory))
    if "@v" in names and (path := _module_path(segments)) and segments >= after[0]:
        for version in sorted(complete_versions(_names(directory / "@v"))):
            if (segments, version) > after:
                yield ModuleVersion(path, version)
    for name in names:
        below = (*segments, name)
        # Whatever sorts before the place where the last page ended was shown already.
        if below >= after[0][: len(below)] and _may_hold_modules(below) and (directory / name).is_dir():
            yield from _walk(directory / name, below, after)


def _may_hold_modules(segments: tuple[str, ...]) -> bool:
    """Not our own rooms, and nothing like ``lost+found``, which we may not read: the first element has a dot."""
    return segments[-1][0] not in ".@" and "." in segments[0]


def _module_path(segments: tuple[str, ...]) -> str | None:
    try:
        return unescape_path("/".join(segments))
    except InvalidPath:
        return None
