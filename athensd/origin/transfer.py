"""HTTP GET as a proxy needs it: every body bounded in size and in silence, a broken one resumed."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from attrs import define, frozen
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from athensd.errors import StorageFailed, TimedOut, UpstreamFailed, VerificationFailed
from athensd.origin.body import Garbled, read_body
from athensd.origin.refusal import explanation, refusal
from athensd.steps import Step, headers, step

_BROKEN = (ResponseFailed, ConnectionClosed, DeferredTimeout, Garbled)
# ValueError: a redirect can lead to what is no address at all.
_UNREACHABLE = (ConnectError, DNSLookupError, ResponseNeverReceived, ValueError, *_BROKEN)
_REDIRECTS = {301, 302, 303, 307, 308}
PIECE = 64 * 1024
"""So many bytes are written to a file at a time, about as many as come; each transfer has such a buffer."""
EXPLANATION_LIMIT = 64 * 1024
"""As much of a refusal's or a redirect's body is read, in bytes."""


MOST_TRIES = 50
"""So often one file is begun or resumed, even if each time some more of it comes."""


@define
class _Tries:
    """So many in a row that bring nothing that stays; others do not count, up to a bound."""

    allowed: int
    _vain: int = 0
    _all: int = 0

    def another(self, *, gained: int) -> bool:
        """After a try that broke off and gained so many bytes: whether there is to be one more."""
        self._all += 1
        self._vain = 0 if gained else self._vain + 1
        return self._vain < self.allowed and self._all < MOST_TRIES


@frozen
class Transfer:
    """GETs with one client.  All times in seconds.  ``authorization`` is for the host of the URL and for no other."""

    client: HTTPClient
    clock: IReactorTime
    headers_timeout: float = 60.0
    idle_timeout: float = 30.0
    tries: int = 3
    redirects: int = 10

    async def small(self, url: str, what: str, limit: int, authorization: str = "") -> bytes:
        """The whole body, which is at most ``limit`` bytes.  Raises what ``refusal`` says of any status but 200."""
        tries = _Tries(self.tries)
        while True:
            pieces: list[bytes] = []
            with _exchange(url) as this:
                try:
                    response = await self._get(url, what, {}, authorization, this)
                    await self._read(response, pieces.append, limit, what)
                except _BROKEN as error:
                    if not tries.another(gained=0):
                        raise _unreachable(url, what, error) from error
                    this.note(broken=_words(_cause(error)))
                else:
                    body = b"".join(pieces)
                    this.note(bytes=len(body))
                    return body

    async def file(self, url: str, what: str, limit: int, path: Path, authorization: str = "") -> int:
        """Write the body to a new file and return its length; a transfer that breaks is resumed, else begun again."""
        try:
            return await self._file(url, what, limit, path, authorization)
        except OSError as error:
            raise StorageFailed(f"{what} could not be written here: {error.strerror}") from error

    async def _file(self, url: str, what: str, limit: int, path: Path, authorization: str) -> int:
        etag, tries = "", _Tries(self.tries)
        with path.open("wb", PIECE) as file:
            while True:
                start = file.tell() if etag else 0
                wanted = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
                with _exchange(url) as this:
                    try:
                        response = await self._get(url, what, wanted, authorization, this)
                        if response.code == 200:
                            start = 0
                            file.seek(0)
                            file.truncate()
                        etag = _validator(response)
                        await self._read(response, file.write, limit - file.tell(), what)
                    except _BROKEN as error:
                        if not tries.another(gained=file.tell() - start if etag else 0):
                            raise _unreachable(url, what, error) from error
                        this.note(broken=_words(_cause(error)))
                    else:
                        return file.tell()
                    finally:
                        this.note(bytes=max(file.tell() - start, 0))

    async def _get(self, url: str, what: str, wanted: dict[str, str], authorization: str, this: Step) -> Any:
        """A 200 (or, for a range, the 206 that was asked for) after a few redirects, none from https to http."""
        first = _host(url)
        for _ in range(self.redirects + 1):
            credentials = {"Authorization": authorization} if authorization and _host(url) == first else {}
            response = await self._ask(url, what, {**headers(), **wanted, **credentials})
            this.note(status=response.code)
            if response.code not in _REDIRECTS:
                break
            await self._text(response, what)
            url = _redirected(url, _header(response, "location"), what)
        else:
            raise UpstreamFailed(f"{what}: {first} redirects more than {self.redirects} times")
        if response.code == 200 or (response.code == 206 and _is_rest(response, wanted.get("Range", ""))):
            return response
        text = explanation(_header(response, "content-type"), await self._text(response, what))
        raise refusal(response.code, text, what, _host(url), _header(response, "retry-after"))

    async def _ask(self, url: str, what: str, wanted: dict[str, str]) -> Any:
        try:
            return await self.client.get(
                url,
                headers=Headers({"User-Agent": ["athensd"], **{name: [value] for name, value in wanted.items()}}),
                allow_redirects=False,
                unbuffered=True,
            ).addTimeout(self.headers_timeout, self.clock, _timed_out)
        except _UNREACHABLE as error:
            cause = _cause(error)
            if isinstance(cause, CancelledError):
                raise CancelledError from error  # whoever asked has left
            if isinstance(cause, ConnectionClosed):
                raise cause from error  # before the end of the head
            raise _unreachable(url, what, error) from error

    async def _text(self, response: Any, what: str) -> bytes:
        """The body of an answer that is none, or nothing when it is long or broken."""
        pieces: list[bytes] = []
        try:
            await self._read(response, pieces.append, EXPLANATION_LIMIT, what)
        except (*_BROKEN, VerificationFailed):
            return b""
        return b"".join(pieces)

    async def _read(self, response: Any, sink: Callable[[bytes], Any], limit: int, what: str) -> None:
        await read_body(response, sink, limit, self.idle_timeout, self.clock, what)


def _exchange(url: str) -> Step:
    """An HTTP exchange, as a step; redirects are part of it."""
    return step("http", method="GET", url=url, host=_host(url))


def split_credentials(url: str) -> tuple[str, str]:
    """A URL without its user and password, and these as the value of an ``Authorization`` header (or nothing)."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    user, _, password = userinfo.partition(":")
    token = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {token}"


