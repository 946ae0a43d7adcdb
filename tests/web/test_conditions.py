"""Conditional and partial requests, as tables (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import pytest

from athensd.web.conditions import Part, Unsatisfiable, not_modified, part_of

ETAG = '"h1:abc/+=-1f"'


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        (None, False),
        ("", False),
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"x", {ETAG} ,"y"', True),
        (f'"x",W/{ETAG}', True),
        ("*", True),
        (" * ", True),
        ('"x"', False),
        (ETAG.strip('"'), False),
        (f"w/{ETAG}", False),
        (",,,", False),
    ],
)
def test_a_client_that_has_the_bytes_is_told_so(if_none_match: str | None, known: bool) -> None:
    """If-None-Match compares weakly, knows lists and the star, and takes nothing that is not in quotes."""
    assert not_modified(if_none_match, ETAG) is known


def test_without_an_etag_nothing_is_known() -> None:
    """Bytes that have no ETag are sent whatever the client says it has."""
    assert not not_modified("*", "")
    assert not not_modified('""', "")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (None, None),
        ("", None),
        ("bytes=0-9", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=90-", (90, 100)),
        ("bytes=99-1000", (99, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        (" bytes=0-9 ", (0, 10)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1", None),
        ("bytes=+1-2", None),
        ("bytes=٣-٤", None),
        ("lines=0-9", None),
        ("bytes 0-9", None),
        (f"bytes=0-{'9' * 5000}", None),
        (f"bytes=-{'9' * 5000}", None),
    ],
)
def test_one_range_is_understood_and_all_else_means_the_whole(asked: str | None, part: tuple[int, int] | None) -> None:
    """First-last, first- and -suffix name a part; several ranges and nonsense name none."""
    assert part_of(asked, None, ETAG, 100) == (Part(*part) if part else None)


@pytest.mark.parametrize(
    ("asked", "length"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_beyond_the_end_cannot_be_satisfied(asked: str, length: int) -> None:
    """A range without a single byte in it is an error of its own (416)."""
    with pytest.raises(Unsatisfiable):
        part_of(asked, None, ETAG, length)


@pytest.mark.parametrize(
    ("if_range", "part"),
    [
        (ETAG, Part(5, 10)),
        (f" {ETAG} ", Part(5, 10)),
        ('"other"', None),
        (f"W/{ETAG}", None),
        ("Tue, 15 Nov 1994 12:45:26 GMT", None),
    ],
)
def test_a_range_holds_for_the_same_bytes_only(if_range: str, part: Part | None) -> None:
    """If-Range compares strongly; a date, which we never give out, is no match; then the whole is sent."""
    assert part_of("bytes=5-9", if_range, ETAG, 100) == part
