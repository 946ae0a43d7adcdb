"""Module zips: what is refused, why, and the hash of what is not."""

import base64
import hashlib
import io
import random
import tracemalloc
import zipfile

import pytest

from athensd.errors import VerificationFailed
from athensd.gomod import ziphash, zipread
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod, simple_fold

VERSION = ModuleVersion("example.com/m", "v1.2.3")


def h1(*files):
    """The hash as the documentation of dirhash gives it, written out once more."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def test_hash_of_a_go_mod():
    """A go.mod hashes as a directory that holds nothing else; the value is one of a published module."""
    data = b"module github.com/pkg/errors\n"
    assert h1_of_mod(data) == h1(("go.mod", data)) == "h1:bwawxfHBFNV+L2hUp1rHADufV3IMtnDRdf1r5NINEl0="


def test_hash_of_a_zip(zip_of):
    """The hash covers names in sorted order and contents; the go.mod comes with it."""
    data = zip_of({"z": b"last", "go.mod": b"module example.com/m\n", "a/B": b""})
    checked = check_zip(io.BytesIO(data), VERSION)
    prefix = "example.com/m@v1.2.3/"
    names = (f"{prefix}a/B", b""), (f"{prefix}go.mod", b"module example.com/m\n"), (f"{prefix}z", b"last")
    assert checked.h1 == h1(*names)
    assert checked.go_mod == b"module example.com/m\n"


def test_zip_without_go_mod(zip_of):
    """A module of old may have no go.mod."""
    assert check_zip(io.BytesIO(zip_of({"a.go": b"package a"})), VERSION).go_mod is None


def test_packing_does_not_matter(zip_of):
    """The same files give the same hash in another order and packed in another way."""
    files = [("go.mod", b"module example.com/m\n"), ("a.go", b"package a\n" * 100000)]
    deflated = check_zip(io.BytesIO(zip_of(files)), VERSION)
    stored = check_zip(io.BytesIO(zip_of(files[::-1], method=zipfile.ZIP_STORED)), VERSION)
    assert deflated == stored


def test_legal_zips(tmp_path, legal_zip):
    """Every kind of legal zip has the hash of its files, from memory and from an unbuffered file, which stays open."""
    with zipfile.ZipFile(io.BytesIO(legal_zip)) as archive:
        files = sorted((name, archive.read(name)) for name in archive.namelist())
    assert check_zip(io.BytesIO(legal_zip), VERSION).h1 == h1(*files)
    path = tmp_path / "m.zip"
    path.write_bytes(legal_zip)
    with path.open("rb", buffering=0) as file:
        assert check_zip(file, VERSION).h1 == h1(*files)
        assert not file.closed


def test_checksum_behind_a_member(legal_zips):
    """The checksum behind a member counts where there is one."""
    data = legal_zips["streamed"].replace(b"PK\x07\x08", b"PK\x07\x09", 1)
    with pytest.raises(VerificationFailed, match="checksum"):
        check_zip(io.BytesIO(data), VERSION)


def test_hostile_zips_are_refused(hostile_zip):
    """Each illegal zip is refused by the rule that it breaks."""
    data, rule = hostile_zip
    with pytest.raises(VerificationFailed) as refusal:
        check_zip(io.BytesIO(data), VERSION)
    assert rule in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("limit, rule", [(10000, "total uncompressed size"), (100, "larger than 100 bytes")])
def test_limit_of_size(monkeypatch, zip_of, limit, rule):
    """The limit holds for the packed zip and for what all its files declare together."""
    monkeypatch.setattr(ziphash, "MAX_ZIP", limit)
    data = zip_of({"a": bytes(6000), "b": bytes(6000)})
    with pytest.raises(VerificationFailed, match=rule):
        check_zip(io.BytesIO(data), VERSION)


def test_bomb_is_not_inflated(zip_of, monkeypatch):
    """A member that inflates beyond its declared size is given up after one piece."""
    inflated = []
    crc32 = zipread.zlib.crc32
    monkeypatch.setattr(zipread.zlib, "crc32", lambda data, *start: inflated.append(len(data)) or crc32(data, *start))
    data = zip_of({"a": bytes(50 << 20)})
    inflated.clear()
    at = data.index(b"PK\x01\x02") + 24
    with pytest.raises(VerificationFailed, match="larger than its declared size"):
        check_zip(io.BytesIO(data[:at] + (1000).to_bytes(4, "little") + data[at + 4 :]), VERSION)
    assert sum(inflated) <= 1000


def test_memory(zip_of, tmp_path):
    """A large member passes through in pieces."""
    path = tmp_path / "m.zip"
    path.write_bytes(zip_of({"a": random.Random(1).randbytes(1 << 20) * 20}))
    tracemalloc.start()
    try:
        with path.open("rb", buffering=0) as file:
            check_zip(file, VERSION)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("a", "A", True),
        ("k", "\u212a", True),
        ("s", "\u017f", True),
        ("\u00df", "\u1e9e", True),
        ("\u00df", "ss", False),
        ("\u0130", "i", False),
        ("\u1f80", "\u1f88", True),
        ("\u03c3", "\u03c2", True),
    ],
)
def test_simple_folding(one, other, same):
    """Names collide under Go's simple case folding, one character for one."""
    assert (simple_fold(one) == simple_fold(other)) is same