def _redirected(url: str, location: str, what: str) -> str:
    """Where a redirect leads, without credentials that it may carry."""
    try:
        target, _ = split_credentials(urljoin(url, location))
    except ValueError:
        target = ""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]_-]+(?:[/?#].*)?", target) or not location:
        raise UpstreamFailed(f"{what}: {_host(url)} redirects to what is no web address")
    if url.startswith("https:") and not target.startswith("https:"):
        raise UpstreamFailed(f"{what}: {_host(url)} redirects from https to http")
    return target


def _is_rest(response: Any, wanted: str) -> bool:
    """Whether a 206 holds the bytes that were asked for."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", _header(response, "content-range"))
    return found is not None and wanted == f"bytes={found[1]}-" and int(found[2]) + 1 == int(found[3])


def _unreachable(url: str, what: str, error: BaseException) -> UpstreamFailed:
    host = _host(url)
    if isinstance(error, DeferredTimeout | TimeoutError) or "timeout" in type(error).__name__.lower():
        return TimedOut(f"{what}: {host} did not answer in time")
    if isinstance(error, DNSLookupError):
        return UpstreamFailed(f"{what}: the name {host} could not be resolved")
    return UpstreamFailed(f"{what}: no answer from {host} ({_words(_cause(error))})")


def _cause(error: BaseException) -> BaseException:
    """What is wrapped in one of Twisted's collections of reasons."""
    reasons = getattr(error, "reasons", None)
    cause: BaseException = reasons[0].value if reasons else error
    return cause


def _words(error: BaseException) -> str:
    """A reason in a few words, such as 'Connection was refused by other side'."""
    if isinstance(error, VerificationError):
        return "its certificate is for another name"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])  # the last of (library, function, reason)
    text = str(error).split("\n")[0].split(": ")[0].strip(" .")
    return text or type(error).__name__


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _header(response: Any, name: str) -> str:
    values: list[bytes] = response.headers.getRawHeaders(name.encode(), [])
    return values[-1].decode("latin-1") if values else ""


def _validator(response: Any) -> str:
    """An ETag by which bytes may be put together: a strong one (RFC 9110, 13.1.5) of a body sent as it is."""
    etag = _header(response, "etag")
    return etag if etag.startswith('"') and response.length is not UNKNOWN_LENGTH else ""


def _timed_out(result: object, seconds: float) -> Failure:
    return Failure(DeferredTimeout(f"no answer for {seconds:g} seconds"))
