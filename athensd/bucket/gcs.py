"""A bucket of Google Cloud Storage, by its JSON API."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from athensd.bucket.server import Answer, Refused, Server, about, is_same
from athensd.bucket.token import Fetch, Token
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.interfaces import Blob, IBucket, StoredBlob

HOST = "https://storage.googleapis.com"
LONGEST_NAME = 1024
"""The limit on names, in bytes of UTF-8."""
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
TOKEN_TIMEOUT = 10.0
"""For so many seconds the server that gives out tokens may be silent."""
_LIST_LIMIT = 8 << 20


@implementer(IBucket)
class GcsBucket:
    """The bucket ``bucket``; ``client`` is a ``plain_client``, and ``token`` gives an access token.

    ``emulator`` is what the variable STORAGE_EMULATOR_HOST holds: a test server's address, which is asked instead of
    Google.  A listing comes ``page_size`` names at a time.  While nothing moves, it is waited for ``idle`` seconds.
    """

    def __init__(
        self,
        client: HTTPClient,
        clock: IReactorTime,
        bucket: str,
        token: Callable[[], Awaitable[str]],
        *,
        emulator: str = "",
        page_size: int = 1000,
        idle: float = 30.0,
    ) -> None:
        host = emulator if "://" in emulator else f"http://{emulator}" if emulator else HOST
        place = f"storage/v1/b/{quote(bucket, safe='')}/o"
        self._objects = f"{host.rstrip('/')}/{place}"
        self._upload = f"{host.rstrip('/')}/upload/{place}"
        self._bucket = bucket
        self._token = token
        self._server = Server(client, clock, self._authorize, refused, idle)
        self._page_size = page_size
        self._seen = False

    async def open(self, name: str) -> StoredBlob:
        if len(name.encode()) > LONGEST_NAME:
            raise NotFound(f"{name[:60]}…: no object has so long a name")
        url = f"{self._object(name)}?alt=media"
        with about(self._what(name)):
            try:
                blob = await self._server.open(
                    self._what(name), url, "x-goog-generation", lambda tag: (f"{url}&generation={tag}", {})
                )
            except Refused as error:
                await self._be_certain(error)
                raise NotFound(f"{name} is not in the bucket") from error
        self._seen = True
        return blob

    async def put(self, name: str, blob: Blob, content_type: str, *, replacing: str | None = None) -> None:
        # Generation 0 is that of an object which does not exist.
        query = {"uploadType": "media", "name": name, "ifGenerationMatch": replacing or "0"}
        sent = _Digested(blob)
        with about(self._what(name)):
            try:
                answer = await self._server.ask(
                    "POST",
                    f"{self._upload}?{urlencode(query, quote_via=quote)}&fields=generation,md5Hash",
                    {"Content-Type": content_type},
                    blob=sent,
                )
            except Refused as error:
                if error.status != 412:
                    raise
                if error.unsure and await self._is_stored(name, blob):
                    return
                raise Conflict(f"{name} is in the bucket already, or no longer the one to be replaced") from error
            self._seen = True
            await self._compare(name, answer, sent.digest)

    async def _compare(self, name: str, answer: Answer, digest: str) -> None:
        """See that what has arrived is what was sent; else take it away again.

        The upload cannot carry the sum by which the server would see it, for a blob is read once, while it is sent.
        """
        stored = _json(answer.body) or {}
        if stored.get("md5Hash", digest) != digest:
            condition = quote(str(stored.get("generation", "")))
            await self._server.ask("DELETE", f"{self._object(name)}?ifGenerationMatch={condition}")
            raise StorageFailed("other bytes have arrived than were sent")

    async def _is_stored(self, name: str, blob: Blob) -> bool:
        """Whether the one that is there is ours, of which no answer came."""
        try:
            return await is_same(await self.open(name), blob)
        except NotFound:
            return False

    async def names(self, prefix: str, after: str = "") -> AsyncGenerator[str, None]:
        if len(prefix.encode()) > LONGEST_NAME:
            return
        # Where it begins is part of the list, and must not be longer than a name.
        start = after.encode()[:LONGEST_NAME].decode(errors="ignore")
        token = ""
        while True:
            query = {"prefix": prefix, "startOffset": start, "pageToken": token, "maxResults": str(self._page_size)}
            with about(f"bucket {self._bucket}"):
                page = await self._page(query)
            for item in page.get("items", []):
                name: str = item["name"]
                if name.encode() > after.encode():
                    yield name
            token = page.get("nextPageToken", "")
            if not token:
                return

    async def delete(self, name: str) -> None:
        with about(self._what(name)):
            try:
                await self._server.ask("DELETE", self._object(name))
            except Refused as error:
                await self._be_certain(error)

    async def check(self) -> None:
        """Raise ``StorageFailed`` when the bucket cannot be listed (for readiness)."""
        self._seen = False
        with about(f"bucket {self._bucket}"):
            await self._page({"maxResults": "1"})

    async def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        given = {key: value for key, value in query.items() if value}
        url = f"{self._objects}?{urlencode(given, quote_via=quote)}&fields=items(name),nextPageToken"
        page = _json((await self._server.ask("GET", url, limit=_LIST_LIMIT)).body)
        if page is None:
            raise StorageFailed("the list makes no sense")
        self._seen = True
        return page

    async def _be_certain(self, error: Refused) -> None:
        """Return when it is the object that is missing: a 404 may also mean the bucket, and says not which."""
        if error.status != 404:
            raise error
        if not self._seen:
            await self._page({"maxResults": "1"})

    async def _authorize(self, method: str, url: str, headers: Mapping[str, str], length: int) -> Mapping[str, str]:
        token = await self._token()
        return {**headers, "Authorization": f"Bearer {token}"} if token else headers

    def _object(self, name: str) -> str:
        return f"{self._objects}/{quote(name, safe='')}"

    def _what(self, name: str) -> str:
        return f"{name} in bucket {self._bucket}"


class _Digested:
    """A blob whose MD5 is known when it was read to its end, as Google writes it."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self.length = blob.length
        self.digest = ""

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        md5 = hashlib.md5(usedforsecurity=False)
        async for piece in self._blob.chunks(start, stop):
            md5.update(piece)
            yield piece
        self.digest = b64encode(md5.digest()).decode()


