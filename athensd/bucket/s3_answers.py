"""What S3 and its look-alikes say, in XML, and what to make of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from attrs import frozen

from athensd.errors import StorageFailed


class Refused(StorageFailed):
    """The server answered with an error: an HTTP status and S3's word for it."""

    def __init__(self, status: int, code: str, region: str = "") -> None:
        super().__init__(_words(status, code, region))
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether it is worth asking again in a moment."""
        return self.status in {429, 500, 502, 503, 504} or self.code in {
            "ConditionalRequestConflict",
            "OperationAborted",
            "RequestTimeout",
        }


@frozen
class Listing:
    """A part of a listing, and the token that leads on (empty at the end)."""

    names: Sequence[str]
    next: str


def refused(status: int, body: bytes, region: str = "") -> Refused:
    """What an answer that is an error says; ``region`` is that of its header ``x-amz-bucket-region``."""
    try:
        root = _parse(body)
    except ElementTree.ParseError:
        return Refused(status, "", region)
    return Refused(status, _text(root, "Code"), region or _text(root, "Region"))


def parse_listing(body: bytes) -> Listing:
    """The answer to ListObjectsV2.  Raises ``StorageFailed`` when it is none."""
    try:
        root = _parse(body)
    except ElementTree.ParseError as error:
        raise StorageFailed("the list makes no sense") from error
    # Whoever does not know encoding-type=url does not say that it was done.
    decode = unquote_plus if _text(root, "EncodingType") == "url" else str
    names = [decode(_text(entry, "Key")) for entry in root.findall("{*}Contents")]
    token = _text(root, "NextContinuationToken")
    truncated = _text(root, "IsTruncated")
    if not root.tag.endswith("ListBucketResult") or truncated not in {"true", "false"} or "" in names:
        raise StorageFailed("the list makes no sense")
    if truncated == "true" and not token:
        raise StorageFailed("the list breaks off")
    return Listing(names, token if truncated == "true" else "")


def _parse(body: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in body:
        raise ElementTree.ParseError("S3 declares nothing")
    return ElementTree.fromstring(body)  # noqa: S314 - bounded in size, and without declarations


def _text(root: ElementTree.Element, name: str) -> str:
    return root.findtext(f"{{*}}{name}") or ""


_WORDS = {
    "AccessDenied": "access is denied; see what the bucket's policy has to allow",
    "AllAccessDisabled": "access is denied; see what the bucket's policy has to allow",
    "InvalidAccessKeyId": "the access key is unknown there",
    "SignatureDoesNotMatch": "the secret key is not that of the access key",
    "ExpiredToken": "the session token of the access key has expired",
    "InvalidToken": "the session token of the access key is not valid",
    "InvalidTokenId": "the session token of the access key is not valid",
    "NoSuchBucket": "there is no such bucket",
    "InvalidBucketName": "no bucket can have this name",
    "RequestTimeTooSkewed": "the clocks of this machine and of the server differ too much; one of them is wrong",
    "SlowDown": "the server has too much to do",
    "ServiceUnavailable": "the server has too much to do",
    "ConditionalRequestConflict": "others are writing the same object",
    "OperationAborted": "others are changing the bucket",
    "KeyTooLongError": "no object can have so long a name",
    "XMinioInvalidObjectName": "no object of this server can have such a name",
    "EntityTooLarge": "it is too large for the server",
    "QuotaExceeded": "the bucket is full",
    "XMinioStorageFull": "the server's disk is full",
    "InvalidObjectState": "it is in an archive, from which it is not read at once",
}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}


def _words(status: int, code: str, region: str) -> str:
    if code in _ELSEWHERE or status in {301, 307}:
        where = f"the region {region}" if re.fullmatch(r"[A-Za-z0-9-]{1,40}", region) else "another region or endpoint"
        return f"the bucket is to be asked for in {where}, not in the one that is set"
    if code in _WORDS:
        return _WORDS[code]
    said = f" {code}" if re.fullmatch(r"[A-Za-z0-9.]{1,60}", code) else ""
    return f"the server answered {status}{said}"
