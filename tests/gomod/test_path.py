"""Module paths and file paths."""

import pytest

from athensd.errors import Forbidden, InvalidPath
from athensd.gomod.path import check_fetchable, check_path, file_path_fault, quoted, split_path_version

GOOD = [
    "x.y",
    "x.y/z",
    "x.y/v2",
    "github.com/BurntSushi/toml",
    "github.com/a-b/c_d.e~f",
    "gopkg.in/yaml.v2",
    "gopkg.in/user/pkg.v3",
    "gopkg.in/check.v1",
    "gopkg.in/x.v0",
    "gopkg.in/x.v1-unstable",
    "golang.org/toolchain",
    "rsc.io/quote/v10",
    "127.0.0.1/x",
    "x.y/v",
    "x.y/v2/z",
    "x.y/com0",
    "x.y/conx",
    "x.y/lpt10",
    "x.y/a~",
    "x.y/a~b1",
    "example.com",
]

BAD = [
    ("", "empty string"),
    ("/x.y/z", "empty path element"),
    ("x.y/z/", "trailing slash"),
    ("x.y//z", "double slash"),
    ("-x.y/z", "leading dash"),
    ("x/y", "missing dot in first path element"),
    ("localhost/x", "missing dot in first path element"),
    ("X.y/z", "invalid char 'X' in first path element"),
    ("x_x.y/z", "invalid char '_' in first path element"),
    ("x.y/../z", 'invalid path element ".."'),
    ("x.y/.git", "leading dot in path element"),
    ("x.y/z.", "trailing dot in path element"),
    ("x.y/a b", "invalid char ' '"),
    ("x.y/a+b", "invalid char '+'"),
    ("x.y:80/z", "invalid char ':'"),
    ("x.y/a@v1.0.0", "invalid char '@'"),
    ("x.y/!a", "invalid char '!'"),
    ("x.y/\u00e9", "invalid char '\\u00e9'"),
    ("x.y/\udc80", "invalid UTF-8"),
    ("x.y/a\n", "invalid char '\\n'"),
    ("x.y/CoM1.go", '"CoM1" disallowed as path element component on Windows'),
    ("x.y/nul", '"nul" disallowed as path element component on Windows'),
    ("x.y/long~1", "trailing tilde and digits in path element"),
    ("x.y/long~12.go", "trailing tilde and digits in path element"),
    ("x.y/v0", "invalid version"),
    ("x.y/v1", "invalid version"),
    ("x.y/v02", "invalid version"),
    ("x.y/v1.2", "invalid version"),
    ("gopkg.in/yaml", "invalid version"),
    ("gopkg.in/yaml/v2", "invalid version"),
    ("gopkg.in/yaml.v02", "invalid version"),
]


@pytest.mark.parametrize("path", GOOD)
def test_good_paths(path):
    """What Go takes for a module path is one."""
    check_path(path)


@pytest.mark.parametrize("path, reason", BAD)
def test_bad_paths(path, reason):
    """What Go refuses is refused for Go's reason, in printable ASCII."""
    with pytest.raises(InvalidPath) as refusal:
        check_path(path)
    assert str(refusal.value) == f"malformed module path {quoted(path)}: {reason}"
    assert str(refusal.value).isascii() and str(refusal.value).isprintable()


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1", "169.254.169.254", "1.2.3.0x4", "0.0x7f", "1.0x"])
def test_addresses_are_not_fetched_from(host):
    """A host that the C library takes for an address is refused."""
    check_path(f"{host}/x")
    with pytest.raises(Forbidden, match="IP address"):
        check_fetchable(f"{host}/x")


@pytest.mark.parametrize("path", ["example.com/127.0.0.1", "1.2.3.4.example.com/x", "4.x4", "10.com", "0x.xyz"])
def test_names_are_fetched_from(path):
    """A host that ends in a word is a name, whatever numbers it has before that."""
    check_fetchable(path)


@pytest.mark.parametrize(
    "path, split",
    [
        ("x.y/z", ("x.y/z", "")),
        ("x.y/z/v2", ("x.y/z", "/v2")),
        ("x.y/z/v10", ("x.y/z", "/v10")),
        ("x.y/zv2", ("x.y/zv2", "")),
        ("x.y/z.v2", ("x.y/z.v2", "")),
        ("x.y/v", ("x.y/v", "")),
        ("v2", ("v2", "")),
        ("/v2", ("", "/v2")),
        ("x.y/z/v1", None),
        ("x.y/z/v0", None),
        ("x.y/z/v2.", None),
        ("x.y/z/v2.3", None),
        ("gopkg.in/yaml.v2", ("gopkg.in/yaml", ".v2")),
        ("gopkg.in/yaml.v0", ("gopkg.in/yaml", ".v0")),
        ("gopkg.in/yaml.v1-unstable", ("gopkg.in/yaml", ".v1-unstable")),
        ("gopkg.in/yaml.v0-unstable", None),
        ("gopkg.in/yaml/v2", None),
        ("gopkg.in/yaml", None),
    ],
)
def test_split(path, split):
    """The major version suffix comes off, and what must not be one is told from what is none."""
    assert split_path_version(path) == split


@pytest.mark.parametrize("name", ["a", ".git/config", "-a", "a b!#$%&()+,-.=@[]^_{}~", "世界/é.go", "long~1", "v1"])
def test_good_file_names(name):
    """Files may have names that modules may not."""
    assert file_path_fault(name) is None


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", ".", "../a", "a.", "a:b", "a\\b", "a*", "aux.go", "\u2600"])
def test_bad_file_names(name):
    """No file may be named what some file system cannot hold."""
    assert file_path_fault(name)
