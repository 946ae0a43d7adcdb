"""A container of Azure Blob Storage, by its REST API.

The vendor's library would need its own threads and, for what is not a local file, a copy on disk; what it would save
is the signature.
"""

from __future__ import annotations

import hmac
import logging
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from athensd.bucket.server import Answer, Authorize, Refused, Server, about, is_same
from athensd.bucket.token import Token
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.interfaces import Blob, IBucket, StoredBlob

VERSION = "2021-12-02"
"""Of the REST API: old enough for clouds of one's own, and one that writes blobs of 5,000 MiB in one request."""
LONGEST_NAME = 1024
"""The limit on names, in characters."""
SCOPE = "https://storage.azure.com/.default"
MARKERS = 1000
"""So many places in listings are remembered."""
TOKEN_TIMEOUT = 5.0
"""For so many seconds what gives out tokens may be silent, twice."""
_LIST_LIMIT = 16 << 20


@implementer(IBucket)
class AzureBucket:
    """The container ``container`` of an account; ``authorize`` is ``shared_key`` or ``managed_identity``.

    ``client`` is a ``plain_client``.  ``endpoint`` is the URL of the account's blob service, if it is not Azure's own.
    A listing comes ``page_size`` names at a time.  While nothing moves, it is waited for ``idle`` seconds.
    """

    def __init__(
        self,
        client: HTTPClient,
        clock: IReactorTime,
        account: str,
        container: str,
        authorize: Authorize,
        *,
        endpoint: str = "",
        page_size: int = 1000,
        idle: float = 30.0,
    ) -> None:
        service = endpoint.rstrip("/") or f"https://{account}.blob.core.windows.net"
        self._url = f"{service}/{quote(container, safe='')}"
        self._container = container
        self._server = Server(client, clock, authorize, refused, idle)
        self._page_size = page_size
        self._markers: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def open(self, name: str) -> StoredBlob:
        if len(name) > LONGEST_NAME:
            raise NotFound(f"{name[:60]}…: no blob has so long a name")
        url = self._blob(name)
        with about(self._what(name)):
            try:
                return await self._server.open(self._what(name), url, "etag", lambda tag: (url, {"If-Match": tag}))
            except Refused as error:
                if error.code != "BlobNotFound":
                    raise
                raise NotFound(f"{name} is not in the container") from error

    async def put(self, name: str, blob: Blob, content_type: str, *, replacing: str | None = None) -> None:
        condition = {"If-None-Match": "*"} if replacing is None else {"If-Match": replacing}
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": content_type, **condition}
        with about(self._what(name)):
            try:
                await self._server.ask("PUT", self._blob(name), headers, blob=blob)
            except Refused as error:
                if error.status != 412 and error.code not in _CONFLICTS:
                    raise
                if error.unsure and await self._is_stored(name, blob):
                    return
                raise Conflict(f"{name} is in the container already, or no longer the one to be replaced") from error

    async def _is_stored(self, name: str, blob: Blob) -> bool:
        """Whether the one that is there is ours, of which no answer came."""
        try:
            return await is_same(await self.open(name), blob)
        except NotFound:
            return False

    async def names(self, prefix: str, after: str = "") -> AsyncGenerator[str, None]:
        """Part of ``IBucket``; raises ``StorageFailed`` too when the container has another order."""
        if len(prefix) > LONGEST_NAME:
            return
        marker = remembered = self._marker(prefix, after)
        last = b""
        while True:
            with about(f"container {self._container}"):
                try:
                    listing = await self._listing(prefix=prefix, marker=marker, maxresults=str(self._page_size))
                except Refused as error:
                    if error.status != 400 or last or not remembered:
                        raise
                    # Nobody says how long a marker is good.
                    self._markers.clear()
                    marker = remembered = ""
                    continue
            if marker and listing.names:
                self._remember(prefix, listing.names[0], marker)
            for name in listing.names:
                if name.encode() <= last:
                    raise StorageFailed(
                        f"container {self._container} does not list its names in the order of their bytes"
                    )
                last = name.encode()
                if last > after.encode():
                    yield name
            marker = listing.next
            if not marker:
                return

    def _marker(self, prefix: str, after: str) -> str:
        """Where a listing may begin: Azure cannot be asked for what follows a name."""
        before = [first for within, first in self._markers if within == prefix and first.encode() <= after.encode()]
        return self._markers[prefix, max(before, key=str.encode)] if before else ""

    def _remember(self, prefix: str, first: str, marker: str) -> None:
        # Whatever comes meanwhile, what a listing from the marker lacks is less than ``first``.
        self._markers[prefix, first] = marker
        self._markers.move_to_end((prefix, first))
        while len(self._markers) > MARKERS:
            self._markers.popitem(last=False)

    async def delete(self, name: str) -> None:
        with about(self._what(name)):
            try:
                await self._server.ask("DELETE", self._blob(name), {"x-ms-delete-snapshots": "include"})
            except Refused as error:
                if error.code != "BlobNotFound":
                    raise

    async def check(self) -> None:
        """Raise ``StorageFailed`` when the container cannot be listed (for readiness)."""
        with about(f"container {self._container}"):
            await self._listing(maxresults="1")

    async def _listing(self, **query: str) -> _Listing:
        wanted = {"restype": "container", "comp": "list", **query}
        given = urlencode({key: value for key, value in wanted.items() if value}, quote_via=quote, safe="")
        return parse_listing((await self._server.ask("GET", f"{self._url}?{given}", limit=_LIST_LIMIT)).body)

    def _blob(self, name: str) -> str:
        return f"{self._url}/{quote(name, safe='/~')}"

    def _what(self, name: str) -> str:
        return f"{name} in container {self._container}"


