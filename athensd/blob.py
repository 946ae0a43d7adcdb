"""The two blobs that are on this machine: bytes in memory and a file."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from athensd.interfaces import Blob

CHUNK = 256 * 1024


@frozen
class BytesBlob:
    """A small blob in memory."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        piece = self.data[start:stop]
        if piece:
            yield piece


@frozen
class FileBlob:
    """A whole local file, whose length was read when it was found."""

    path: Path
    length: int

    def file(self) -> BinaryIO | None:
        return self.path.open("rb", buffering=0)

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        left = (self.length if stop is None else stop) - start
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while left > 0:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise OSError(errno.EIO, f"{self.path.name} is shorter than it was")
                left -= len(piece)
                yield piece


class HeldBlob:
    """A local file that has no name any more: it is gone when nobody holds it."""

    def __init__(self, path: Path) -> None:
        """Take the file away from ``path``."""
        self._file = path.open("rb", buffering=0)
        self.length = os.fstat(self._file.fileno()).st_size
        path.unlink()

    def file(self) -> BinaryIO | None:
        return None  # without a name it cannot be opened anew, and all who hold it share one position in it

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if stop is None else stop
        for at in range(start, stop, CHUNK):
            yield os.pread(self._file.fileno(), min(CHUNK, stop - at), at)


async def read_all(blob: Blob) -> bytes:
    """All bytes of a small blob."""
    return b"".join([piece async for piece in blob.chunks()])
