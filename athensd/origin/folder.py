"""A folder of this machine in the place of an upstream: ``file:///srv/modules`` in GOPROXY (``go help goproxy``).

It is laid out as the download protocol is, and so as the go command's own module cache is below ``cache/download``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen

from athensd.blob import CHUNK
from athensd.errors import AthensError, NotFound, StorageFailed, UpstreamFailed, VerificationFailed
from athensd.origin.upstream import UpstreamOrigin


class FolderOrigin(UpstreamOrigin):
    """The folder at ``url``; it is read by ``in_thread``, since it may be on a slow disk or another machine."""

    def __init__(self, url: str, in_thread: Callable[..., Awaitable[Any]]) -> None:
        """Raises ``ValueError`` when the URL names no folder of this machine."""
        super().__init__(url, Folder(folder_of(url), in_thread), host="the folder in GOPROXY")


def folder_of(url: str) -> Path:
    """The absolute path in a ``file:`` URL, which may have nothing else in it.  ``ValueError`` says what is wrong."""
    parts = urlsplit(url)
    if parts.netloc:
        raise ValueError("names a host; a folder of this machine has three slashes, as in file:///srv/modules")
    if "?" in url or "#" in url:
        raise ValueError("has more than a path; write %3F for ? and %23 for #")
    path = _path(url)
    if not path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError("is not the absolute path of a folder, as in file:///srv/modules")
    return path


@frozen
class Folder:
    """Reads ``file:`` URLs below ``root`` as ``Transfer`` gets those of the web."""

    root: Path
    in_thread: Callable[..., Awaitable[Any]]

    async def small(self, url: str, what: str, limit: int, authorization: str = "") -> bytes:
        """The whole file, which is at most ``limit`` bytes.

        Raises ``NotFound`` when it is not there, ``UpstreamFailed`` when it, or the whole folder, cannot be read.
        """
        found: bytes = await self.in_thread(lambda: b"".join(self._pieces(url, what, limit)))
        return found

    async def file(self, url: str, what: str, limit: int, path: Path, authorization: str = "") -> int:
        """Copy it to a new file and return its length: what is stored must not change with the folder."""
        length: int = await self.in_thread(self._copy, url, what, limit, path)
        return length

    def _copy(self, url: str, what: str, limit: int, path: Path) -> int:
        try:
            with path.open("wb", CHUNK) as file:
                return sum(file.write(piece) for piece in self._pieces(url, what, limit))
        except OSError as error:
            raise StorageFailed(f"{what} could not be written here: {error.strerror}") from error

    def _pieces(self, url: str, what: str, limit: int) -> Iterator[bytes]:
        path = _path(url)  # an escaped name leads nowhere else
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise UpstreamFailed(f"{what}: what the folder in GOPROXY has there is no file")
            with path.open("rb", buffering=0) as file:
                while piece := file.read(CHUNK):
                    limit -= len(piece)
                    if limit < 0:
                        raise VerificationFailed(f"{what}: the folder in GOPROXY has more than Go allows")
                    yield piece
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
                raise self._absent(what) from error
            raise UpstreamFailed(f"{what}: the folder in GOPROXY cannot be read: {error.strerror}") from error

    def _absent(self, what: str) -> AthensError:
        """A folder that is gone, as a disk that is not mounted, says nothing of its modules."""
        if self.root.is_dir():
            return NotFound(f"{what}: not found in the folder in GOPROXY")
        return UpstreamFailed(f"{what}: the folder in GOPROXY is not there")


def _path(url: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))
