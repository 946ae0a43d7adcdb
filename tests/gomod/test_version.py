"""Versions, pseudo-versions, their order and the paths they belong to."""

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from athensd.errors import InvalidPath
from athensd.gomod.version import (
    ModuleVersion,
    canonical,
    check_version_for,
    compare,
    is_canonical_for,
    is_prerelease,
    is_pseudo,
    is_valid,
    pseudo_time,
    sort_key,
)

PSEUDO = "20191109021931-daa7c04131f5"

CANONICAL = [
    ("v1.2.3", "v1.2.3"),
    ("v1", "v1.0.0"),
    ("v1.2", "v1.2.0"),
    ("v1.2.3-pre", "v1.2.3-pre"),
    ("v1.2.3-0.a-b.1", "v1.2.3-0.a-b.1"),
    ("v1.2.3-00a", "v1.2.3-00a"),
    ("v1.2.3+meta.007", "v1.2.3"),
    ("v1.2.3-pre+meta", "v1.2.3-pre"),
    ("v2.0.0+incompatible", "v2.0.0+incompatible"),
    ("v2.0.0-rc.1+incompatible", "v2.0.0-rc.1+incompatible"),
    ("v2.0.0+incompatible.1", "v2.0.0"),
    (f"v0.0.0-{PSEUDO}", f"v0.0.0-{PSEUDO}"),
]

INVALID = [
    "x",
    "1.2.3",
    "V1.2.3",
    "v",
    "v.",
    "v1.",
    "v1.2.",
    "v01.2.3",
    "v1.02.3",
    "v1.2.03",
    "v1.2.3.4",
    "v1-pre",
    "v1.2-pre",
    "v1+meta",
    "v1.2+meta",
    "v1.2.3-",
    "v1.2.3+",
    "v1.2.3-01",
    "v1.2.3-a..b",
    "v1.2.3-.a",
    "v1.2.3-a.",
    "v1.2.3-a_b",
    "v1.2.3+a_b",
    "v1.2.3-é",
    "v1.2.3+a..b",
    "v1.2.x",
    "v-1.2.3",
    "v1.2.3-pre+a+b",
    "master",
    "latest",
    "v１.2.3",
    "",
    "v1.2.3\n",
    " v1.2.3",
    "v1.2.3 ",
]

ASCENDING = [
    "bad",
    "v0.0.0-alpha",
    "v0.0.0",
    "v0.0.1",
    "v0.1.0-0",
    "v0.1.0-1",
    "v0.1.0-2",
    "v0.1.0-11",
    "v0.1.0-99999999999999999999",
    "v0.1.0-100000000000000000000",
    "v0.1.0--",
    "v0.1.0-A",
    "v0.1.0-a",
    "v0.1.0-a.0",
    "v0.1.0-a.0.0",
    "v0.1.0-a.b",
    "v0.1.0-a-b",
    "v0.1.0-rc.2",
    "v0.1.0-rc.10",
    "v0.1.0",
    "v0.2.0",
    "v0.10.0",
    "v1",
    "v1.0.1",
    "v1.2",
    "v1.20.0",
    "v2.0.0-pre",
    "v2.0.0+incompatible",
    "v10.0.0",
    "v99999999999999999999.0.0",
    "v100000000000000000000.0.0",
]


@pytest.mark.parametrize("version, expected", CANONICAL)
def test_valid_versions(version, expected):
    """A valid version has a canonical form, which is its own canonical form."""
    assert is_valid(version)
    assert canonical(version) == canonical(expected) == expected


@pytest.mark.parametrize("version", INVALID)
def test_invalid_versions(version):
    """What is no semantic version in Go has no canonical form and is nothing else either."""
    assert not is_valid(version)
    assert canonical(version) == ""
    assert not is_pseudo(version)
    assert not is_prerelease(version)


def test_order():
    """Versions stand in semantic order, numbers by value and invalid ones below all."""
    for lower, higher in pairwise(ASCENDING):
        assert compare(lower, higher) == -1, (lower, higher)
        assert compare(higher, lower) == 1, (lower, higher)
    mixed = random.Random(1).sample(ASCENDING, k=len(ASCENDING))
    assert sorted(mixed, key=sort_key) == ASCENDING


@pytest.mark.parametrize("a, b", [("v1", "v1.0.0"), ("v1.2.3+a", "v1.2.3+b"), ("v1.2.3", "v1.2.3+a"), ("bad", "worse")])
def test_ties(a, b):
    """Versions of equal precedence compare as equal, and sort by their text."""
    assert compare(a, b) == compare(b, a) == 0
    assert sorted([b, a], key=sort_key) == [a, b]


