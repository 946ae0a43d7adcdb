"""HTTP GET as a proxy needs it: every body bounded in size and in silence, a broken one resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from athensd.errors import AthensError, TimedOut, UpstreamFailed, VerificationFailed
from athensd.origin.refusal import explanation, refusal

_BROKEN = (ResponseFailed, ConnectionClosed, DeferredTimeout)
_UNREACHABLE = (ConnectError, DNSLookupError, ResponseNeverReceived, *_BROKEN)
_REDIRECTS = {301, 302, 303, 307, 308}


@frozen
class Transfer:
    """GETs with one client.  All times in seconds."""

    client: HTTPClient
    clock: IReactorTime
    headers_timeout: float = 60.0
    idle_timeout: float = 30.0
    tries: int = 3
    redirects: int = 10

    async def small(self, url: str, what: str, limit: int) -> bytes:
        """The whole body, which is at most ``limit`` bytes.  Raises what ``refusal`` says of any status but 200."""
        pieces: list[bytes] = []
        response = await self._get(url, what, {})
        try:
            await self._body(response, pieces.append, limit, what)
        except _BROKEN as error:
            raise _unreachable(url, what, error) from error
        return b"".join(pieces)

    async def file(self, url: str, what: str, limit: int, path: Path) -> int:
        """Write the body to a new file and return its length; a transfer that breaks is resumed, else begun again."""
        etag = ""
        with path.open("wb") as file:
            for left in reversed(range(self.tries)):
                start = file.tell() if etag else 0
                wanted = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
                response = await self._get(url, what, wanted)
                if not (response.code == 206 and _header(response, "content-range").startswith(f"bytes {start}-")):
                    file.seek(0)
                    file.truncate()
                etag = _validator(response)
                try:
                    await self._body(response, file.write, limit - file.tell(), what)
                except _BROKEN as error:
                    if not left:
                        raise _unreachable(url, what, error) from error
                else:
                    return file.tell()
        raise AssertionError("the last try returns or raises")

    async def _get(self, url: str, what: str, headers: dict[str, str]) -> Any:
        """A 200 (or, for a range, 206) after at most ten redirects, none of them from https to http."""
        for _ in range(self.redirects + 1):
            try:
                response = await self.client.get(
                    url,
                    headers=Headers({"User-Agent": ["athensd"], **{name: [value] for name, value in headers.items()}}),
                    allow_redirects=False,
                    unbuffered=True,
                ).addTimeout(self.headers_timeout, self.clock, _timed_out)
            except _UNREACHABLE as error:
                raise _unreachable(url, what, error) from error
            if response.code not in _REDIRECTS:
                break
            target = urljoin(url, _header(response, "location"))
            response.deliverBody(_Discard())
            if url.startswith("https:") and not target.startswith("https:"):
                raise UpstreamFailed(f"{what}: {_host(url)} redirects from https to another scheme")
            url = target
        if response.code == 200 or (response.code == 206 and "Range" in headers):
            return response
        raise await self._refused(response, what, url)

    async def _refused(self, response: Any, what: str, url: str) -> AthensError:
        pieces: list[bytes] = []
        try:
            await self._body(response, pieces.append, 64 * 1024, what)
        except (*_BROKEN, VerificationFailed):
            pieces = []
        text = explanation(_header(response, "content-type"), b"".join(pieces))
        return refusal(response.code, text, what, _host(url), _header(response, "retry-after"))

    async def _body(self, response: Any, sink: Callable[[bytes], Any], limit: int, what: str) -> None:
        done: Deferred[None] = Deferred(lambda _: body.abort())
        body = _Body(sink, limit, what, self.idle_timeout, self.clock, done)
        response.deliverBody(body)
        await done


class _Body(Protocol):
    """Hands a body on as it comes, and ends it when it is too long or too slow."""

    def __init__(
        self,
        sink: Callable[[bytes], Any],
        limit: int,
        what: str,
        idle: float,
        clock: IReactorTime,
        done: Deferred[None],
    ) -> None:
        self._sink, self._left, self._what, self._done = sink, limit, what, done
        self._idle = idle
        self._failure: BaseException | None = None
        self._timer = clock.callLater(idle, self._silent)

    def dataReceived(self, data: bytes) -> None:
        self._timer.reset(self._idle)
        self._left -= len(data)
        if self._left < 0:
            self._end(VerificationFailed(f"{self._what}: the upstream sends more than Go allows"))
            return
        try:
            self._sink(data)
        except OSError as error:
            self._end(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self._done.called:
            return
        if self._failure is not None:
            self._done.errback(self._failure)
        # PotentialDataLoss: neither a length nor chunks, so only the upstream's closing tells the end (HTTP/1.0).
        elif reason.check(ResponseDone, PotentialDataLoss):
            self._done.callback(None)
        else:
            self._done.errback(reason)

    def abort(self) -> None:
        """The asker is no longer interested: do not let the rest come."""
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    def _silent(self) -> None:
        self._end(DeferredTimeout(f"nothing came for {self._idle:g} seconds"))

    def _end(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
            self.abort()


class _Discard(Protocol):
    """Lets a body go by."""


def _unreachable(url: str, what: str, error: BaseException) -> UpstreamFailed:
    host = _host(url)
    if isinstance(error, DeferredTimeout | TimeoutError) or "timeout" in type(error).__name__.lower():
        return TimedOut(f"{what}: {host} did not answer in time")
    if isinstance(error, DNSLookupError):
        return UpstreamFailed(f"{what}: the name {host} could not be resolved")
    reasons = getattr(error, "reasons", None)
    cause = reasons[0].value if reasons else error
    return UpstreamFailed(f"{what}: no answer from {host} ({_words(cause)})")


def _words(error: BaseException) -> str:
    """A reason in a few words, such as 'Connection was refused by other side'."""
    text = str(error).split("\n")[0].split(":")[0].strip(" .")
    return text or type(error).__name__


def _host(url: str) -> str:
    return url.split("/")[2].rpartition("@")[2]


def _header(response: Any, name: str) -> str:
    values = response.headers.getRawHeaders(name)
    return str(values[-1]) if values else ""


def _validator(response: Any) -> str:
    """An ETag by which bytes may be put together: a strong one (RFC 9110, 13.1.5) of a body sent as it is."""
    etag = _header(response, "etag")
    return etag if etag.startswith('"') and response.length is not UNKNOWN_LENGTH else ""


def _timed_out(result: object, seconds: float) -> Failure:
    return Failure(DeferredTimeout(f"no answer for {seconds:g} seconds"))
