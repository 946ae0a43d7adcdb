"""A bucket in memory, which keeps the contract: for tests of what is made of buckets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import BinaryIO

from attrs import define, field, frozen
from zope.interface import implementer

from athensd.blob import CHUNK, BytesBlob
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.interfaces import Blob, IBucket


@frozen
class MemoryObject:
    """An object as it was when it was opened."""

    blob: BytesBlob
    tag: str
    content_type: str

    @property
    def length(self) -> int:
        return self.blob.length

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if stop is None else stop
        for at in range(start, stop, CHUNK):
            yield self.blob.data[at : min(at + CHUNK, stop)]


@implementer(IBucket)
@define
class MemoryBucket:
    """Objects by name.  While ``failure`` is set, everything raises ``StorageFailed`` with this text.

    ``asked`` is every call so far: its method and its name or prefix, and where names began.
    """

    objects: dict[str, MemoryObject] = field(factory=dict)
    failure: str = ""
    asked: list[tuple[str, ...]] = field(factory=list)
    _tags: count[int] = field(factory=count)

    async def open(self, name: str) -> MemoryObject:
        self._answer("open", name)
        if name not in self.objects:
            raise NotFound(f"{name} is not in the bucket")
        return self.objects[name]

    async def put(self, name: str, blob: Blob, content_type: str, *, replacing: str | None = None) -> None:
        self._answer("put", name)
        try:
            data = b"".join([piece async for piece in blob.chunks()])
        except OSError as error:
            raise StorageFailed(f"{name} could not be read: {error.strerror}") from error
        there = self.objects.get(name)
        if (there.tag if there else None) != replacing:
            raise Conflict(f"{name} is in the bucket already, or has changed")
        self.objects[name] = MemoryObject(BytesBlob(data), str(next(self._tags)), content_type)

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        self._answer("names", prefix, after)
        for name in sorted(self.objects, key=str.encode):
            if name.startswith(prefix) and name.encode() > after.encode():
                yield name

    async def delete(self, name: str) -> None:
        self._answer("delete", name)
        self.objects.pop(name, None)

    async def check(self) -> None:
        self._answer("check")

    def _answer(self, *question: str) -> None:
        self.asked.append(question)
        if self.failure:
            raise StorageFailed(self.failure)
