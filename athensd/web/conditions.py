"""Conditional and partial requests (RFC 9110, sections 13 and 14), as pure functions."""

from __future__ import annotations

import re

from attrs import frozen

# Eighteen digits reach beyond any file, and Python makes no integer of thousands.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@frozen
class Part:
    """The bytes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


class Unsatisfiable(Exception):
    """The range asked for lies beyond the end (416)."""


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has these bytes already; weak comparison, as ``If-None-Match`` wants (13.1.2)."""
    if not if_none_match or not etag:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag in {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}


def part_of(range_header: str | None, if_range: str | None, etag: str, length: int) -> Part | None:
    """The one range that is asked for, or ``None`` for the whole.

    A range we do not understand, several at once, and one that holds only for other bytes (``If-Range``) are answered
    with the whole, as 14.2 allows.  Raises ``Unsatisfiable``.
    """
    match = _RANGE.fullmatch(range_header.strip()) if range_header else None
    if match is None or match.groups() == ("", "") or (if_range and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(length - int(last), 0), length
    else:
        start, stop = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= length:
        raise Unsatisfiable
    return Part(start, stop)
