"""What every datastore promises (``athensd.interfaces.IStorage`` and ``ICatalog``).

A provider's tests are a subclass whose fixture ``storage`` gives an empty one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from zope.interface.verify import verifyObject

from athensd.blob import CHUNK, BytesBlob, FileBlob, read_all
from athensd.errors import Conflict, InvalidRequest, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, ICatalog, IStorage, Kind

M = ModuleVersion("example.com/m", "v1.2.3")
LONG = "x" * 300


@frozen
class BrokenBlob:
    """A blob on a machine that goes away when half of it was read."""

    length: int = 2000

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        yield bytes(self.length // 2)
        raise OSError(5, "the other machine went away")


async def put_all(storage: Any, *versions: ModuleVersion) -> None:
    """Store complete versions, several files at a time; each file's bytes name it."""
    for at in range(0, len(versions), 100):
        puts = [
            Deferred.fromCoroutine(storage.put(version, kind, BytesBlob(f"{version}.{kind.value}".encode())))
            for version in versions[at : at + 100]
            for kind in WHOLE
        ]
        await gatherResults(puts)


async def pages(storage: Any, size: int) -> list[list[ModuleVersion]]:
    """The whole catalog."""
    found, tokens = [], [""]
    while True:
        page = await storage.page(tokens[-1], size)
        found.append(list(page.versions))
        if not page.next:
            return found
        assert page.next not in tokens
        tokens.append(page.next)


