"""Athens' HTTP contract for external storage, as a client.

Of module ``M`` and version ``V``, both escaped: ``GET M/@v/list``, ``M/@v/V.info``, ``.mod`` and ``.zip``, ``POST
M/@v/V.save`` with a form of the three files, ``DELETE M/@v/V.delete``.  200 is success, 404 is "not there".
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import UNKNOWN_LENGTH

from athensd.blob import BytesBlob, HeldBlob
from athensd.errors import NotFound, StorageFailed
from athensd.gomod.escape import escape_version
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.gomod.ziphash import MAX_GO_MOD
from athensd.interfaces import Blob, Kind
from athensd.spool import Spool
from athensd.storage.layout import file_name, folder
from athensd.streams import Broken, exchange, pieces, read_bounded

T = TypeVar("T")

FIRST = 64 * 1024
"""So many bytes of a zip come when it is opened."""
SAVING = 300.0
"""The server stores a version before it answers: so long it is waited for then, in seconds."""
_PAUSES = (0.2, 1.0)
"""Before what failed in passing is tried again, in seconds."""
_PARTS = {Kind.INFO: "mod.info", Kind.MOD: "mod.mod", Kind.ZIP: "mod.zip"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
NOTHING: Mapping[str, str] = {}


class Refused(StorageFailed):
    """The server answered with an error."""

    def __init__(self, host: str, status: int) -> None:
        super().__init__(f"{host} answers with status {status}")
        self.status = status


class ExternalServer:
    """The server at ``url``; user and password in it are sent as basic authentication.

    ``client`` is a ``plain_client``.  While nothing moves, it is waited for ``idle`` seconds.  All methods raise
    ``StorageFailed``.
    """

    def __init__(self, url: str, client: HTTPClient, clock: IReactorTime, spool: Spool, idle: float = 30.0) -> None:
        self._url, self._login = split_login(url.rstrip("/"))
        self._client = client
        self._clock = clock
        self._spool = spool
        self._idle = idle

    async def versions(self, path: str) -> Sequence[str]:
        """The versions of a module; none when the server does not know it."""
        with _about(path):
            try:
                text = await self._again(lambda: self._small(f"{folder(path)}/list"))
            except NotFound:
                return []
        return [version for version in text.decode("utf-8", "replace").split() if is_canonical_for(path, version)]

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        """INFO, MOD or ZIP.  Raises ``NotFound``."""
        name, what = file_name(version, kind), f"{version} {kind.value}"
        with _about(what):
            try:
                if kind is Kind.ZIP:
                    return await self._again(lambda: self._zip(name, what))
                return BytesBlob(await self._again(lambda: self._small(name)))
            except NotFound:
                raise NotFound(f"{what} is not stored") from None

    async def save(self, version: ModuleVersion, parts: Mapping[Kind, Blob]) -> None:
        """Store INFO, MOD and ZIP.  After ``StorageFailed`` they may be there, or others."""
        form = Form(parts, token_hex(16))
        with _about(f"{version} could not be saved"):
            await self._again(lambda: self._do("POST", f"{_name(version)}.save", form))

    async def delete(self, version: ModuleVersion) -> None:
        """Remove a version.  Raises ``NotFound``."""
        with _about(f"{version} could not be deleted"):
            await self._again(lambda: self._do("DELETE", f"{_name(version)}.delete"))

    async def _small(self, name: str) -> bytes:
        body = await read_bounded(await self._ask("GET", name), MAX_GO_MOD + 1, self._idle, self._clock)
        if len(body) > MAX_GO_MOD:
            raise StorageFailed(f"the server sends more than {MAX_GO_MOD} bytes")
        return body

    async def _zip(self, name: str, what: str) -> Blob:
        response = await self._ask("GET", name, _range(0, FIRST))
        length = _length(response)
        if length is None:
            return await self._spooled(response)
        first = await read_bounded(response, FIRST, self._idle, self._clock)
        if len(first) != min(length, FIRST):
            raise Broken("the server sends less than it promises")
        return ZipBlob(length, what, first, lambda start, stop: self._part(name, start, stop))

    async def _spooled(self, response: Any) -> Blob:
        """A zip of which the length is known only when all of it is here."""
        path = self._spool.new_path()
        try:
            with path.open("wb") as file:
                async with aclosing(pieces(response, self._idle, self._clock)) as body:
                    async for piece in body:
                        file.write(piece)
            return HeldBlob(path)
        except OSError as error:
            raise StorageFailed(f"it could not be written here: {error.strerror}") from error
        finally:
            path.unlink(missing_ok=True)

    async def _part(self, name: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Some bytes of a zip; where it breaks off it is taken up again."""
        for pause in (*_PAUSES, None):
            try:
                response = await self._ask("GET", name, _range(start, stop))
                async with aclosing(pieces(response, self._idle, self._clock)) as body:
                    ahead = _ahead(response, start)
                    async for piece in body:
                        wanted = piece[ahead:][: stop - start]
                        ahead = max(ahead - len(piece), 0)
                        start += len(wanted)
                        if wanted:
                            yield wanted
                        if start == stop:
                            return
            except NotFound:
                raise StorageFailed("it was deleted while it was read") from None
            except Broken:
                if pause is None:
                    raise
            if pause is not None:
                await deferLater(self._clock, pause)
        raise StorageFailed("the server sends less than it promises")

    async def _do(self, method: str, name: str, form: Form | None = None) -> None:
        headers = {"Content-Type": f"multipart/form-data; boundary={form.boundary}"} if form else NOTHING
        await read_bounded(await self._ask(method, name, headers, form), FIRST, self._idle, self._clock)

    async def _ask(self, method: str, name: str, headers: Mapping[str, str] = NOTHING, form: Form | None = None) -> Any:
        """A response that is no error, of which the body is still to be read."""
        url = f"{self._url}/{name}"
        headers = {"User-Agent": "athensd", **self._login, **headers}
        idle = max(SAVING, self._idle) if form else self._idle
        response = await exchange(self._client, self._clock, method, url, headers, blob=form, idle=idle)
        if response.code == 200 or _part_of(response):
            return response
        await read_bounded(response, FIRST, self._idle, self._clock)
        if response.code in {404, 410} and form is None:
            raise NotFound(f"{name} is not stored")
        raise Refused(urlsplit(url).netloc, response.code)

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, which is tried again when it fails in passing."""
        for pause in _PAUSES:
            try:
                return await work()
            except StorageFailed as error:
                if not isinstance(error, Broken) and getattr(error, "status", 0) not in {502, 503, 504}:
                    raise
            await deferLater(self._clock, pause)
        return await work()


@frozen
class Form:
    """The files of a version as a form (RFC 7578): a blob, and never whole in memory."""

    parts: Mapping[Kind, Blob]
    boundary: str

    @property
    def length(self) -> int:
        heads = sum(len(self._head(kind)) + self.parts[kind].length for kind in _PARTS)
        return heads + len(self._end())

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        assert (start, stop) == (0, None), "a form is sent as a whole"
        for kind in _PARTS:
            yield self._head(kind)
            async for piece in self.parts[kind].chunks():
                yield piece
        yield self._end()

    def _head(self, kind: Kind) -> bytes:
        name = _PARTS[kind]
        return (
            f"\r\n--{self.boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()

    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


@frozen
class ZipBlob:
    """A zip on the server, of which the beginning came with the answer to whether it is there."""

    length: int
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
        if start < stop:
            with _about(self._what):
                async with aclosing(self._part(start, stop)) as part:
                    async for piece in part:
                        yield piece


def split_login(url: str) -> tuple[str, Mapping[str, str]]:
    """A URL without user and password, and the header that has them instead."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, NOTHING
    user, _, password = login.partition(":")
    token = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def _name(version: ModuleVersion) -> str:
    return f"{folder(version.path)}/{escape_version(version.version)}"


def _range(start: int, stop: int) -> Mapping[str, str]:
    return {"Range": f"bytes={start}-{stop - 1}"}


def _length(response: Any) -> int | None:
    """How long the whole is of which this is all or a part; ``None`` when that is not said."""
    part = _part_of(response)
    if part:
        return int(part[2])
    return None if response.length is UNKNOWN_LENGTH else int(response.length)


def _ahead(response: Any, start: int) -> int:
    """How many bytes of this body come before the one at ``start``: a server may send the whole instead of a part."""
    part = _part_of(response)
    ahead = start - int(part[1]) if part else start
    if ahead < 0:
        raise StorageFailed("the server sends another part than was asked for")
    return ahead


def _part_of(response: Any) -> re.Match[str] | None:
    values: list[str] = response.headers.getRawHeaders("content-range", [""])
    return _CONTENT_RANGE.fullmatch(values[-1]) if response.code == 206 else None


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Says of a ``StorageFailed`` what it was about."""
    try:
        yield
    except StorageFailed as error:
        raise StorageFailed(f"{what}: {error}") from error
