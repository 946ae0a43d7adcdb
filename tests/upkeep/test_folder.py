"""Versions in folders."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest

from athensd.errors import NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.upkeep.folder import ATHENS, GO, athens_files, go_files, layout_of, walk
from tests.fakes import result_of


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def shown(root, layout):
    return {str(each.version): {kind.value for kind in each.files} for each in walk(root, layout)}


def test_go(tmp_path):
    """Escaped names are Go's; locks, lists, branches and all that the go command keeps besides are passed over."""
    place = "github.com/!burnt!sushi/toml/@v"
    make(
        tmp_path,
        *(f"{place}/v1.4.0-!r!c1.{suffix}" for suffix in ("info", "mod", "zip", "ziphash", "lock")),
        f"{place}/v1.3.0.mod",
        f"{place}/v2.0.0+incompatible.mod",
        f"{place}/v3.0.0.mod",  # not for this path
        f"{place}/list",
        f"{place}/master.info",
        f"{place}/v1.info",
        f"{place}/v1.4.0-RC1.info",
        f"{place}/v1.3.0.zip123.tmp",
        "github.com/BAD/m/@v/v1.0.0.mod",
        "github.com/m/v1.0.0/go.mod",
        "sumdb/sum.golang.org/lookup/x",
        "cache/lock",
        ".athensd/example.com/m/@v/v1.0.0.mod",
    )
    assert shown(tmp_path, GO) == {
        "github.com/BurntSushi/toml@v1.3.0": {"mod"},
        "github.com/BurntSushi/toml@v1.4.0-RC1": {"info", "mod", "zip", "ziphash"},
        "github.com/BurntSushi/toml@v2.0.0+incompatible": {"mod"},
    }


def test_athens(tmp_path):
    """Names are as people write them; a module may be nested in another, and in what looks like a version of it."""
    files = ("go.mod", "source.zip")
    make(
        tmp_path,
        *(f"github.com/BurntSushi/toml/v1.4.0/{name}" for name in (*files, "v1.4.0.info", "v1.4.1.info", "other")),
        *(f"github.com/BurntSushi/toml/v2/v2.0.0/{name}" for name in (*files, "v2.0.0.info")),
        *(f"a.example/m/v1.0.0/n/v1.0.0/{name}" for name in files),
        "a.example/m/v1.0.0/go.mod",
        "a.example/m/v2.0.0/source.zip",
        "a.example/m/main/source.zip",
    )
    assert shown(tmp_path, ATHENS) == {
        "a.example/m/v1.0.0/n@v1.0.0": {"mod", "zip"},
        "github.com/BurntSushi/toml@v1.4.0": {"info", "mod", "zip"},
        "github.com/BurntSushi/toml/v2@v2.0.0": {"info", "mod", "zip"},
    }


@pytest.mark.parametrize("directory", ["", ".", "@v", "/@v", "v1.0.0", "/v1.0.0", "a.b/../@v", "a.b/../v1.0.0"])
def test_no_module(directory):
    """A directory that no module path leads to holds nothing."""
    names = ["v1.0.0.info", "source.zip"]
    assert not go_files(directory, names)[1]
    assert not athens_files(directory, names)[1]


def test_which_layout(tmp_path):
    """It is seen by the first version; of a whole GOMODCACHE only the downloads count, not what is unpacked there."""
    assert layout_of(tmp_path) is None
    go, athens, whole = (tmp_path / name for name in ("go", "athens", "whole"))
    make(go, "example.com/m/@v/v1.0.0.mod")
    make(athens, "example.com/m/v1.0.0/source.zip")
    make(whole, "cache/download/example.com/m/@v/v1.0.0.mod", "example.com/m@v1.0.0/a.b/c/v1.0.0/source.zip")
    assert layout_of(go) == (GO, go)
    assert layout_of(athens) == (ATHENS, athens)
    assert layout_of(whole) == (GO, whole / "cache/download")


def test_open(tmp_path):
    """What the walk has seen can be read; what is not there, or no more, is told apart from what cannot be read."""
    make(tmp_path, "example.com/m/@v/v1.0.0.mod", "example.com/m/@v/v1.0.0.zip")
    [found] = walk(tmp_path, GO)
    assert found.version == ModuleVersion("example.com/m", "v1.0.0")
    assert result_of(found.open(Kind.MOD)).length == len("example.com/m/@v/v1.0.0.mod")
    found.files[Kind.ZIP].unlink()
    for kind in (Kind.ZIP, Kind.INFO):
        with pytest.raises(NotFound):
            result_of(found.open(kind))
    found.files[Kind.ZIP].symlink_to(found.files[Kind.ZIP])
    with pytest.raises(StorageFailed):
        result_of(found.open(Kind.ZIP))


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_a_directory_that_may_not_be_read(tmp_path):
    """It is not passed over as if it were empty, unless no module can be in it."""
    make(tmp_path, "example.com/m/@v/v1.0.0.mod")
    (tmp_path / "lost+found").mkdir(mode=0)
    for each in takewhile(lambda each: each != Path(gettempdir()), (tmp_path, *tmp_path.parents)):
        each.chmod(0o755)
    os.seteuid(65534)
    try:
        assert shown(tmp_path, GO) == {"example.com/m@v1.0.0": {"mod"}}
        os.seteuid(0)
        (tmp_path / "example.com/m/@v").chmod(0)
        os.seteuid(65534)
        with pytest.raises(StorageFailed, match="Permission denied"):
            list(walk(tmp_path, GO))
    finally:
        os.seteuid(0)
        (tmp_path / "example.com/m/@v").chmod(0o755)