class StorageContract:
    """Inherit from this and give the fixture ``storage``."""

    def test_interfaces(self, storage):
        """It is a storage and a catalog."""
        assert verifyObject(IStorage, storage)
        assert verifyObject(ICatalog, storage)

    @ensureDeferred
    async def test_ready(self, storage):
        """A store that works says so, even before anything is in it."""
        await storage.check()

    @pytest.mark.parametrize("kind", Kind)
    @pytest.mark.parametrize("size", [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1])
    @ensureDeferred
    async def test_byte_identical(self, storage, kind, size):
        """What is read is what was put, and its length is known."""
        data = random.Random(size).randbytes(size)
        await storage.put(M, kind, BytesBlob(data))
        blob = await storage.open(M, kind)
        assert blob.length == size
        assert await read_all(blob) == data
        file = blob.file()
        if file is not None:
            with file:
                assert file.read() == data

    @pytest.mark.parametrize("kind", [Kind.INFO, Kind.ZIP])
    @ensureDeferred
    async def test_parts(self, storage, kind):
        """Any part of a blob can be read, from its start up to, and without, its stop."""
        data = random.Random(1).randbytes(2 * CHUNK + 5)
        await storage.put(M, kind, BytesBlob(data))
        blob = await storage.open(M, kind)
        cases = [
            (0, 1),
            (1, 1),
            (0, CHUNK),
            (CHUNK - 1, CHUNK + 1),
            (7, None),
            (len(data) - 1, None),
            (len(data), None),
        ]
        for start, stop in cases:
            assert b"".join([piece async for piece in blob.chunks(start, stop)]) == data[start:stop]

    @ensureDeferred
    async def test_large_file(self, storage, tmp_path):
        """A large file is stored from a file and read by bounded pieces; the original stays with its owner."""
        original = tmp_path / "large"
        data = random.Random(2).randbytes(20_000_000)
        original.write_bytes(data)
        await storage.put(M, Kind.ZIP, FileBlob(original, len(data)))
        digest = hashlib.sha256()
        async for piece in (await storage.open(M, Kind.ZIP)).chunks():
            assert 0 < len(piece) <= 4 << 20
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(data).digest()
        assert original.read_bytes() == data

    @pytest.mark.parametrize(
        "version",
        [
            ModuleVersion("example.com/other", "v1.2.3"),
            ModuleVersion("example.com/m", "v1.2.4"),
            ModuleVersion("example.com/M", "v1.2.3"),
            ModuleVersion("example.com/m/sub", "v1.2.3"),
            ModuleVersion("example.com", "v1.2.3"),
            ModuleVersion(f"example.com/{LONG}", "v1.0.0"),
            ModuleVersion("example.com/m", f"v1.0.0-{LONG}"),
            ModuleVersion("example.com/" + "/".join(["long"] * 2000), "v1.0.0"),
        ],
        ids=lambda version: str(version)[:40],
    )
    @ensureDeferred
    async def test_not_there(self, storage, version):
        """What was never stored is certainly not there, whatever its name is like."""
        await put_all(storage, M)
        for kind in Kind:
            with pytest.raises(NotFound):
                await storage.open(version, kind)
        with pytest.raises(NotFound):
            await storage.delete(version)
        assert list(await storage.versions("example.com/never")) == []
        assert list(await storage.versions(f"example.com/{LONG}")) == []

    @ensureDeferred
    async def test_one_file_is_one_file(self, storage):
        """A file that is there says nothing of the other files of its version."""
        await storage.put(M, Kind.MOD, BytesBlob(b"module example.com/m\n"))
        for kind in set(Kind) - {Kind.MOD}:
            with pytest.raises(NotFound):
                await storage.open(M, kind)

    @pytest.mark.parametrize("kind", Kind)
    @pytest.mark.parametrize("other", [b"other", b"a longer one", b"", b"FIRST"])
    @ensureDeferred
    async def test_first_writer_wins(self, storage, kind, other):
        """The same bytes may be put again; other bytes are refused and change nothing."""
        await storage.put(M, kind, BytesBlob(b"first"))
        await storage.put(M, kind, BytesBlob(b"first"))
        with pytest.raises(Conflict, match=str(M)):
            await storage.put(M, kind, BytesBlob(other))
        assert await read_all(await storage.open(M, kind)) == b"first"

    @pytest.mark.parametrize("kind", [Kind.INFO, Kind.ZIP])
    @ensureDeferred
    async def test_many_writers_of_the_same(self, storage, kind):
        """Many who put the same bytes at once all succeed."""
        puts = [storage.put(M, kind, BytesBlob(b"same" * 1000)) for _ in range(20)]
        await gatherResults([Deferred.fromCoroutine(put) for put in puts])
        assert await read_all(await storage.open(M, kind)) == b"same" * 1000

    @pytest.mark.parametrize("kind", [Kind.INFO, Kind.ZIP])
    @ensureDeferred
    async def test_many_writers_of_different_bytes(self, storage, kind):
        """Of many who put different bytes at once one succeeds, and that one's bytes are stored."""
        blobs = [BytesBlob(b"%d" % number * 1000) for number in range(20)]
        outcomes = await DeferredList(
            [Deferred.fromCoroutine(storage.put(M, kind, blob)) for blob in blobs], consumeErrors=True
        )
        winners = [blob for blob, (success, _) in zip(blobs, outcomes, strict=True) if success]
        assert len(winners) == 1
        assert await read_all(await storage.open(M, kind)) == winners[0].data
        assert all(failure.check(Conflict) for success, failure in outcomes if not success)

    @pytest.mark.parametrize("kind", Kind)
    @ensureDeferred
    async def test_broken_off(self, storage, kind):
        """Of a file that cannot be read to its end nothing is to be seen, and it can be put again."""
        with pytest.raises(StorageFailed):
            await storage.put(M, kind, BrokenBlob())
        with pytest.raises(NotFound):
            await storage.open(M, kind)
        await storage.put(M, kind, BytesBlob(b"whole"))
        assert await read_all(await storage.open(M, kind)) == b"whole"

    @pytest.mark.parametrize("missing", sorted(WHOLE, key=lambda kind: kind.value))
    @ensureDeferred
    async def test_complete_versions_only(self, storage, missing):
        """A version is listed, and in the catalog, from the moment when its third file is there."""
        for kind in set(Kind) - {missing}:
            await storage.put(M, kind, BytesBlob(b"x"))
        assert list(await storage.versions(M.path)) == []
        assert await pages(storage, 10) == [[]]
        await storage.put(M, missing, BytesBlob(b"x"))
        assert list(await storage.versions(M.path)) == [M.version]
        assert await pages(storage, 10) == [[M]]

    @ensureDeferred
    async def test_neighbours(self, storage):
        """Modules whose paths begin alike, or lie within each other, keep their versions apart."""
        paths = ["one.io", "one.io/two", "one.io/two-other", "one.io/two/v2", "one.io/two/v2/sub", "one.io/two.x"]
        versions = [
            ModuleVersion(path, f"v{2 if 'v2' in path and 'sub' not in path else 1}.{number}.0")
            for number, path in enumerate(paths)
        ]
        await put_all(storage, *versions)
        for version in versions:
            assert list(await storage.versions(version.path)) == [version.version]
            assert await read_all(await storage.open(version, Kind.MOD)) == f"{version}.mod".encode()
        assert set(chain(*await pages(storage, 2))) == set(versions)
        await storage.delete(versions[1])
        assert set(chain(*await pages(storage, 100))) == {versions[0], *versions[2:]}

    @ensureDeferred
    async def test_capitals(self, storage):
        """Names that differ in case only are different, in paths and in versions."""
        versions = [
            ModuleVersion(path, version)
            for path in ("example.com/Sirupsen/m", "example.com/sirupsen/m", "example.com/sirupsen/M")
            for version in ("v1.0.0-RC1", "v1.0.0-rc1", "v1.0.0-Rc1")
        ]
        await put_all(storage, *versions)
        for version in versions:
            assert await read_all(await storage.open(version, Kind.ZIP)) == f"{version}.zip".encode()
            assert sorted(await storage.versions(version.path)) == ["v1.0.0-RC1", "v1.0.0-Rc1", "v1.0.0-rc1"]
        assert set(chain(*await pages(storage, 4))) == set(versions)

    @ensureDeferred
    async def test_forms_of_versions(self, storage):
        """Every form of canonical version is kept, also where one is the beginning of another."""
        forms = [
            "v0.0.0",
            "v1.2.3",
            "v1.2.30",
            "v1.2.3-pre",
            "v1.2.3-pre.1",
            "v1.2.3-pre.1.info",
            "v1.2.3-0.20240102030405-abcdef123456",
            "v0.0.0-20240102030405-abcdef123456",
            "v1.2.3-pre.1.mod.zip",
            "v1.2.3-pre.a",
            "v1.2.3-pre.jar",
            "v1.2.3-pre.zz",
            "v2.0.0+incompatible",
            "v2.0.0-rc.1+incompatible",
        ]
        versions = [ModuleVersion(M.path, form) for form in forms]
        await put_all(storage, *versions)
        assert sorted(await storage.versions(M.path)) == sorted(forms)
        for version in versions:
            assert await read_all(await storage.open(version, Kind.INFO)) == f"{version}.info".encode()
        for size in (1, 2, 3):
            found = list(chain(*await pages(storage, size)))
            assert sorted(map(str, found)) == sorted(map(str, versions))

    @ensureDeferred
    async def test_delete(self, storage):
        """Deleting removes every file of one version, incomplete or not, and of no other; then it can be put anew."""
        other = ModuleVersion(M.path, "v1.2.4")
        await put_all(storage, M, other)
        await storage.put(M, Kind.ZIPHASH, BytesBlob(b"h1:"))
        await storage.delete(M)
        for kind in Kind:
            with pytest.raises(NotFound):
                await storage.open(M, kind)
        assert list(await storage.versions(M.path)) == [other.version]
        with pytest.raises(NotFound):
            await storage.delete(M)
        await storage.put(M, Kind.MOD, BytesBlob(b"new"))
        assert await read_all(await storage.open(M, Kind.MOD)) == b"new"
        await storage.delete(M)
        with pytest.raises(NotFound):
            await storage.open(M, Kind.MOD)

    @ensureDeferred
    async def test_empty_catalog(self, storage):
        """A store with nothing in it has a catalog of one empty page."""
        assert await pages(storage, 10) == [[]]

    @ensureDeferred
    async def test_catalog(self, storage):
        """The catalog has every version once and in the same order, whatever the size of its pages."""
        versions = [
            ModuleVersion(path, f"v1.{number}.0")
            for path in ("a.io/m", "a.io/m-x", "a.io/m/sub", "b.io/M", "b.io/m/sub/deep")
            for number in range(70)
        ]
        await put_all(storage, *versions)
        [whole, *rest] = await pages(storage, 1000)
        assert not any(rest)
        assert sorted(map(str, whole)) == sorted(map(str, versions))
        for size in (1, 7, 50, 349, 350, 351):
            parts = await pages(storage, size)
            assert list(chain(*parts)) == whole
            assert all(len(part) == size for part in parts[: len(whole) // size])

    @ensureDeferred
    async def test_catalog_while_things_change(self, storage):
        """Between two pages versions may come and go, even the last one shown: the others are shown once each."""
        versions = [ModuleVersion(f"a.io/m{number:02}", "v1.0.0") for number in range(10)]
        await put_all(storage, *versions)
        first = await storage.page("", 5)
        await storage.delete(first.versions[-1])
        await put_all(storage, ModuleVersion("a.io/m00", "v1.0.1"), ModuleVersion("z.io/m", "v1.0.0"))
        second = await storage.page(first.next, 100)
        shown = [*first.versions, *second.versions]
        assert len(set(shown)) == len(shown)
        assert {*versions, ModuleVersion("z.io/m", "v1.0.0")} <= set(shown)

    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "@",
            "example.com/m",
            "example.com/m@",
            "@v1.2.3",
            "example.com/m@main",
            "example.com/m@v1",
            "example.com/m@v2.0.0",
            "example.com/m@v1.2.3 ",
            "../../etc@v1.2.3",
            "example.com/m@v1.2.3/../../x",
            "example.com/!m@v1.2.3",
            "\N{REPLACEMENT CHARACTER}@v1.2.3",
            "example.com/m@v1.2.3\0",
        ],
    )
    @ensureDeferred
    async def test_bad_token(self, storage, token):
        """A token that no page can have given out is the asker's mistake."""
        await put_all(storage, M)
        with pytest.raises(InvalidRequest):
            await storage.page(token, 10)


def files_below(directory: Path) -> list[Path]:
    """What is really there."""
    return sorted(path for path in directory.rglob("*") if path.is_file())
