"""What a filter leaves of a list."""

import pytest

from athensd.gomod.listing import Listed
from athensd.policy.filter import Action, Filter, parse_filter
from athensd.policy.listing import allowed_versions, latest_allowed

VERSIONS = ["v1.0.0", "v2.0.0+incompatible", "v1.1.0", "v1.2.0-rc.1"]
OLD, NEW = "v0.0.0-20190101000000-aaaaaaaaaaaa", "v0.0.0-20200101000000-bbbbbbbbbbbb"


def allows(rules):
    """What a filter does not exclude."""
    return lambda version: rules.verdict("x.y/m", version).action is not Action.EXCLUDE


@pytest.mark.parametrize(
    "text, left",
    [
        ("", VERSIONS),
        ("- x.y/m v1", ["v2.0.0+incompatible"]),
        ("-\n+ x.y/m v1.1", ["v1.1.0"]),
        ("- x.y/m v1\nD x.y/m v1.1", ["v2.0.0+incompatible", "v1.1.0"]),
        ("- x.y/other", VERSIONS),
        ("- x.y", []),
    ],
)
def test_allowed(text, left):
    """Excluded versions are not there, all others are in their order, those to be had directly too."""
    assert allowed_versions(allows(parse_filter(text, "f")), iter(VERSIONS)) == left


@pytest.mark.parametrize(
    "text, versions, expected",
    [
        ("", VERSIONS, "v2.0.0+incompatible"),
        ("- x.y/m v2", VERSIONS, "v1.1.0"),
        ("- x.y/m v2,v1.0,v1.1", VERSIONS, "v1.2.0-rc.1"),
        ("- x.y/m", VERSIONS, None),
        ("", [OLD, NEW], NEW),
        ("- x.y/m v0.0.0-2020*", [OLD, NEW], OLD),
        ("- x.y/m v1", ["v1.0.0", OLD], OLD),
    ],
)
def test_latest(text, versions, expected):
    """The latest is what Go would take of those that are left: release, pre-release, pseudo-version; or none."""
    assert latest_allowed(allows(parse_filter(text, "f")), map(Listed, versions)) == expected


def test_without_rules():
    """The filter without rules leaves everything."""
    assert allowed_versions(allows(Filter()), VERSIONS) == VERSIONS
