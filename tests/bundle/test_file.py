"""A bundle as a file: written, read, cut short, tampered with."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from athensd.blob import BytesBlob, FileBlob
from athensd.bundle.manifest import database_name, ending, file_name, header, manifest_text, padding
from athensd.bundle.reading import Bundle, Slice
from athensd.bundle.writing import Writer
from athensd.errors import StorageFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.sumdb.signer import new_signer
from tests.fakes import files_of_at_most, result_of

SIGNER = new_signer("us.example")
M = ModuleVersion("example.com/Greeting", "v1.0.0")
N = ModuleVersion("example.com/word", "v1.2.3")
LONG = ModuleVersion(f"example.com/{'long/' * 30}name", "v1.0.0")
SUM = ("sumdb/sum.example.test/latest", b"a head\n")


def files(version: ModuleVersion, content: bytes = b"") -> list[tuple[str, BytesBlob]]:
    return [(file_name(version, kind), BytesBlob(content + str(version).encode())) for kind in (Kind.MOD, Kind.INFO)]


def write(path: Path, *versions: ModuleVersion) -> Path:
    with Writer(path) as writer:
        for version in versions:
            writer.add(files(version))
        writer.add([(SUM[0], BytesBlob(SUM[1]))])
        writer.finish(SIGNER)
    return path


def check(path: Path) -> dict[str, bytes]:
    """All files of a bundle, if each is what was signed."""
    with Bundle(path, SIGNER.verifier) as bundle:
        for entry in bundle.entries:
            bundle.check(entry)
        return {entry.name: bundle.read(entry) for entry in bundle.entries}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Names and bytes; an empty file and a long name too; and nothing else is left lying about."""
    path = tmp_path / "a.bundle"
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 4096)
    with Writer(path) as writer:
        writer.add([(file_name(M, Kind.ZIP), FileBlob(large, 1 << 20)), (file_name(M, Kind.MOD), BytesBlob(b""))])
        writer.add(files(LONG))
        assert writer.finish(SIGNER) == path.stat().st_size
    found = check(path)
    assert found[file_name(M, Kind.ZIP)] == large.read_bytes()
    assert found[file_name(M, Kind.MOD)] == b""
    assert len(found) == 4
    with Bundle(path, SIGNER.verifier) as bundle:
        assert {version: set(kinds) for version, kinds in bundle.versions().items()} == {
            M: {Kind.ZIP, Kind.MOD},
            LONG: {Kind.INFO, Kind.MOD},
        }
        entry = bundle.find(file_name(M, Kind.ZIP))
        assert entry
        assert result_of(pieces(bundle.blob(entry), 1000, 600_000)) == large.read_bytes()[1000:600_000]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.bundle", "large"]


async def pieces(blob: Slice, start: int, stop: int) -> bytes:
    return b"".join([piece async for piece in blob.chunks(start, stop)])


def test_it_is_a_tar_file(tmp_path: Path) -> None:
    """Unpacked by anybody's tar, it is a folder in the layout of the download protocol."""
    with tarfile.open(write(tmp_path / "a.bundle", M, LONG)) as archive:
        names = archive.getnames()
        unpacked = archive.extractfile("example.com/!greeting/@v/v1.0.0.mod")
        assert unpacked
        assert unpacked.read() == str(M).encode()
    assert names == [*(name for version in (M, LONG) for name, _ in files(version)), SUM[0], "athensd-bundle"]


def test_any_byte(tmp_path: Path) -> None:
    """One that is changed anywhere, one that is missing or one too many, and it is refused with words."""
    path = write(tmp_path / "a.bundle", M)
    data = path.read_bytes()
    # The last bits of the last letter of the signature say nothing, to Go neither.
    idle = data.rindex(b"=") - 1
    with path.open("r+b", buffering=0) as file:
        for at in {*range(len(data))} - {idle}:
            os.pwrite(file.fileno(), bytes([data[at] ^ 1]), at)
            with pytest.raises(VerificationFailed):
                check(path)
            os.pwrite(file.fileno(), data[at : at + 1], at)
    check(path)
    for other in (data[:-1], data + b"\0", data[:-512], data + bytes(512), data[512:], data[: len(data) // 2], b""):
        path.write_bytes(other)
        with pytest.raises(VerificationFailed):
            check(path)


def test_another_key(tmp_path: Path) -> None:
    """A signature of somebody else is none, whatever he calls himself."""
    path = write(tmp_path / "a.bundle", M)
    with pytest.raises(VerificationFailed, match="no verifiable signatures"):
        Bundle(path, new_signer(SIGNER.name).verifier)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("athensd bundle 2\n", "newer athensd"),
        ("athensd bundle 1\nwhat\n", "malformed"),
        (f"athensd bundle 1\n{'a' * 64} 1 a b\n", "malformed"),
        (f"athensd bundle 1\n{'a' * 64} 01 a\n", "malformed"),
        (f"athensd bundle 1\n{'a' * 64} 0 a\n{'a' * 64} 0 a\n", "twice"),
        (f"athensd bundle 1\n{'a' * 64} 999999999999 a\n", "were signed"),
    ],
)
def test_a_manifest_that_makes_no_sense(tmp_path: Path, text: str, reason: str) -> None:
    """It is refused, though it is signed."""
    path = tmp_path / "a.bundle"
    path.write_bytes(ending(SIGNER.sign(text)))
    with pytest.raises(VerificationFailed, match=reason):
        Bundle(path, SIGNER.verifier)