def shared_key(account: str, key: str, now: Callable[[], float] = time.time) -> Authorize:
    """Signs with an account's key (base64).  Raises ``ValueError`` when it is none."""
    try:
        secret = b64decode("".join(key.split()), validate=True)
    except ValueError:
        raise ValueError("it is not in base64, as the keys of Azure are") from None

    async def authorize(method: str, url: str, headers: Mapping[str, str], length: int) -> Mapping[str, str]:
        dated = {**headers, "x-ms-date": formatdate(now(), usegmt=True), "x-ms-version": VERSION}
        text = text_to_sign(account, method, url, dated, length)
        signature = b64encode(hmac.digest(secret, text.encode(), "sha256")).decode()
        return {**dated, "Authorization": f"SharedKey {account}:{signature}"}

    return authorize


def text_to_sign(account: str, method: str, url: str, headers: Mapping[str, str], length: int) -> str:
    """What the signature of a request is made of (Azure's "Authorize with Shared Key")."""
    given = {name.lower(): value for name, value in headers.items()}
    given["content-length"] = str(length or "")
    extra = sorted(f"{name}:{value}" for name, value in given.items() if name.startswith("x-ms-"))
    parts = urlsplit(url)
    query = sorted(f"{name.lower()}:{value}" for name, value in parse_qsl(parts.query))
    return "\n".join([method, *(given.get(name, "") for name in _SIGNED), *extra, f"/{account}{parts.path}", *query])


_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


def managed_identity(
    resource_id: str, scope: str, in_thread: Callable[..., Awaitable[Any]], now: Callable[[], float] = time.time
) -> Authorize:
    """Lets in by the managed identity of this machine, or that of them with ``resource_id``.

    Its tokens are for ``scope``, or Azure's own storage.  Raises ``ImportError`` without azure-identity.
    """
    from azure.core.exceptions import AzureError
    from azure.identity import ManagedIdentityCredential

    # At level info they log every request for a token, at level debug its answer.
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel(logging.WARNING)
    credential = ManagedIdentityCredential(
        identity_config={"resource_id": resource_id} if resource_id else None,
        connection_timeout=TOKEN_TIMEOUT,
        read_timeout=TOKEN_TIMEOUT,
        retry_total=1,
    )

    def fetch() -> tuple[str, float]:
        try:
            token = credential.get_token(scope or SCOPE)
        except AzureError as error:
            raise StorageFailed("no access token could be had: has this machine that managed identity?") from error
        return token.token, token.expires_on

    return bearer(Token(fetch, in_thread, now))


def bearer(token: Callable[[], Awaitable[str]]) -> Authorize:
    """Lets in by an access token."""

    async def authorize(method: str, url: str, headers: Mapping[str, str], length: int) -> Mapping[str, str]:
        return {**headers, "x-ms-version": VERSION, "Authorization": f"Bearer {await token()}"}

    return authorize


@frozen
class _Listing:
    """A part of a listing, and the marker that leads on (empty at the end)."""

    names: Sequence[str]
    next: str


def parse_listing(body: bytes) -> _Listing:
    """The answer to List Blobs.  Raises ``StorageFailed`` when it is none."""
    try:
        # Bounded in size, and without declarations.
        root = ElementTree.fromstring(b"" if b"<!DOCTYPE" in body else body)  # noqa: S314
    except ElementTree.ParseError as error:
        raise StorageFailed("the list makes no sense") from error
    marker = root.find("NextMarker")
    if root.tag != "EnumerationResults" or marker is None:
        raise StorageFailed("the list makes no sense")
    return _Listing([_name(element) for element in root.iterfind("Blobs/Blob/Name")], marker.text or "")


def _name(element: ElementTree.Element) -> str:
    """What cannot stand in XML is percent-encoded."""
    text = element.text or ""
    return unquote(text) if element.get("Encoded") == "true" else text


def refused(answer: Answer) -> Refused:
    """What an answer that is an error says."""
    code = answer.header("x-ms-error-code")
    return Refused(answer.response.code, code, _WORDS.get(code, ""))


_CONFLICTS = {
    "BlobAlreadyExists",
    "ConditionNotMet",
    "TargetConditionNotMet",
    "BlobImmutableDueToPolicy",
    "BlobNotFound",
}
_WORDS = {
    "AuthenticationFailed": "the key or access token is not accepted there, or this machine's clock is wrong",
    "AuthorizationFailure": "access is denied; see which permissions the account has to give",
    "AuthorizationPermissionMismatch": "access is denied; see which permissions the account has to give",
    "AuthorizationSourceIPMismatch": "access is denied to this machine's address",
    "InsufficientAccountPermissions": "access is denied; see which permissions the account has to give",
    "InvalidAuthenticationInfo": "the access token is not accepted there",
    "KeyBasedAuthenticationNotPermitted": "access by the account's key is switched off there",
    "AccountIsDisabled": "the account is disabled",
    "ContainerNotFound": "there is no such container",
    "ContainerBeingDeleted": "the container is being deleted",
    "BlobArchived": "it is in an archive, from which it is not read at once",
    "ServerBusy": "the server has too much to do",
}
