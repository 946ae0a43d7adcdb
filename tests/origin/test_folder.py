"""A folder as an origin: what is there, what is not, and what cannot be found out."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from athensd.blob import read_all
from athensd.errors import AthensError, NotFound, StorageFailed, UpstreamFailed, VerificationFailed
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IOrigin, Kind
from athensd.origin.folder import FolderOrigin
from athensd.origin.upstream import LIMIT
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import TIME, add_version

M = "example.test/Big/m"
V1 = ModuleVersion(M, "v1.0.0")
PSEUDO = "v0.0.0-20240301000000-aaaaaaaaaaaa"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a blank in its name and two versions of a module in it."""
    root = tmp_path / "my tree"
    for version in ("v1.0.0", "v1.2.0"):
        add_version(root, M, version, {"go.mod": f"module {M}\n".encode(), "m.go": b"package m\n"})
    return root


def origin_of(tree: Path) -> FolderOrigin:
    return FolderOrigin(tree.as_uri(), deferToThread)


def folder(tree: Path) -> Path:
    return tree / "example.test" / "!big" / "m" / "@v"


async def failure(work: Awaitable[Any], word: type[AthensError], tree: Path) -> str:
    """The text of the error that the work must end in, in which no path of this machine is."""
    with pytest.raises(AthensError) as error:
        await work
    assert isinstance(error.value, word)
    assert str(tree) not in str(error.value)
    assert "my tree" not in str(error.value)
    return str(error.value)


@ensureDeferred
async def test_what_is_there(tree: Path, tmp_path: Path) -> None:
    """Lists and files as they are there; the zip is a copy, which does not change with the folder."""
    origin = origin_of(tree)
    assert list(await origin.list(M)) == [Listed("v1.0.0"), Listed("v1.2.0")]
    assert await origin.resolve(M, "v1.2.0") == Info("v1.2.0", TIME)
    for kind in (Kind.INFO, Kind.MOD, Kind.ZIP):
        files = await origin.fetch(V1, kind, tmp_path / "into")
        there = folder(tree) / f"v1.0.0.{kind.value}"
        assert list(files) == [kind]
        assert await read_all(files[kind]) == there.read_bytes()
        assert files[kind].length == there.stat().st_size
    there.write_bytes(b"changed")
    copy = files[Kind.ZIP].file()
    assert copy is not None
    with copy:
        assert copy.read(2) == b"PK"


@ensureDeferred
async def test_latest(tree: Path) -> None:
    """``@latest`` is a file; the go command's own cache has none, and then it is what the list says."""
    origin = origin_of(tree)
    assert await origin.resolve(M, "latest") == Info("v1.2.0", TIME)
    (folder(tree).parent / "@latest").write_text(f'{{"Version":"{PSEUDO}"}}')
    assert await origin.resolve(M, "latest") == Info(PSEUDO)
    (folder(tree) / "main.info").write_text(f'{{"Version":"{PSEUDO}"}}')
    assert await origin.resolve(M, "main") == Info(PSEUDO)


@pytest.mark.parametrize(
    "query", ["main", "feature/x", "../../../secret", "a/../../@latest", "x" * 300, "nul\0", "a?b", "%2e%2e"]
)
@ensureDeferred
async def test_what_is_not_there(tree: Path, tmp_path: Path, query: str) -> None:
    """It is certain that it is not there; and nothing leads out of the folder."""
    for path in (tmp_path / "secret.info", tree / "example.test" / "secret.info", tree / "secret.info"):
        path.write_text('{"Version":"v1.0.0"}')
    origin = origin_of(tree)
    await failure(origin.resolve(M, query), NotFound, tree)
    text = await failure(origin.list("example.test/other"), NotFound, tree)
    assert text == "example.test/other (list): not found in the folder in GOPROXY"
    await failure(origin.list("example.test/secret.info/m"), NotFound, tree)
    await failure(origin.fetch(ModuleVersion(M, "v1.1.0"), Kind.ZIP, tmp_path / "into"), NotFound, tree)
    await failure(origin.resolve("example.test/other", "latest"), NotFound, tree)


@ensureDeferred
async def test_a_folder_that_is_gone(tree: Path) -> None:
    """A disk that is not mounted says nothing of its modules: that is a failure, and not "not there"."""
    origin = origin_of(tree)
    tree.rename(tree.with_name("away"))
    assert await failure(origin.list(M), UpstreamFailed, tree) == f"{M} (list): the folder in GOPROXY is not there"
    tree.with_name("away").rename(tree)
    assert await origin.list(M)


@ensureDeferred
async def test_what_cannot_be_read(tree: Path, tmp_path: Path) -> None:
    """A directory, a pipe and a circle in the place of a file are failures, in words, and nobody waits for them."""
    file = folder(tree) / "v1.0.0.zip"
    makers: list[Callable[[], None]] = [file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to(file.name)]
    for make, why in zip(makers, ["is no file", "is no file", "Too many levels of symbolic links"], strict=True):
        file.rmdir() if file.is_dir() else file.unlink()
        make()
        text = await failure(origin_of(tree).fetch(V1, Kind.ZIP, tmp_path / "into"), UpstreamFailed, tree)
        assert why in text


@ensureDeferred
async def test_files_have_limits(tree: Path, tmp_path: Path) -> None:
    """A file beyond Go's own limits is refused, before all of it was copied."""
    for kind in (Kind.MOD, Kind.INFO, Kind.ZIP):
        os.truncate(folder(tree) / f"v1.0.0.{kind.value}", LIMIT[kind] + 1)
        text = await failure(origin_of(tree).fetch(V1, kind, tmp_path / "into"), VerificationFailed, tree)
        assert text == f"{V1} {kind.value}: the folder in GOPROXY has more than Go allows"


@ensureDeferred
async def test_a_place_that_cannot_be_written(tree: Path, tmp_path: Path) -> None:
    """That is our own failure and not the folder's."""
    (tmp_path / "into" / "zip").mkdir(parents=True)
    await failure(origin_of(tree).fetch(V1, Kind.ZIP, tmp_path / "into"), StorageFailed, tree)


@needs_go
@ensureDeferred
async def test_the_cache_of_the_go_command(tree: Path, tmp_path: Path) -> None:
    """What a go command has downloaded is such a folder, and so is what it is given as GOPROXY itself."""
    client = Client(tmp_path / "client", tree.as_uri())
    await deferToThread(client.ok, "mod", "download", f"{M}@v1.2.0")
    origin = origin_of(client.cache / "cache" / "download")
    assert await origin.resolve(M, "latest") == Info("v1.2.0", TIME)
    for kind in (Kind.MOD, Kind.ZIP):
        files = await origin.fetch(ModuleVersion(M, "v1.2.0"), kind, tmp_path / "into")
        assert await read_all(files[kind]) == (folder(tree) / f"v1.2.0.{kind.value}").read_bytes()


def test_contract(tree: Path) -> None:
    """It provides what an origin promises; what names no folder is none."""
    verifyObject(IOrigin, origin_of(tree))
    with pytest.raises(ValueError, match="names a host"):
        FolderOrigin("file://srv/modules", deferToThread)
