"""A bucket of Amazon S3, MinIO or any look-alike that knows conditions (``If-None-Match``, ``If-Match``) on PUT."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from athensd.blob import BytesBlob, read_all
from athensd.bucket.s3_answers import Listing, Refused, parse_listing, refused
from athensd.bucket.s3_credentials import Keys, signer
from athensd.bucket.s3_place import S3Place
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.interfaces import Blob, IBucket, StoredBlob
from athensd.streams import Broken, exchange, pieces, read_bounded

FIRST = 64 * 1024
"""So many bytes of an object come when it is opened; most objects are smaller."""
LONGEST_NAME = 1024
"""S3's limit on names, in bytes of UTF-8."""
PROBE = ".athensd/first-writer-wins"
"""The object with which it is found out whether the server heeds conditions; no module has such a name."""
_PROBE_TEXT = b"athensd tries from time to time to overwrite this object, and counts on being refused.\n"
_ABSENT = {"NoSuchKey", "KeyTooLongError", "XMinioInvalidObjectName"}
_PAUSES = (0.1, 0.5, 1.0)
"""Before what failed is tried again, in seconds."""
_LIST_LIMIT = 16 << 20
_CONTENT_RANGE = re.compile(r"bytes 0-\d+/(\d+)")


@implementer(IBucket)
class S3Bucket:
    """The bucket at ``place``; requests are signed with what ``keys`` gives at the time.

    ``client`` is a ``plain_client``.  With ``create`` a bucket that is not there is made at the first check or write.
    A listing comes ``page_size`` names at a time.  While nothing moves, it is waited for ``idle`` seconds.  Raises
    ``ImportError`` without botocore.
    """

    def __init__(
        self,
        client: HTTPClient,
        clock: IReactorTime,
        keys: Keys,
        place: S3Place,
        *,
        create: bool = False,
        page_size: int = 1000,
        idle: float = 30.0,
    ) -> None:
        self._client = client
        self._clock = clock
        self._keys = keys
        self.place = place
        self._url = place.url
        self._create = create
        self._page_size = page_size
        self._idle = idle
        self._sign = signer(place.region or "us-east-1")
        self._heeded: set[str] = set()

    async def open(self, name: str) -> StoredBlob:
        with self._named(name):
            return await self._find(name)

    async def _find(self, name: str) -> _S3Blob:
        if len(name.encode()) > LONGEST_NAME:
            raise NotFound(f"{name[:60]}…: no object has so long a name")
        try:
            answer = await self._ask(_Request("GET", name, {"Range": f"bytes=0-{FIRST - 1}"}))
        except Refused as error:
            if error.code in _ABSENT:
                raise NotFound(f"{name} is not in the bucket") from error
            if error.status != 416:
                raise
            # Nothing can be the first part of an empty object.
            answer = await self._ask(_Request("GET", name))
        return self._blob(name, answer)

    def _blob(self, name: str, answer: _Answer) -> _S3Blob:
        span = _CONTENT_RANGE.fullmatch(answer.content_range)
        length = int(span[1]) if span else len(answer.body)
        tag = answer.tag
        if not tag or len(answer.body) != min(length, FIRST) or (answer.status == 206 and not span):
            raise StorageFailed("the server sends something else than was asked for")
        return _S3Blob(length, tag, answer.body, lambda start, stop: self._rest(name, tag, start, stop))

    async def put(self, name: str, blob: Blob, content_type: str, *, replacing: str | None = None) -> None:
        condition = {"If-None-Match": "*"} if replacing is None else {"If-Match": replacing}
        with self._named(name):
            await self._prove(condition)
            for pause in (*_PAUSES, None):
                try:
                    await self._write(name, blob, content_type, condition)
                    return
                except StorageFailed as error:
                    if pause is None or not _is_passing(error):
                        raise
                if await self._arrived(name, blob, replacing):
                    return
                await self._pause(pause)

    async def _arrived(self, name: str, blob: Blob, replacing: str | None) -> bool:
        """Whether what was sent is there although no answer came; ``Conflict`` when something else is.

        Another one who writes the very same bytes cannot be told from us.  What is large is not compared here.
        """
        try:
            there = await self._find(name)
        except NotFound:
            if replacing is None:
                return False
            raise Conflict(f"{name} has gone from the bucket") from None
        if there.tag == replacing:
            return False
        if there.length == blob.length <= FIRST and await read_all(there) == await read_all(blob):
            return True
        raise Conflict(f"{name} is in the bucket already")

    async def _write(self, name: str, blob: Blob, content_type: str, condition: Mapping[str, str]) -> None:
        try:
            await self._once(_Request("PUT", name, {"Content-Type": content_type, **condition}, blob=blob))
        except Refused as error:
            if error.status == 412 or (error.code == "NoSuchKey" and "If-Match" in condition):
                raise Conflict(f"{name} is in the bucket already, or no longer the one to be replaced") from error
            raise

    async def _prove(self, condition: Mapping[str, str]) -> None:
        """See once that the server heeds this condition: one that does not know it writes as if there were none."""
        [header] = condition
        if header in self._heeded:
            return
        impossible = {header: "*" if header == "If-None-Match" else '"none"'}
        probe = _Request("PUT", PROBE, {"Content-Type": "text/plain", **impossible}, blob=BytesBlob(_PROBE_TEXT))
        for _ in range(3 if self._create else 2):
            try:
                await self._ask(probe)
            except Refused as error:
                if error.status == 412 or error.code == "NoSuchKey":
                    self._heeded.add(header)
                    return
                if error.code != "NoSuchBucket" or not self._create:
                    raise
                await self._make()
        raise StorageFailed(f"the server overwrites objects: it does not know {header}, without which nothing is safe")

    async def _make(self) -> None:
        try:
            await self._ask(_Request("PUT"))
        except Refused as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    async def names(self, prefix: str, after: str = "") -> AsyncGenerator[str, None]:
        if len(prefix.encode()) > LONGEST_NAME:
            return
        after = after.encode()[:LONGEST_NAME].decode(errors="ignore")
        todo = [*_scopes(prefix, after)]
        while todo:
            scope, start, included = todo.pop(0)
            if included and (await self._listing({"prefix": start, "max-keys": "1"})).names == [start]:
                yield start
            where = {"start-after": start}
            while where:
                listing = await self._listing({"prefix": scope, "max-keys": str(self._page_size), **where})
                for name in listing.names:
                    yield name
                where = {"continuation-token": listing.next} if listing.next else {}
                if where and start and listing.names:
                    # MinIOs older than August 2025 lose a name at the token of a list that began at no name.
                    todo[:0] = _scopes(scope, listing.names[-1])
                    break

    async def _listing(self, query: Mapping[str, str]) -> Listing:
        wanted = {"list-type": "2", "encoding-type": "url", **query}
        text = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(wanted.items()) if value)
        with self._named(""):
            return parse_listing((await self._ask(_Request("GET", query=text, limit=_LIST_LIMIT))).body)

    async def delete(self, name: str) -> None:
        with self._named(name):
            try:
                await self._ask(_Request("DELETE", name))
            except Refused as error:
                if error.code not in _ABSENT:
                    raise

    async def check(self) -> None:
        """Raise ``StorageFailed`` when it cannot be listed and written, or not by conditions (for readiness)."""
        with self._named(""):
            await self._prove({"If-None-Match": "*"})
        await self._listing({"max-keys": "1"})

    async def _rest(self, name: str, tag: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """A part of an object as it was when it was opened; what breaks off is resumed some times."""
        at = start
        for pause in (*_PAUSES, None):
            with self._named(name):
                try:
                    response = await self._part(name, tag, at, stop)
                    async with aclosing(pieces(response, self._idle, self._clock)) as body:
                        async for piece in body:
                            at += len(piece)
                            yield piece
                    return
                except StorageFailed as error:
                    if pause is None or not _is_passing(error):
                        raise
            await self._pause(pause)

    async def _part(self, name: str, tag: str, start: int, stop: int) -> Any:
        """A response whose body has just these bytes."""
        span = f"{start}-{stop - 1}"
        try:
            response = await self._sent(_Request("GET", name, {"Range": f"bytes={span}", "If-Match": tag}))
        except Refused as error:
            if error.status == 412 or error.code in _ABSENT:
                raise StorageFailed("it was changed or removed while it was read") from error
            raise
        if not _header(response, "content-range").startswith(f"bytes {span}/") or response.length != stop - start:
            await read_bounded(response, 0, self._idle, self._clock)
            raise StorageFailed("the server sends something else than was asked for")
        return response

    async def _ask(self, request: _Request) -> _Answer:
        """What can be asked again as it is: asked again, some times, while the trouble is of the passing kind."""
        for pause in _PAUSES:
            try:
                return await self._once(request)
            except StorageFailed as error:
                if not _is_passing(error):
                    raise
            await self._pause(pause)
        return await self._once(request)

    async def _once(self, request: _Request) -> _Answer:
        response = await self._sent(request)
        # One byte more, so as to see that there are more.
        body = await read_bounded(response, request.limit + 1, self._idle, self._clock)
        return _Answer(response.code, _header(response, "content-range"), _header(response, "etag"), body)

    async def _sent(self, request: _Request) -> Any:
        """A response that is no error, of which the body is still to be read."""
        url = f"{self._url}/{quote(request.name, safe='/~')}" + (f"?{request.query}" if request.query else "")
        signed = self._sign(await self._keys(), request.method, url, {"User-Agent": "athensd", **request.headers})
        response = await exchange(
            self._client, self._clock, request.method, url, signed, blob=request.blob, idle=self._idle
        )
        if response.code in {200, 204, 206}:
            return response
        body = await read_bounded(response, FIRST, self._idle, self._clock)
        raise refused(response.code, body, _header(response, "x-amz-bucket-region"))

    async def _pause(self, seconds: float) -> None:
        await deferLater(self._clock, seconds)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Whatever fails here is said to be about this object, or about the bucket when it is none."""
        try:
            yield
        except StorageFailed as error:
            raise StorageFailed(f"{name} in bucket {self.place.bucket}: {error}".removeprefix(" in ")) from error


@frozen
class _S3Blob:
    """An object of which the beginning came with the answer to whether it is there."""

    length: int
    tag: str
    _first: bytes
    _rest: Callable[[int, int], AsyncGenerator[bytes, None]]

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if stop is None else min(stop, self.length)
        if first := self._first[start:stop]:
            yield first
        start = max(start, len(self._first))
        if start < stop:
            async with aclosing(self._rest(start, stop)) as rest:
                async for piece in rest:
                    yield piece


@frozen
class _Request:
    """What is asked of an object, or of the bucket when there is no name; and how much is read of the answer."""

    method: str
    name: str = ""
    headers: Mapping[str, str] = field(factory=dict)
    query: str = ""
    blob: Blob | None = None
    limit: int = FIRST


@frozen
class _Answer:
    """What is asked for by small requests."""

    status: int
    content_range: str
    tag: str
    body: bytes = field(repr=False)


def _header(response: Any, name: str) -> str:
    values: list[bytes] = response.headers.getRawHeaders(name.encode(), [])
    return values[-1].decode("latin-1") if values else ""


def _scopes(prefix: str, after: str) -> Iterator[tuple[str, str, bool]]:
    """What to list, one prefix after the other, so as to have the names after a given one.

    With each prefix comes where to begin, and whether that name is itself among those wanted.

    One listing from within a folder would do, but MinIO ends it too early: beginning in ``a/m/`` it counts what lies in
    ``a/m-x/`` among what it was asked for, and then leaves it out.  So: the rest of the folder, the rest of the one
    around it from the next name on that can be in it, and so forth.
    """
    if not after.startswith(prefix):
        if after < prefix:
            yield prefix, "", False
        return
    folder = after[: after.rfind("/") + 1]
    yield max(folder, prefix, key=len), after, False
    while len(folder) > len(prefix):
        beyond = f"{folder[:-1]}0"  # "0" is what follows "/"
        folder = folder[: folder.rfind("/", 0, -1) + 1]
        yield max(folder, prefix, key=len), beyond, True


def _is_passing(error: StorageFailed) -> bool:
    return isinstance(error, Broken) or (isinstance(error, Refused) and error.passing)
