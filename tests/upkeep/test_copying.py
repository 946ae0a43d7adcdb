"""Versions are brought into a store."""

from __future__ import annotations

import json

import pytest

from athensd.errors import StorageFailed, UpstreamFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.spool import Spool
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import FolderLayout
from athensd.storage.disk import DiskStorage
from athensd.storage.memory import MemoryStorage
from athensd.upkeep.copying import Copier
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.source import Source, below, catalog, stored
from athensd.upkeep.sums import Sums
from athensd.upkeep.tally import Tally
from tests.bucket.memory import MemoryBucket
from tests.fakes import TIME, at_once, module_zip, result_of
from tests.upkeep.fakes import OTHER, FakeDatabase, M, files_in, flipped, h1_of, put, whole


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


@pytest.fixture
def source(spool):
    return MemoryStorage(spool)


@pytest.fixture(params=["disk", "bucket"])
def target(request, tmp_path, spool):
    """One that is on this machine, and one that is not."""
    if request.param == "disk":
        return DiskStorage(tmp_path / "target", spool, at_once)
    return BucketStorage(MemoryBucket(), FolderLayout())


@pytest.fixture
def said():
    return []


@pytest.fixture
def tally(said):
    return Tally(said.append)


@pytest.fixture
def copy(source, target, spool, tally):
    """Copy a version of the source, or of another one; what was counted for it."""

    def copy(version=M, sums=None, origin=None):
        tally.counts.clear()
        copier = Copier(target, Inspector(at_once, sums or Sums(), copying=True), spool, tally)
        result_of(copier.copy(origin or stored(source, version)))
        return list(tally.counts)

    return copy


def left(tmp_path):
    return [path for path in (tmp_path / "spool").rglob("*") if path.is_dir() and path.parent.parent.name == "spool"]


def test_whole(copy, source, target, tally, tmp_path):
    """All its files are there, byte for byte, and nothing of the work is left."""
    put(source, whole())
    assert copy() == ["copied"]
    assert files_in(target) == whole()
    assert tally.faults == 0
    assert left(tmp_path) == []


def test_zip_last(source, spool, tally, target):
    """Who sees a version in a list can have all of it, and the hash of its zip."""
    order = []

    class Watched:
        open = staticmethod(target.open)

        async def put(self, version, kind, blob):
            order.append(kind)
            await target.put(version, kind, blob)

    put(source, whole())
    result_of(Copier(Watched(), Inspector(at_once, Sums(), copying=True), spool, tally).copy(stored(source, M)))
    assert order[-1] is Kind.ZIP
    assert set(order) == set(Kind)


def test_again(copy, source, target):
    """What is there is passed over without reading its zip."""
    put(source, whole())
    copy()

    async def no_zip(kind):
        blob = await source.open(M, kind)
        assert kind is not Kind.ZIP or blob.length
        return Unread(blob.length) if kind is Kind.ZIP else blob

    assert copy(origin=Source(M, no_zip)) == ["already there"]


class Unread:
    def __init__(self, length):
        self.length = length

    def file(self):
        raise AssertionError("it is read")

    chunks = file


@pytest.mark.parametrize("missing", Kind)
def test_what_was_cut_short_goes_on(copy, source, target, missing):
    """Whichever file was not stored yet is stored now."""
    put(source, whole())
    put(target, {kind: data for kind, data in whole().items() if kind is not missing})
    assert copy() == ["copied"]
    assert files_in(target) == whole()


def test_without_a_hash(copy, source, target):
    """A store of Athens has none; the copy has, and then it is known to be there by its length."""
    put(source, {kind: data for kind, data in whole().items() if kind is not Kind.ZIPHASH})
    assert copy() == ["copied"]
    assert files_in(target) == whole()
    assert copy() == ["already there"]


@pytest.mark.parametrize("kind", [Kind.ZIP, Kind.MOD, Kind.ZIPHASH, Kind.INFO])
def test_damaged(copy, source, target, said, tally, kind):
    """It is named, and nothing of it is stored."""
    changed = {Kind.ZIP: flipped(whole()[Kind.ZIP]), Kind.ZIPHASH: OTHER.encode()}.get(kind, b"something else")
    put(source, {**whole(), kind: changed})
    assert copy() == ["damaged"]
    assert files_in(target) == {}
    assert tally.faults == len(said) == 1
    assert said[0].startswith(f"{M}: ")


