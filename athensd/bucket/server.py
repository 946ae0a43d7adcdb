"""Asking a bucket's server over HTTP: passing troubles are waited out, and a download that breaks off is resumed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, BinaryIO

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from athensd.blob import read_all
from athensd.errors import StorageFailed
from athensd.interfaces import Blob
from athensd.streams import Broken, exchange, pieces, read_bounded

FIRST = 64 * 1024
"""So many bytes of an object come when it is opened; most objects are smaller."""
_PAUSES = (0.1, 0.5, 1.0)
"""Before what failed in passing is tried again, in seconds."""
_CONTENT_RANGE = re.compile(r"bytes 0-\d+/(\d+)")
NO_HEADERS: Mapping[str, str] = {}


class Refused(StorageFailed):
    """The server answered with an error: an HTTP status and its own word for it (or nothing).

    ``unsure`` says that an earlier try failed in a way that leaves open whether the server has done what was asked.
    """

    def __init__(self, status: int, code: str, text: str = "") -> None:
        said = f" {code}" if re.fullmatch(r"[A-Za-z0-9]{1,60}", code) else ""
        super().__init__(f"{text or 'the server refuses'} ({status}{said})")
        self.status = status
        self.code = code
        self.unsure = False


@frozen
class Answer:
    """A response with its body, or the beginning of it."""

    response: Any
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        return _header(self.response, name)


Authorize = Callable[[str, str, Mapping[str, str], int], Awaitable[Mapping[str, str]]]
"""The headers of a request with what lets it in, of a method, a URL, headers and the length of a body.

Raises ``StorageFailed`` when there is nothing that lets it in.
"""


@frozen
class Server:
    """Requests with one client (a ``plain_client``); ``word`` tells what an answer that is an error means.

    While nothing moves, it is waited for ``idle`` seconds.
    """

    client: HTTPClient
    clock: IReactorTime
    authorize: Authorize
    word: Callable[[Answer], Refused]
    idle: float = 30.0

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        blob: Blob | None = None,
        limit: int = FIRST,
    ) -> Answer:
        """The answer, with at most ``limit`` bytes of its body.  Raises ``Refused`` and what ``exchange`` raises."""
        unsure = False
        for pause in (*_PAUSES, None):
            try:
                response = await self._send(method, url, headers, blob)
                return Answer(response, await read_bounded(response, limit, self.idle, self.clock))
            except StorageFailed as error:
                if isinstance(error, Refused):
                    error.unsure = unsure
                if pause is None or not _is_passing(error):
                    raise
                unsure = True
            await deferLater(self.clock, pause)
        raise AssertionError("the last try returns or raises")

    async def open(
        self, what: str, url: str, tag_header: str, pin: Callable[[str], tuple[str, Mapping[str, str]]]
    ) -> ServerBlob:
        """An object by its URL; ``pin`` gives the URL and headers with which it is had only as it was with a tag."""
        try:
            answer = await self.ask("GET", url, {"Range": f"bytes=0-{FIRST - 1}"})
        except Refused as error:
            if error.status != 416:
                raise
            # Nothing can be the first part of an empty object.
            answer = await self.ask("GET", url)
        part = _CONTENT_RANGE.fullmatch(answer.header("content-range"))
        length = int(part[1] if part else answer.header("content-length") or 0)
        tag = answer.header(tag_header)
        if not tag or len(answer.body) != min(length, FIRST):
            raise StorageFailed("the server sends something else")
        return ServerBlob(length, tag, what, answer.body, lambda start, stop: self._part(*pin(tag), start, stop))

    async def _part(self, url: str, headers: Mapping[str, str], start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for pause in (*_PAUSES, None):
            try:
                response = await self._send("GET", url, {**headers, "Range": f"bytes={start}-{stop - 1}"}, None)
                async with aclosing(pieces(response, self.idle, self.clock)) as body:
                    _expect_part(response, start, stop)
                    async for piece in body:
                        start += len(piece)
                        yield piece
                if start == stop:
                    return
                raise Broken("the server sends less than it promises")
            except StorageFailed as error:
                if pause is None or not _is_passing(error):
                    raise
            await deferLater(self.clock, pause)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], blob: Blob | None) -> Any:
        """A response that is no error, of which the body is still to be read."""
        length = 0 if blob is None else blob.length
        authorized = await self.authorize(method, url, {"User-Agent": "athensd", **headers}, length)
        response = await exchange(self.client, self.clock, method, url, authorized, blob=blob, idle=self.idle)
        if 200 <= response.code < 300:
            return response
        raise self.word(Answer(response, await read_bounded(response, FIRST, self.idle, self.clock)))


@frozen
class ServerBlob:
    """An object of which the beginning came with the answer to whether it is there."""

    length: int
    tag: str
    _what: str
    _first: bytes = field(repr=False)
    _part: Callable[[int, int], AsyncGenerator[bytes, None]] = field(repr=False)

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if stop is None else min(stop, self.length)
        if first := self._first[start:stop]:
            yield first
        start = max(start, len(self._first))
        if start >= stop:
            return
        try:
            async with aclosing(self._part(start, stop)) as part:
                async for piece in part:
                    yield piece
        except StorageFailed as error:
            changed = isinstance(error, Refused) and error.status in {404, 412}
            why = "it was changed while it was read" if changed else error
            raise StorageFailed(f"{self._what}: {why}") from error


async def is_same(stored: Blob, blob: Blob) -> bool:
    """Whether a small object has just these bytes; of a large one it is not found out."""
    return stored.length == blob.length <= FIRST and await read_all(stored) == await read_all(blob)


@contextmanager
def about(what: str) -> Iterator[None]:
    """Says of a ``StorageFailed`` what it was about."""
    try:
        yield
    except StorageFailed as error:
        raise StorageFailed(f"{what}: {error}") from error


def _is_passing(error: StorageFailed) -> bool:
    return isinstance(error, Broken) or (isinstance(error, Refused) and error.status in {408, 429, 500, 502, 503, 504})


def _expect_part(response: Any, start: int, stop: int) -> None:
    if not _header(response, "content-range").startswith(f"bytes {start}-{stop - 1}/"):
        raise StorageFailed("the server sends another part than was asked for")


def _header(response: Any, name: str) -> str:
    values: list[bytes] = response.headers.getRawHeaders(name.encode(), [])
    return values[-1].decode("latin-1") if values else ""
