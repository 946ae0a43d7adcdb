"""The names of files in a store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.errors import InvalidPath
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.storage.layout import complete_versions, file_name, parse_token

WORDS = st.text("abcXYZ019-", min_size=1, max_size=8)
VERSIONS = st.builds(
    lambda numbers, words, build: f"v{'.'.join(map(str, numbers))}-x{'.x'.join(words)}{build}",
    st.tuples(st.integers(0, 1), st.integers(0, 99), st.integers(0, 99)),
    st.lists(WORDS, min_size=1, max_size=3),
    st.sampled_from(["", "+incompatible"]),
)


@pytest.mark.parametrize(
    ("path", "version", "name"),
    [
        ("example.com/m", "v1.0.0", "example.com/m/@v/v1.0.0.mod"),
        ("example.com/m/v2", "v2.1.0", "example.com/m/v2/@v/v2.1.0.mod"),
        ("github.com/BurntSushi/toml", "v1.0.0", "github.com/!burnt!sushi/toml/@v/v1.0.0.mod"),
        ("example.com/m", "v1.0.0-RC1", "example.com/m/@v/v1.0.0-!r!c1.mod"),
        ("example.com/m", "v2.0.0+incompatible", "example.com/m/@v/v2.0.0+incompatible.mod"),
        ("gopkg.in/yaml.v3", "v3.0.1", "gopkg.in/yaml.v3/@v/v3.0.1.mod"),
    ],
)
def test_names_are_those_of_go(path, version, name):
    """A file is named as in the download protocol."""
    assert file_name(ModuleVersion(path, version), Kind.MOD) == name


@pytest.mark.parametrize(("path", "version"), [("../x", "v1.0.0"), ("a.b/../c", "v1.0.0"), ("a.b/c", "../v1.0.0")])
def test_no_name_leads_out(path, version):
    """What is no path or no version gets no file name."""
    with pytest.raises(InvalidPath):
        file_name(ModuleVersion(path, version), Kind.MOD)


@pytest.mark.parametrize(
    ("names", "versions"),
    [
        ([], []),
        (["v1.0.0.info", "v1.0.0.mod"], []),
        (["v1.0.0.info", "v1.0.0.mod", "v1.0.0.zip"], ["v1.0.0"]),
        (["v1.0.0.info", "v1.0.0.mod", "v1.0.0.ziphash"], []),
        (["v1.0.0.info", "v1.0.0.mod", "v1.0.1.zip"], []),
        (["v1.0.0-!r.info", "v1.0.0-!r.mod", "v1.0.0-!r.zip"], ["v1.0.0-R"]),
        (["v1.0.0-R.info", "v1.0.0-R.mod", "v1.0.0-R.zip"], []),
        (["main.info", "main.mod", "main.zip"], []),
        (["v1.info", "v1.mod", "v1.zip"], []),
        ([".info", ".mod", ".zip", "info", "mod", "zip"], []),
    ],
)
def test_complete_versions(names, versions):
    """A version is complete when its three files are there, and no other name counts."""
    assert complete_versions(names) == versions


@given(st.sets(VERSIONS, max_size=5))
def test_every_version_is_found_again(versions):
    """The names of any versions are read back as just these versions."""
    names = [
        file_name(ModuleVersion("example.com/m", version), kind).rpartition("/")[2]
        for version in versions
        for kind in WHOLE
    ]
    assert set(complete_versions(names)) == versions


@given(st.sampled_from(["example.com/m", "a.io/B/c-d"]), VERSIONS)
def test_tokens(path, version):
    """A version's text is the token that leads on from it."""
    assert parse_token(str(ModuleVersion(path, version))) == ModuleVersion(path, version)
