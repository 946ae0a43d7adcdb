"""Is this version what it says it is?"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from athensd.blob import BytesBlob, FileBlob
from athensd.checksums.verifier import Exempt
from athensd.errors import NotFound, StorageFailed, UpstreamFailed
from athensd.gomod.ziphash import MAX_GO_MOD, MAX_ZIP
from athensd.interfaces import Kind
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.source import Source
from athensd.upkeep.sums import Sums
from tests.fakes import at_once, module_zip, result_of
from tests.upkeep.fakes import OTHER, FakeDatabase, M, flipped, h1_of, whole


def source(files):
    """A version that is on another machine."""

    async def open_(kind):
        if kind not in files:
            raise NotFound("not there")
        return files[kind] if hasattr(files[kind], "chunks") else BytesBlob(files[kind])

    return Source(M, open_)


@pytest.fixture
def inspect(tmp_path):
    def inspect(files, sums=None, **options):
        return result_of(Inspector(at_once, sums or Sums(), **options).inspect(source(files), tmp_path))

    return inspect


def test_sound(inspect):
    """All its files are read, and the hash of the zip is known."""
    files = whole()
    found = inspect(files)
    assert (found.faults, found.there, found.h1) == ([], frozenset(Kind), h1_of(files))
    assert found.recorded == found.h1
    assert found.go_mod == files[Kind.MOD]


GO_MOD = b"module example.com/other\n"
FAULTS = {
    "a bit of the zip": ({Kind.ZIP: flipped(whole()[Kind.ZIP])}, "zip member"),
    "the end of the zip": ({Kind.ZIP: whole()[Kind.ZIP][:-30]}, "this is not a zip"),
    "an empty zip": ({Kind.ZIP: b""}, "this is not a zip"),
    "another zip": ({Kind.ZIP: module_zip(M, {"m.go": b"package other\n"})}, "recorded is h1:"),
    "the hash": ({Kind.ZIPHASH: OTHER.encode()}, f"recorded is {OTHER}"),
    "an empty hash": ({Kind.ZIPHASH: b""}, "recorded is nothing"),
    "the go.mod": ({Kind.MOD: GO_MOD}, "the go.mod in the zip differs"),
    "an .info of another version": ({Kind.INFO: b'{"Version":"v1.2.4"}'}, "speaks of v1.2.4"),
    "an empty .info": ({Kind.INFO: b""}, "the .info document is not JSON"),
    "an .info of zeros": ({Kind.INFO: bytes(200)}, "the .info document is not JSON"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(inspect, name):
    """One file that is not what it was is one fault, in words."""
    changed, text = FAULTS[name]
    [fault] = inspect({**whole(), **changed}).faults
    assert text in fault


@pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD, Kind.ZIP, Kind.ZIPHASH])
def test_any_flipped_bit(inspect, kind):
    """In a small file, or in what a zip contains, no bit can be another one.

    A ``.info`` is an exception: what it says beside its version is known from nowhere else.
    """
    files = whole()
    if kind is Kind.INFO:
        at = files[kind].index(b"v1.2.3")
        places = range(at, at + 6)
    elif kind is Kind.ZIP:
        name, extra = (int.from_bytes(files[kind][at : at + 2], "little") for at in (26, 28))
        places = range(30 + name + extra, 30 + name + extra + 10)
    else:
        places = range(len(files[kind]))
    for at in places:
        assert inspect({**files, kind: flipped(files[kind], at)}).faults, at


def test_what_is_not_there_is_no_fault(inspect):
    """Of many versions the go command needs no more than the go.mod."""
    files = whole()
    found = inspect({Kind.MOD: files[Kind.MOD]})
    assert (found.faults, found.there, found.h1, found.recorded) == ([], {Kind.MOD}, "", "")


def test_a_module_without_a_go_mod(inspect):
    """It has the one that Go makes up for it, with which no zip can be compared."""
    files = {**whole(), Kind.ZIP: module_zip(M, {"m.go": b"package m\n"})}
    files[Kind.ZIPHASH] = h1_of(files).encode()
    assert inspect(files).faults == []


class Huge:
    """A blob that nobody could want to read."""

    def __init__(self, length):
        self.length = length

    def file(self):
        raise AssertionError("it is read")

    chunks = file


@pytest.mark.parametrize(("kind", "limit"), [(Kind.MOD, MAX_GO_MOD), (Kind.INFO, MAX_GO_MOD), (Kind.ZIP, MAX_ZIP)])
def test_too_large(inspect, kind, limit):
    """What Go would not take is not read at all."""
    assert inspect({**whole(), kind: Huge(limit + 1)}).faults == [f"the {kind.value} file is larger than {limit} bytes"]


class Broken:
    """A file on a disk that fails."""

    length = 10

    def file(self):
        return None

    async def chunks(self, start=0, stop=None):
        yield b"12345"
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("kind", Kind)
def test_a_file_that_cannot_be_read(inspect, kind):
    """That is not known to be wrong: it is an error of the store."""
    with pytest.raises(StorageFailed, match=f"{M} {kind.value} could not be read: Input/output error"):
        inspect({**whole(), kind: Broken()})


def test_a_local_zip_is_read_where_it_is(inspect, tmp_path):
    """It is copied only when that was asked for; then the copy is what was verified, whatever becomes of the file."""
    files = whole()
    original = tmp_path / "original"
    original.write_bytes(files[Kind.ZIP])
    local = FileBlob(original, len(files[Kind.ZIP]))
    assert inspect({**files, Kind.ZIP: local}).files[Kind.ZIP] == local
    copied = inspect({**files, Kind.ZIP: local}, copying=True).files[Kind.ZIP]
    original.write_bytes(b"something else")
    assert isinstance(copied, FileBlob)
    assert copied.path.read_bytes() == files[Kind.ZIP]


def test_sums(inspect):
    """What the database says otherwise is a fault, of the zip and of the go.mod; what it does not know is none."""
    database = FakeDatabase()
    sums = Sums(database)
    assert inspect(whole(), sums).faults == []
    database.knows(whole())
    assert inspect(whole(), sums).faults == []
    database.records[M] = f"{M.path} {M.version} {OTHER}\n"
    faults = inspect(whole(), sums).faults
    assert [fault.split(" has the hash")[0] for fault in faults] == ["the zip", "the go.mod"]
    assert f"sum.example.test has {OTHER}" in faults[0]
    assert "sum.example.test has none of it" in faults[1]


def test_sums_of_a_go_mod_alone(inspect):
    """It is verified too, where there is no zip."""
    database = FakeDatabase()
    database.knows(whole())
    [fault] = inspect({Kind.MOD: GO_MOD}, Sums(database)).faults
    assert fault.startswith("the go.mod has the hash h1:")


def test_private_modules_are_told_to_nobody(inspect):
    """Of what is exempt the database is not asked."""
    database = FakeDatabase()
    assert inspect(whole(), Sums(database, Exempt(goprivate="example.com"))).faults == []
    assert database.asked == []


def test_a_database_that_is_away(inspect):
    """Then nothing is known."""
    with pytest.raises(UpstreamFailed):
        inspect(whole(), Sums(FakeDatabase(failure=UpstreamFailed("it is away"))))


def test_nothing_but_what_is_named_is_written(inspect, tmp_path):
    """Only a zip is copied to this machine."""
    inspect(whole())
    assert [path.name for path in Path(tmp_path).iterdir()] == ["zip"]