@pytest.mark.parametrize("version, expected", [("v1.2.3-pre", True), ("v1.2.3", False), ("v1.2.3+a-b", False)])
def test_prereleases(version, expected):
    """A hyphen makes a pre-release, unless it is in the build metadata."""
    assert is_prerelease(version) is expected


@pytest.mark.parametrize(
    "version",
    [
        f"v0.0.0-{PSEUDO}",
        f"v2.0.0-{PSEUDO}",
        f"v1.2.4-0.{PSEUDO}",
        f"v1.2.3-pre.0.{PSEUDO}",
        f"v1.2.3-a.b.0.{PSEUDO}",
        f"v2.0.1-0.{PSEUDO}+incompatible",
        "v0.0.0-20191109021931-1",
    ],
)
def test_pseudo_versions(version):
    """The three forms of pseudo-versions are known, and tell the time of their commit."""
    assert is_pseudo(version)
    assert pseudo_time(version) == datetime(2019, 11, 9, 2, 19, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "version",
    [
        "v1.2.3",
        "v1.2.3-pre",
        f"v0.1.0-{PSEUDO}",
        f"v1.2.3-pre.{PSEUDO}",
        f"v1.2.3-pre-0.{PSEUDO}",
        f"v1.2.3+0.{PSEUDO}",
        "v0.0.0-2019110902193-daa7c04131f5",
        f"v0.0.0-{PSEUDO}-x",
        f"v0.0-{PSEUDO}",
    ],
)
def test_no_pseudo_versions(version):
    """What only looks like a pseudo-version is none."""
    assert not is_pseudo(version)
    with pytest.raises(ValueError, match="not a pseudo-version"):
        pseudo_time(version)


def test_pseudo_version_of_no_date():
    """A pseudo-version may hold a time that is no date; then it tells none."""
    assert is_pseudo("v0.0.0-20191399000000-abc")
    with pytest.raises(ValueError):
        pseudo_time("v0.0.0-20191399000000-abc")


@pytest.mark.parametrize(
    "path, version",
    [
        ("github.com/x/y", "v1.2.3"),
        ("github.com/x/y", f"v0.0.0-{PSEUDO}"),
        ("github.com/x/y", "v2.0.0+incompatible"),
        ("github.com/x/y/v2", "v2.0.0-rc.1"),
        ("gopkg.in/yaml.v2", "v2.2.1"),
        ("gopkg.in/check.v1", f"v0.0.0-{PSEUDO}"),
        ("gopkg.in/x.v3-unstable", "v3.0.0"),
        ("golang.org/toolchain", "v0.0.1-go1.21.0.linux-amd64"),
    ],
)
def test_versions_of_a_path(path, version):
    """Major version and path agree, with the exceptions that Go makes."""
    check_version_for(path, version)
    assert is_canonical_for(path, version)


@pytest.mark.parametrize(
    "path, version, words",
    [
        ("github.com/x/y", "v2.0.0", "version v2.0.0 of github.com/x/y should be v0 or v1, not v2"),
        ("github.com/x/y/v2", "v1.0.0", "version v1.0.0 of github.com/x/y/v2 should be v2, not v1"),
        ("github.com/x/y/v2", "v3.0.0+incompatible", "should be v2, not v3"),
        ("gopkg.in/yaml.v2", "v1.0.0", "version v1.0.0 of gopkg.in/yaml.v2 should be v2, not v1"),
        ("gopkg.in/yaml.v2", f"v0.0.0-{PSEUDO}", "should be v2, not v0"),
        ("gopkg.in/x.v1-unstable", "v2.0.0", "should be v1, not v2"),
        ("github.com/x/y", "master", 'version "master" of github.com/x/y is not a semantic version'),
    ],
)
def test_versions_of_another_path(path, version, words):
    """A version of another major version is refused in Go's words."""
    with pytest.raises(InvalidPath) as refusal:
        check_version_for(path, version)
    assert words in str(refusal.value)
    assert not is_canonical_for(path, version)


@pytest.mark.parametrize(
    "path, version",
    [
        ("x.y/z", "v1"),
        ("x.y/z", "v1.2.3+meta"),
        ("x.y/z", ""),
        ("x.y/z", "main"),
        ("x/y", "v1.0.0"),
        ("x.y/v1", "v1.0.0"),
    ],
)
def test_no_files_of_their_own(path, version):
    """Short versions, metadata, branches and versions of bad paths have no files that never change."""
    assert not is_canonical_for(path, version)


def test_module_version_is_written_as_go_writes_it():
    """Path and version are joined by an at sign."""
    assert str(ModuleVersion("github.com/BurntSushi/toml", "v1.4.0")) == "github.com/BurntSushi/toml@v1.4.0"
