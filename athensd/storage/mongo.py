"""A datastore in MongoDB: small files in documents, zips in GridFS.

A zip is uploaded whole, and only then a document says where it is: that insert publishes it.  What Athens stored is
served as it is (see ``mongo_documents`` and ``mongo_files``).
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.blob import BytesBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IStorage, Kind, Page
from athensd.storage.layout import parse_token

if TYPE_CHECKING:
    from athensd.storage.mongo_files import MongoFiles, StoredZip

PARTS = 8
"""How many parts of a zip, of 255 KB each, are sent or read at a time."""
LEFT_BEHIND = timedelta(days=1)
"""How old an upload is when nobody can be at work on it any more."""


@implementer(IStorage, ICatalog)
class MongoStorage:
    """The documents and files of a database; the library's calls are made by ``in_thread(function, *arguments)``.

    Raises ``ImportError`` without pymongo, ``ValueError`` when the settings make no sense.
    """

    def __init__(
        self,
        url: str,
        in_thread: Callable[..., Awaitable[Any]],
        *,
        database: str = "athens",
        collection: str = "modules",
        cert_path: str = "",
        insecure: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        from athensd.storage.mongo_documents import MongoDocuments
        from athensd.storage.mongo_files import MongoFiles
        from athensd.storage.mongo_server import MongoServer

        self._server = MongoServer(url, cert_path=cert_path, insecure=insecure)
        there = self._server.database(database)
        self._files = MongoFiles(there)
        self._documents = MongoDocuments(there, collection, self._files)
        self._in_thread = in_thread
        self._now = now
        self._prepared = False

    def start(self) -> None:
        """Begin to sweep what earlier uploads have left behind; should it fail, the next start does it."""
        Deferred.fromCoroutine(self.sweep()).addErrback(_leave_it)

    async def sweep(self) -> int:
        """Remove some of what uploads that failed a day ago or earlier have left; how many files that were.

        Raises ``StorageFailed``.
        """
        before = datetime.fromtimestamp(self._now(), UTC) - LEFT_BEHIND
        removed: int = await self._run("the store", self._documents.sweep, before)
        return removed

    async def close(self) -> None:
        """Leave the server."""
        await self._in_thread(self._server.close)

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        what = f"{version} {kind.value}"
        found = await self._run(what, self._documents.find, version, kind)
        if found is None:
            raise NotFound(f"{what} is not stored")
        return BytesBlob(found) if isinstance(found, bytes) else _ZipBlob(found, what, self._files, self._run)

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        what = f"{version} {kind.value}"
        await self._prepare(what)
        try:
            same = await (self._put_zip if kind is Kind.ZIP else self._put_small)(what, version, kind, blob)
        except OSError as error:
            raise StorageFailed(f"{what} could not be stored: {error.strerror}") from error
        if not same:
            raise Conflict(f"{what}: other bytes are stored already, and they stay")

    async def versions(self, path: str) -> Sequence[str]:
        found: Sequence[str] = await self._run(path, self._documents.complete, path)
        return found

    async def delete(self, version: ModuleVersion) -> None:
        if not await self._run(str(version), self._documents.has_any, version):
            raise NotFound(f"{version} is not stored")
        await self._run(str(version), self._documents.remove, version)

    async def check(self) -> None:
        await self._prepare("the store")
        await self._run("the store", self._documents.ping)

    async def page(self, token: str, size: int) -> Page:
        last = parse_token(token) if token else None
        behind = (last.path, last.version) if last else ("", "")
        found = await self._run("the catalog", self._documents.page, *behind, size)
        return Page(found, str(found[-1]) if len(found) == size else "")

    async def _run(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._in_thread(self._server.call, what, function, *arguments)

    async def _prepare(self, what: str) -> None:
        if not self._prepared:
            await self._run(what, self._documents.prepare)
            self._prepared = True

    async def _put_small(self, what: str, version: ModuleVersion, kind: Kind, blob: Blob) -> bool:
        data = await read_all(blob)
        stored = await self._run(what, self._documents.put, version, kind, data)
        return bool(_there(what, stored) == data)

    async def _put_zip(self, what: str, version: ModuleVersion, kind: Kind, blob: Blob) -> bool:
        stored = await self._run(what, self._documents.find, version, kind)
        if stored is None:
            mine = await self._upload(what, version, blob)
            # When this fails it may have been done all the same; so what was uploaded is left to the sweep.
            stored = await self._run(what, self._documents.insert, version, kind, mine)
            with suppress(StorageFailed):  # the sweep does it, too
                if stored == mine:
                    await self._run(what, self._files.name, mine, version)
                else:
                    await self._run(what, self._files.remove, mine)
            if stored == mine:
                return True
        there = _ZipBlob(_there(what, stored), what, self._files, self._run)
        return there.length == blob.length and await _digest(there) == await _digest(blob)

    async def _upload(self, what: str, version: ModuleVersion, blob: Blob) -> StoredZip:
        """A whole file that nobody sees yet."""
        mine = self._files.new(blob.length)
        await self._run(what, self._files.begin, mine, version, datetime.fromtimestamp(self._now(), UTC))
        number = 0
        try:
            async with aclosing(_batches(blob, PARTS * mine.part)) as batches:
                async for batch in batches:
                    await self._run(what, self._files.add, mine, number, batch)
                    number += PARTS
        except Exception:
            # What is on its way still may come after this; so the sweep looks at it once more.
            with suppress(StorageFailed):
                await self._run(what, self._files.empty, mine)
            raise
        return mine


class _ZipBlob:
    """A file in GridFS."""

    def __init__(self, zip_: StoredZip, what: str, files: MongoFiles, run: Callable[..., Awaitable[Any]]) -> None:
        self._zip = zip_
        self._what = what
        self._files = files
        self._run = run

    @property
    def length(self) -> int:
        return self._zip.length

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if stop is None else stop
        if start >= stop:
            return
        size = self._zip.part
        reading = _Reading(self._what, self._files, self._zip, start // size, -(-stop // size))
        while reading.at < reading.end:
            first = reading.at
            for number, data in enumerate(await self._run(self._what, reading.next), first):
                yield data[max(0, start - number * size) : stop - number * size]


@define
class _Reading:
    """The parts of a file from ``at`` up to ``end``.  Whoever leaves it lets the cursor go, and the library ends it."""

    what: str
    files: MongoFiles
    zip: StoredZip
    at: int
    end: int
    cursor: Any = None

    def next(self) -> list[bytes]:
        """Some more of them.  It blocks.  When it fails it can be called again, and goes on there."""
        cursor, self.cursor = self.cursor or self.files.read(self.zip, self.at, self.end, PARTS), None
        parts = list(islice(cursor, PARTS))
        numbers = range(self.at, min(self.at + PARTS, self.end))
        if [(part["n"], len(part["data"])) for part in parts] != [(n, self.zip.size(n)) for n in numbers]:
            raise StorageFailed(f"{self.what}: a part of it is missing in MongoDB")
        self.cursor = cursor
        self.at = numbers.stop
        return [part["data"] for part in parts]


async def _batches(blob: Blob, size: int) -> AsyncGenerator[bytes, None]:
    """The bytes of a blob in pieces of this size, the last one excepted."""
    gathered, length = bytearray(), 0
    async for piece in blob.chunks():
        gathered += piece
        length += len(piece)
        while len(gathered) >= size:
            yield bytes(gathered[:size])
            del gathered[:size]
    if length != blob.length:
        raise OSError(errno.EIO, f"it has {length} bytes and not {blob.length}")
    if gathered:
        yield bytes(gathered)


async def _digest(blob: Blob) -> bytes:
    digest = hashlib.sha256()
    async for piece in blob.chunks():
        digest.update(piece)
    return digest.digest()


def _there(what: str, stored: Any) -> Any:
    if stored is None:
        raise StorageFailed(f"{what} was removed while it was put")
    return stored


def _leave_it(failure: Failure) -> None:
    failure.trap(StorageFailed)