def test_conflict(copy, source, target, said):
    """Other files are there under this name: they stay, and nothing is added to them."""
    there = {**whole(), Kind.ZIP: module_zip(M, {"go.mod": whole()[Kind.MOD], "m.go": b"package other\n"})}
    there[Kind.ZIPHASH] = h1_of(there).encode()
    del there[Kind.INFO]
    put(target, there)
    put(source, whole())
    assert copy() == ["conflicts"]
    assert files_in(target) == there
    assert said == [f"{M}: ziphash: other bytes are stored already, and they stay"]


def test_conflict_with_a_zip_without_a_hash(copy, source, target):
    """No hash is put beside a zip that has another one."""
    there = {**whole(), Kind.ZIP: module_zip(M, {"go.mod": whole()[Kind.MOD], "m.go": b"package other\n"})}
    del there[Kind.ZIPHASH]
    put(target, there)
    put(source, whole())
    assert copy() == ["conflicts"]
    assert files_in(target) == there


def test_a_zip_without_a_hash_that_is_the_same(copy, source, target):
    """It gets its hash."""
    put(target, {kind: data for kind, data in whole().items() if kind is not Kind.ZIPHASH})
    put(source, whole())
    assert copy() == ["copied"]
    assert files_in(target) == whole()


def test_another_go_mod_is_a_conflict(copy, source, target):
    """Nothing follows where the first file is another one."""
    put(target, {Kind.MOD: b"module example.com/other\n"})
    put(source, whole())
    assert copy() == ["conflicts"]
    assert list(files_in(target)) == [Kind.MOD]


def test_the_same_in_other_words(copy, source, target):
    """A zip that is packed differently, an .info that tells its origin: no other version, and the first ones stay."""
    files = whole()
    there = {
        **files,
        Kind.ZIP: module_zip(M, {"m.go": b"package m\n", "go.mod": files[Kind.MOD]}, method=0),
        Kind.INFO: json.dumps({"Version": M.version, "Time": TIME, "Origin": {"VCS": "git"}}).encode(),
    }
    assert h1_of(there) == h1_of(files)
    put(source, files)
    put(target, {Kind.INFO: there[Kind.INFO]})
    assert copy() == ["copied"]
    assert files_in(target) == {**files, Kind.INFO: there[Kind.INFO]}
    result_of(target.delete(M))
    put(target, there)
    assert copy() == ["already there"]
    assert files_in(target) == there


def test_an_info_of_another_time(copy, source, target):
    """That is another commit."""
    put(source, whole())
    put(target, {Kind.INFO: json.dumps({"Version": M.version, "Time": "2020-01-01T00:00:00Z"}).encode()})
    assert copy() == ["conflicts"]


def test_a_go_mod_alone(copy, source, target):
    """As it is in a module cache for most versions."""
    put(source, {Kind.MOD: whole()[Kind.MOD], Kind.INFO: whole()[Kind.INFO]})
    assert copy() == ["copied without a zip"]
    assert files_in(target).keys() == {Kind.MOD, Kind.INFO}
    assert copy() == ["already there"]


def test_sums(copy, source, target, said):
    """What the checksum database knows otherwise is not stored, nor what cannot be verified."""
    put(source, whole())
    database = FakeDatabase(failure=UpstreamFailed("it is away"))
    assert copy(sums=Sums(database)) == ["not copied"]
    database.failure = None
    database.records[M] = f"{M.path} {M.version} {OTHER}\n"
    assert copy(sums=Sums(database)) == ["damaged"]
    assert files_in(target) == {}
    assert said[0] == f"{M}: it is away"


def test_a_store_that_fails(copy, source, target, said, tally):
    """The version is named, and the others go on."""

    async def failing(kind):
        raise StorageFailed(f"{M} {kind.value} could not be read: no answer")

    assert copy(origin=Source(M, failing)) == ["not copied"]
    assert said == [f"{M}: zip could not be read: no answer"]
    assert tally.faults == 1


def test_a_whole_catalog(source):
    """Page by page, and only what matches."""
    versions = [ModuleVersion(f"example.com/{letter}", "v1.0.0") for letter in "abc"]
    for version in versions:
        put(source, whole(version), version)

    async def all_of(items):
        return [each async for each in items]

    assert result_of(all_of(catalog(source))) == versions
    assert result_of(all_of(below(catalog(source), "example.com/b,*/c"))) == versions[1:]
    assert result_of(all_of(below(catalog(source), ""))) == versions
