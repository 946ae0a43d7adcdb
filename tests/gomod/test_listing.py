"""Lists, latest and prefix queries."""

from datetime import UTC, datetime

import pytest

from athensd.gomod.listing import Listed, is_prefix_query, latest_of, match_prefix, parse_list, render_list

OLD, NEW = "v0.0.0-20190101000000-aaaaaaaaaaaa", "v0.0.0-20200101000000-bbbbbbbbbbbb"
TIME = datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ()),
        ("\n\n", ()),
        ("v1.0.0\nv1.1.0\n", (Listed("v1.0.0"), Listed("v1.1.0"))),
        ("v1.0.0\r\n  v1.1.0  ", (Listed("v1.0.0"), Listed("v1.1.0"))),
        ("v1.0.0 2021-02-03T04:05:06Z\n", (Listed("v1.0.0", TIME),)),
        ("v1.0.0\t2021-02-03T04:05:06Z more\n", (Listed("v1.0.0", TIME),)),
        ("v1.0.0 2021-02-03\n", (Listed("v1.0.0"),)),
        ("v1.0.0 beta\n", (Listed("v1.0.0"),)),
        ("main\nv1.0.0\n1.0.0\n<html>\n", (Listed("v1.0.0"),)),
        (f"{NEW}\n", (Listed(NEW),)),
        ("v1.0.0\u2028v1.1.0\n", (Listed("v1.0.0"),)),
    ],
)
def test_parse(text, expected):
    """The first word of a line is the version and an RFC 3339 time may follow; other lines do not count."""
    assert parse_list(text) == expected


@pytest.mark.parametrize(
    "versions, text",
    [
        ([], ""),
        ([NEW], ""),
        (["v1.10.0", "v1.2.0", "v1.2.0", "v1.2.0-rc.1"], "v1.2.0-rc.1\nv1.2.0\nv1.10.0\n"),
        (["v2.0.0+incompatible", "v1.0.0", OLD], "v1.0.0\nv2.0.0+incompatible\n"),
    ],
)
def test_render(versions, text):
    """A list is sorted by precedence, names each version once, and names no pseudo-version."""
    assert render_list(iter(versions)) == text


@pytest.mark.parametrize(
    "listed, expected",
    [
        ([], None),
        ([Listed("v1.0.0"), Listed("v1.10.0"), Listed("v1.9.0")], "v1.10.0"),
        ([Listed("v1.0.0"), Listed("v2.0.0-rc.1"), Listed(NEW)], "v1.0.0"),
        ([Listed("v1.0.0-rc.1"), Listed("v1.0.0-rc.2"), Listed(NEW)], "v1.0.0-rc.2"),
        ([Listed("v1.0.0"), Listed("v2.0.0+incompatible")], "v2.0.0+incompatible"),
        ([Listed(OLD), Listed(NEW)], NEW),
        ([Listed(OLD, TIME), Listed(NEW)], OLD),
        ([Listed(NEW), Listed("v1.2.4-0.20190601000000-cccccccccccc")], NEW),
        ([Listed("v0.0.0-20191399000000-dddddddddddd"), Listed(OLD)], OLD),
        ([Listed("v0.0.0-00010101000000-000000000000")], None),
    ],
)
def test_latest(listed, expected):
    """Releases come before pre-releases, these before pseudo-versions, of which the newest by time is the latest."""
    assert latest_of(iter(listed)) == expected


@pytest.mark.parametrize(
    "query, expected",
    [
        ("v1", "v1.20.0"),
        ("v1.2", "v1.2.1"),
        ("v1.20", "v1.20.0"),
        ("v1.3", "v1.3.1-rc.1"),
        ("v1.4", None),
        ("v2", "v2.0.0+incompatible"),
        ("v3", None),
        ("v5", None),
        ("v1.2.0", None),
        ("main", None),
        ("", None),
    ],
)
def test_prefix_queries(query, expected):
    """A prefix is whole components and stands for its highest release, else pre-release, but none below itself."""
    versions = ["v1.2.0", "v1.2.1", "v1.20.0", "v1.2.2-rc.1", "v1.3.1-rc.1", "v1.4.0-rc.1", "v2.0.0+incompatible"]
    pseudo = ["v5.0.1-0.20200101000000-bbbbbbbbbbbb"]
    assert match_prefix(query, iter(versions + pseudo)) == expected


@pytest.mark.parametrize(
    "query, expected", [("v1", True), ("v1.2", True), ("v1.2.3", False), ("v", False), ("v01", False)]
)
def test_is_prefix_query(query, expected):
    """Only valid versions that are cut off are prefixes."""
    assert is_prefix_query(query) is expected