async def no_token() -> str:
    """For a bucket that lets in everybody, such as a test server's."""
    return ""


def google_token(
    json_key: str, in_thread: Callable[..., Awaitable[Any]], now: Callable[[], float] = time.time
) -> Token:
    """The access token of a JSON credential in base64 (any type of Google's), else of this machine's default one.

    Raises ``ImportError`` without google-auth, ``ValueError`` when the credential cannot be read.
    """
    return Token(_fetching(_parse(json_key)), in_thread, now)


def _parse(json_key: str) -> Mapping[str, Any] | None:
    if not json_key:
        return None
    try:
        info = json.loads(b64decode("".join(json_key.split()), validate=True))
    except ValueError:
        raise ValueError("it is not the base64 of a JSON credential") from None
    if not isinstance(info, dict) or "type" not in info:
        raise ValueError("its JSON is no credential: it has no type")
    return info


def _fetching(info: Mapping[str, Any] | None) -> Fetch:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    # At level debug it logs whom it asks for tokens, and how.
    logging.getLogger("google.auth").setLevel(logging.INFO)
    request = partial(Request(), timeout=TOKEN_TIMEOUT)
    found: Any = None

    def fetch() -> tuple[str, float]:
        nonlocal found
        try:
            if found is None and info is None:
                found, _ = google.auth.default(scopes=[SCOPE])
            elif found is None:
                found, _ = google.auth.load_credentials_from_dict(dict(info or {}), scopes=[SCOPE])
            found.refresh(request)
        except DefaultCredentialsError as error:
            where = "JSONKey is" if info else "found on this machine are"
            raise StorageFailed(f"no Google credentials: what {where} none that can be used") from error
        except TransportError as error:
            raise StorageFailed("the server that gives out Google's access tokens was not reached") from error
        except (GoogleAuthError, ValueError) as error:
            raise StorageFailed(f"the Google credentials were not accepted ({type(error).__name__})") from error
        return found.token, found.expiry.replace(tzinfo=UTC).timestamp() if found.expiry else math.inf

    return fetch


def refused(answer: Answer) -> Refused:
    """What an answer that is an error says."""
    status = answer.response.code
    try:
        reason = json.loads(answer.body)["error"]["errors"][0]["reason"]
    except (ValueError, LookupError, TypeError):
        reason = ""
    return Refused(status, str(reason), _WORDS.get(status, ""))


_WORDS = {
    401: "the Google credentials are not accepted there",
    403: "access is denied; see which permissions the bucket has to give",
    404: "there is no such bucket",
    429: "the server has too much to do",
    503: "the server has too much to do",
}


def _json(body: bytes) -> dict[str, Any] | None:
    """The object that a text in JSON is, if it is one."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
