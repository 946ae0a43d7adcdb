"""The ``.info`` document: which version this is, its time, and where it came from.

Fields and their names are those of the Go module reference ("$base/$module/@v/$version.info"); ``Origin`` is that of
the go command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.gomod.path import quoted
from athensd.gomod.version import canonical

_ORIGIN_FIELDS = ("VCS", "URL", "Subdir", "Hash", "TagPrefix", "TagSum", "Ref", "RepoSum")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:(\.[0-9]{1,6})[0-9]*)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@frozen
class Info:
    """What is known of a version: its canonical name, its commit time (RFC 3339) and its ``Origin``."""

    version: str
    time: str | None = None
    origin: Mapping[str, Any] | None = None


def parse_time(text: str) -> datetime:
    """An RFC 3339 time as Go writes it in JSON, to the microsecond.  Raises ``ValueError`` for other text."""
    parts = _TIME.fullmatch(text)
    if not parts:
        raise ValueError(f"{quoted(text)} is not an RFC 3339 time")
    whole, fraction, zone = parts.groups(default="")
    return datetime.fromisoformat(whole + fraction + zone)


def parse_info(data: bytes) -> Info:
    """Read a ``.info`` document; fields that Go does not define are dropped.

    Raises ``VerificationFailed`` when it is no JSON object, a field is of the wrong type, ``Version`` is not a
    canonical version or ``Time`` is not an RFC 3339 time.
    """
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise VerificationFailed("the .info document is not JSON") from None
    if not isinstance(document, dict):
        raise VerificationFailed("the .info document is not a JSON object")
    return Info(_version(document.get("Version")), _time(document.get("Time")), _origin(document.get("Origin")))


def render_info(info: Info) -> bytes:
    """The ``.info`` document in Go's own compact form; what is not known is left out."""
    document = {"Version": info.version, "Time": info.time, "Origin": info.origin}
    return json.dumps({name: value for name, value in document.items() if value}, separators=(",", ":")).encode()


def _version(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise VerificationFailed("the .info document has no Version")
    if value != canonical(value):
        raise VerificationFailed(f"the .info document has the Version {quoted(value)}, which is not canonical")
    return value


def _time(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise VerificationFailed("the Time of the .info document is not text")
    try:
        parse_time(value)
    except ValueError:
        raise VerificationFailed(f"the .info document has the Time {quoted(value)}, which is not RFC 3339") from None
    return value


def _origin(value: object) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise VerificationFailed("the Origin of the .info document is not an object")
    known = {name: value[name] for name in _ORIGIN_FIELDS if value.get(name)}
    for name, text in known.items():
        if not isinstance(text, str):
            raise VerificationFailed(f"the {name} of the .info document's Origin is not text")
    return known
