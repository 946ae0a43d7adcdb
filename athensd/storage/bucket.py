"""A datastore in any bucket: one object a file, published by the bucket's own conditional write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from os.path import commonprefix

from attrs import define, field
from zope.interface import implementer

from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Blob, IBucket, ICatalog, IStorage, Kind, Page
from athensd.storage.bucket_layout import CONTENT_TYPE, Layout
from athensd.storage.layout import parse_token

# Whoever sees a zip can see its hash; so it is the first to go.
_DELETE_ORDER = (Kind.ZIP, Kind.ZIPHASH, Kind.MOD, Kind.INFO)


@implementer(IStorage, ICatalog)
class BucketStorage:
    """The objects that ``layout`` names; whatever else is in the bucket does no harm."""

    def __init__(self, bucket: IBucket, layout: Layout) -> None:
        self._bucket = bucket
        self._layout = layout

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        try:
            return await self._bucket.open(self._layout.name(version, kind))
        except NotFound:
            raise NotFound(f"{version} {kind.value} is not stored") from None

    async def put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        name = self._layout.name(version, kind)
        try:
            await self._bucket.put(name, blob, CONTENT_TYPE[kind])
        except Conflict:
            if not await self._is_stored(name, blob):
                raise Conflict(f"{version} {kind.value}: other bytes are stored already, and they stay") from None

    async def _is_stored(self, name: str, blob: Blob) -> bool:
        try:
            stored = await self._bucket.open(name)
        except NotFound as error:
            raise StorageFailed(f"{name} was removed while it was put") from error
        try:
            return stored.length == blob.length and await _same(stored.chunks(), blob.chunks())
        except OSError as error:
            raise StorageFailed(f"{name} could not be compared with what is stored: {error.strerror}") from error

    async def versions(self, path: str) -> Sequence[str]:
        found: dict[str, set[Kind]] = defaultdict(set)
        async for name in self._bucket.names(self._layout.prefix(path)):
            parsed = self._layout.parse(name)
            if parsed and parsed[0].path == path:
                found[parsed[0].version].add(parsed[1])
        return [version for version, kinds in found.items() if kinds >= WHOLE]

    async def delete(self, version: ModuleVersion) -> None:
        names = [self._layout.name(version, kind) for kind in _DELETE_ORDER]
        start = commonprefix(names)  # noqa: RUF071 - by characters, since these are no files
        there = {name async for name in self._bucket.names(start)}
        if there.isdisjoint(names):
            raise NotFound(f"{version} is not stored")
        for name in names:
            if name in there:
                await self._bucket.delete(name)

    async def check(self) -> None:
        await self._bucket.check()

    async def page(self, token: str, size: int) -> Page:
        """Part of ``ICatalog``: the order is that of the names which complete a version."""
        last = parse_token(token) if token else None
        shown = self._layout.last(last) if last else ""
        found: list[ModuleVersion] = []
        async with aclosing(self._complete(self._layout.resume(last) if last else "")) as versions:
            async for version in versions:
                if self._layout.last(version) > shown:
                    found.append(version)
                    if len(found) == size:
                        return Page(found, str(version))
        return Page(found, "")

    async def _complete(self, after: str) -> AsyncGenerator[ModuleVersion, None]:
        """The complete versions of which every name follows ``after``, as they become complete."""
        # Versions lie beside or within each other: when the innermost is past, the one around it goes on.
        begun: list[_Begun] = []
        async for name in self._bucket.names("", after):
            while begun and begun[-1].last < name:
                begun.pop()
            parsed = self._layout.parse(name)
            if parsed is None or parsed[1] not in WHOLE:
                continue
            version, kind = parsed
            if not begun or begun[-1].version != version:
                begun.append(_Begun(version, self._layout.last(version)))
            begun[-1].kinds.add(kind)
            if begun[-1].kinds >= WHOLE:
                yield version


@define
class _Begun:
    """A version of which the last name has not come yet."""

    version: ModuleVersion
    last: str
    kinds: set[Kind] = field(factory=set)


async def _same(one: AsyncIterator[bytes], other: AsyncIterator[bytes]) -> bool:
    """Whether two streams, cut into pieces differently, have the same bytes."""
    left, right = b"", b""
    while True:
        left = left or await anext(one, b"")
        right = right or await anext(other, b"")
        length = min(len(left), len(right))
        if left[:length] != right[:length]:
            return False
        if not length:
            return not left and not right
        left, right = left[length:], right[length:]