@pytest.mark.parametrize(
    "name", ["example.com/m/@v/list", "m/@v/v1.0.0.mod", "../@v/v1.0.0.mod", "example.com/M/@v/v1.mod"]
)
def test_a_name_that_is_no_modules(tmp_path: Path, name: str) -> None:
    """It is refused, though it is signed."""
    path = tmp_path / "a.bundle"
    with Writer(path) as writer:
        writer.add([(name, BytesBlob(b""))])
        writer.finish(SIGNER)
    with Bundle(path, SIGNER.verifier) as bundle, pytest.raises(VerificationFailed, match="no module has a file"):
        bundle.versions()


def test_the_name_of_the_database(tmp_path: Path) -> None:
    """It may have a path; two of them are refused."""
    path = tmp_path / "a.bundle"
    with Writer(path) as writer:
        writer.add(files(M))
        assert database_name(writer.entries) == ""
        writer.add([("sumdb/sum.example.test/go/latest", BytesBlob(b""))])
        assert database_name(writer.entries) == "sum.example.test/go"
        writer.add([(SUM[0], BytesBlob(b""))])
        with pytest.raises(VerificationFailed, match="one database"):
            database_name(writer.entries)


def test_it_goes_on(tmp_path: Path) -> None:
    """What was whole before an interruption is kept, but for the answers, which are taken anew; so nothing is twice."""
    path = tmp_path / "a.bundle"
    with Writer(path) as writer:
        writer.add(files(M))
        writer.add(files(N))
    with (tmp_path / "a.bundle.part").open("ab") as part, (tmp_path / "a.bundle.part.lines").open("a") as lines:
        part.write(b"half a file")
        lines.write(f"{'a' * 64} 20 {file_name(LONG, Kind.MOD)}\n")
    with Writer(path) as writer:
        assert writer.versions() == [M, N]
        writer.add([(SUM[0], BytesBlob(b"an older head\n"))])
    assert not path.exists()
    write(path, LONG)
    assert path.read_bytes() == write(tmp_path / "other.bundle", M, N, LONG).read_bytes()


@pytest.mark.parametrize("lost", [1, 512, 2500])
def test_it_goes_on_after_a_loss(tmp_path: Path, lost: int) -> None:
    """What cannot be read as it was written is not believed, nor what follows: bytes changed, or missing at the end."""
    path, part = tmp_path / "a.bundle", tmp_path / "a.bundle.part"
    with Writer(path) as writer:
        for version in (M, N, LONG):
            writer.add(files(version))
    data = part.read_bytes()
    start = data.index(str(N).encode())
    for damaged in (data[:start] + bytes(lost) + data[start + lost :], data[: start + 7]):
        part.write_bytes(damaged)
        with Writer(path) as writer:
            assert writer.versions() == [M]
            writer.add(files(N))
            writer.add(files(LONG))
    (tmp_path / "a.bundle.part.lines").write_text("junk\n\n")
    assert check(write(path, M)) == check(write(tmp_path / "other.bundle", M))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """Two would mix; and what is finished is not begun again."""
    path = tmp_path / "a.bundle"
    with Writer(path) as writer:
        with pytest.raises(StorageFailed, match="somebody else"):
            Writer(path)
        writer.finish(SIGNER)
    with pytest.raises(StorageFailed, match="is there already"):
        Writer(path)
    with pytest.raises(StorageFailed, match="No such file or directory"):
        Writer(tmp_path / "nowhere" / "a.bundle")


def test_another_one_finishes_at_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at the name and the lock: what was finished is not taken for something to go on with."""
    path, part = tmp_path / "a.bundle", tmp_path / "a.bundle.part"
    data = write(path, M).read_bytes()
    path.rename(part)

    def late(descriptor: int, how: int) -> None:
        part.rename(path)

    monkeypatch.setattr("fcntl.flock", late)
    with pytest.raises(StorageFailed, match="is there already"):
        Writer(path)
    assert path.read_bytes() == data


def test_there_is_no_room(tmp_path: Path) -> None:
    """It is said, of small files too, which are written when it is closed; and with more room it goes on."""
    path = tmp_path / "a.bundle"
    with pytest.raises(StorageFailed, match="cannot be written"), files_of_at_most(3000), Writer(path) as writer:
        writer.add(files(M))
        writer.add(files(N))
    with Writer(path) as writer:
        assert writer.versions() == [M]


def test_the_blocks_are_those_of_tar() -> None:
    """Nothing in them depends on when, where or by whom they are written."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a" * 120)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    whole = header("a" * 120, 3) + b"abc" + padding(3)
    assert out.getvalue().startswith(whole)
    assert not out.getvalue().removeprefix(whole).strip(b"\0")
    assert manifest_text([]) == "athensd bundle 1\n"
