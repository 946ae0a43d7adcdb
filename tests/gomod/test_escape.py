"""Escaped paths and versions."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.errors import InvalidPath
from athensd.gomod.escape import escape_path, escape_version, unescape_path, unescape_version

ELEMENTS = st.text(string.ascii_letters + string.digits + "-_", min_size=1).map(lambda text: f"x{text}x")
PATHS = st.lists(ELEMENTS, min_size=1).map(lambda elements: "/".join(["example.com", *elements]))
VERSIONS = st.text(string.ascii_letters + string.digits + "-_.+", max_size=30).map(lambda text: f"v{text}x")


@pytest.mark.parametrize(
    "plain, escaped",
    [
        ("github.com/BurntSushi/toml", "github.com/!burnt!sushi/toml"),
        ("github.com/GoogleCloudPlatform/omega", "github.com/!google!cloud!platform/omega"),
        ("rsc.io/quote/v3", "rsc.io/quote/v3"),
    ],
)
def test_paths(plain, escaped):
    """Each upper-case letter becomes an exclamation mark and its lower case, and back."""
    assert escape_path(plain) == escaped
    assert unescape_path(escaped) == plain


@pytest.mark.parametrize(
    "plain, escaped",
    [("v1.0.0-RC.1", "v1.0.0-!r!c.1"), ("v2.0.0+incompatible", "v2.0.0+incompatible"), ("HEAD", "!h!e!a!d")],
)
def test_versions(plain, escaped):
    """Versions, and branches and tags too, are escaped as paths are."""
    assert escape_version(plain) == escaped
    assert unescape_version(escaped) == plain


@given(PATHS)
def test_path_round_trip(path):
    """Unescaping gives back what was escaped; the escaped form has no upper-case letter."""
    escaped = escape_path(path)
    assert unescape_path(escaped) == path
    assert not set(escaped) & set(string.ascii_uppercase)


@given(VERSIONS)
def test_version_round_trip(version):
    """Unescaping gives back what was escaped; the escaped form has no upper-case letter."""
    escaped = escape_version(version)
    assert unescape_version(escaped) == version
    assert not set(escaped) & set(string.ascii_uppercase)


@pytest.mark.parametrize(
    "escaped",
    [
        "x.y/Z",
        "x.y/!",
        "x.y/!!a",
        "x.y/!Z",
        "x.y/!1",
        "x.y/!/a",
        "x.y/\u00e9",
        "!x.y/z",
        "x.y/../z",
        "x/y",
        "x.y/a\n",
        "",
    ],
)
def test_bad_escaped_paths(escaped):
    """What was not escaped by these rules, or hides a bad path, is refused."""
    with pytest.raises(InvalidPath, match="invalid escaped module path"):
        unescape_path(escaped)


@pytest.mark.parametrize("escaped", ["V1", "v1!", "v1!!a", "a/b", "..", "", "v1\n", "a:b", "v1.\u00e9", "con", "v1."])
def test_bad_escaped_versions(escaped):
    """A version that could not name a file is refused."""
    with pytest.raises(InvalidPath, match="invalid escaped version"):
        unescape_version(escaped)


@pytest.mark.parametrize("path", ["x/y", "x.y/a!b", "x.y/..", "x.y/\u00e9"])
def test_bad_paths_are_not_escaped(path):
    """Only module paths have an escaped form."""
    with pytest.raises(InvalidPath, match="malformed module path"):
        escape_path(path)


@pytest.mark.parametrize("version", ["", "a/b", "a!b", "..", "v1.\u00e9", "a\\b", "\udc80"])
def test_bad_versions_are_not_escaped(version):
    """Only what can name a file on every system has an escaped form."""
    with pytest.raises(InvalidPath, match="disallowed version string"):
        escape_version(version)
