"""Answers and errors, as HTTP."""

from __future__ import annotations

import hashlib

from attrs import frozen
from twisted.web.http import Request

from athensd.blob import BytesBlob, read_all
from athensd.errors import (
    AthensError,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    Mismatch,
    NotFound,
    NotLoggedIn,
    Overloaded,
    Redirected,
    StorageFailed,
    TimedOut,
    TooManyFailures,
    Unsupported,
    UpstreamFailed,
    VerificationFailed,
)
from athensd.interfaces import Blob
from athensd.web.conditions import Part, Unsatisfiable, not_modified, part_of
from athensd.web.sendfile import send_body

FOR_EVER = "public, max-age=31536000, immutable"
A_MINUTE = "public, max-age=60"
NEVER = "no-store"

STATUS: dict[type[AthensError], tuple[int, str]] = {
    InvalidRequest: (400, NEVER),
    NotFound: (404, A_MINUTE),
    Gone: (410, A_MINUTE),
    Forbidden: (403, NEVER),
    NotLoggedIn: (401, NEVER),
    Redirected: (307, NEVER),
    Conflict: (409, NEVER),
    VerificationFailed: (502, NEVER),
    Mismatch: (403, NEVER),
    UpstreamFailed: (502, NEVER),
    TimedOut: (504, NEVER),
    Overloaded: (503, NEVER),
    TooManyFailures: (429, NEVER),
    StorageFailed: (500, NEVER),
    Unsupported: (501, NEVER),
}
"""What each word is in HTTP, and how long others may remember it.

Only 404 and 410 let a go command ask the next proxy of its list, so nothing uncertain is ever one of them.
"""

MAX_LINES = 8
MAX_BYTES = 648
SMALL = 1 << 20


@frozen
class Content:
    """A body and what is said about it.  An ``etag`` (without quotes) left empty is made from small bodies."""

    blob: Blob
    type: str
    caching: str
    age: float | None = None
    etag: str = ""


def status_of(error: AthensError) -> tuple[int, str]:
    """Status and Cache-Control of an error: those of the nearest word in the table."""
    return next(STATUS[word] for word in type(error).__mro__ if word in STATUS)


def kept_by(caching: str, private: bool) -> str:
    """The Cache-Control for a module, which no shared cache may keep when it is private."""
    return caching.replace("public", "private") if private else caching


def error_body(text: str, request_id: str) -> bytes:
    """An error as the go command will show it: printable lines, none blank, at most eight and 648 bytes.

    The first line is the cause, the last the request id (``cmd/go/internal/web``, ``formatError``).
    """
    last = f"request id: {request_id}"
    room = MAX_BYTES - len(last.encode()) - 2
    lines = [printable(line) for line in text.split("\n") if line.strip()][: MAX_LINES - 1]
    cause = "\n".join(lines).encode()[:room].decode(errors="ignore").rstrip()
    return "".join(f"{line}\n" for line in (cause, last) if line).encode()


def printable(text: str) -> str:
    """The text with everything that a terminal would not show as itself replaced by ``?``."""
    return "".join(character if character.isprintable() else "?" for character in text).strip()


async def send(request: Request, content: Content) -> Blob | None:
    """Answer GET or HEAD with the content, the part of it that is asked for, or 304; the body if it is the whole."""
    blob, etag = await _with_etag(content)
    headers = request.responseHeaders
    headers.setRawHeaders("Content-Type", [content.type])
    headers.setRawHeaders("Cache-Control", [content.caching])
    headers.setRawHeaders("Accept-Ranges", ["bytes"])
    if content.age is not None:
        headers.setRawHeaders("Age", [str(int(content.age))])
    if etag:
        headers.setRawHeaders("ETag", [etag])
    if not_modified(request.getHeader("if-none-match"), etag):
        request.setResponseCode(304)
        headers.removeHeader("Content-Type")
        return None
    try:
        part = part_of(request.getHeader("range"), request.getHeader("if-range"), etag, blob.length)
    except Unsatisfiable:
        request.setResponseCode(416)
        headers.setRawHeaders("Content-Range", [f"bytes */{blob.length}"])
        headers.setRawHeaders("Content-Length", ["0"])
        headers.setRawHeaders("Cache-Control", [NEVER])
        return None
    whole = part is None
    if part is None:
        part = Part(0, blob.length)
    else:
        request.setResponseCode(206)
        headers.setRawHeaders("Content-Range", [f"bytes {part.start}-{part.stop - 1}/{blob.length}"])
    headers.setRawHeaders("Content-Length", [str(part.stop - part.start)])
    if request.method != b"HEAD" and part.stop > part.start:
        await send_body(request, blob, part.start, part.stop)
    return blob if whole else None


async def _with_etag(content: Content) -> tuple[Blob, str]:
    """The body and its quoted ETag, if it has one.  A small body is read here, once, to be hashed and to be sent."""
    if content.etag:
        return content.blob, f'"{content.etag}"'
    if content.blob.length > SMALL:
        return content.blob, ""
    data = await read_all(content.blob)
    return BytesBlob(data), f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def refuse(request: Request, error: AthensError, request_id: str, private: bool = False) -> bytes:
    """Set the head for an error and return its body."""
    status, caching = status_of(error)
    if isinstance(error, Redirected):
        status = error.status
        request.setHeader("Location", error.url)
    if isinstance(error, NotLoggedIn):
        request.setHeader("WWW-Authenticate", 'Basic realm="athensd"')
    retry_after = error.retry_after if isinstance(error, Overloaded) else None
    return refuse_with(request, status, kept_by(caching, private), str(error), request_id, retry_after)


def refuse_with(
    request: Request, status: int, caching: str, text: str, request_id: str, retry_after: int | None = None
) -> bytes:
    """Set the head for a refusal in words and return its body."""
    body = error_body(text, request_id)
    headers = request.responseHeaders
    request.setResponseCode(status)
    # What a broken-off answer may have said of itself.
    for name in ("ETag", "Accept-Ranges", "Content-Range", "Age"):
        headers.removeHeader(name)
    headers.setRawHeaders("Content-Type", ["text/plain; charset=utf-8"])
    headers.setRawHeaders("Cache-Control", [caching])
    headers.setRawHeaders("Content-Length", [str(len(body))])
    if retry_after is not None:
        headers.setRawHeaders("Retry-After", [str(retry_after)])
    return body
