"""The blobs of this machine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athensd.blob import CHUNK, BytesBlob, FileBlob, HeldBlob, read_all
from tests.fakes import result_of


async def pieces(blob, start=0, stop=None):
    """All that comes."""
    return [piece async for piece in blob.chunks(start, stop)]


@given(st.binary(max_size=50), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_parts(tmp_path, data, drawn):
    """Bytes and a file with the same content give the same parts: those of a slice."""
    path = tmp_path / "file"
    path.write_bytes(data)
    start = drawn.draw(st.integers(0, len(data)))
    stop = drawn.draw(st.none() | st.integers(start, len(data)))
    for blob in (BytesBlob(data), FileBlob(path, len(data))):
        assert blob.length == len(data)
        assert b"".join(result_of(pieces(blob, start, stop))) == data[start:stop]


def test_pieces_are_bounded(tmp_path):
    """A large file comes by pieces of which none is large and none is empty."""
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * CHUNK + 1))
    assert [len(piece) for piece in result_of(pieces(FileBlob(path, 3 * CHUNK + 1)))] == [CHUNK, CHUNK, CHUNK, 1]
    assert [len(piece) for piece in result_of(pieces(FileBlob(path, 3 * CHUNK + 1), 5, CHUNK + 6))] == [CHUNK, 1]


def test_nothing(tmp_path):
    """An empty blob has no pieces."""
    path = tmp_path / "file"
    path.touch()
    for blob in (BytesBlob(b""), FileBlob(path, 0)):
        assert result_of(pieces(blob)) == []
        assert result_of(read_all(blob)) == b""


def test_file_that_became_shorter(tmp_path):
    """A file that ends before its length is an error, not the end."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    with pytest.raises(OSError, match="shorter") as caught:
        result_of(read_all(FileBlob(path, 6)))
    assert caught.value.strerror == "file is shorter than it was"
    assert str(tmp_path) not in str(caught.value)


def test_file(tmp_path):
    """A file gives itself, opened anew each time; bytes have no file."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    blob = FileBlob(path, 5)
    with blob.file() as one, blob.file() as other:
        assert one.read(2) == other.read(2) == b"12"
    assert BytesBlob(b"12345").file() is None


def test_a_file_without_a_name(tmp_path):
    """It is taken away from its place, can be read as often as one likes, in parts too, and is gone with its holder."""
    path = tmp_path / "zip"
    path.write_bytes(b"0123456789")
    held = HeldBlob(path)
    assert not path.exists()
    assert held.length == 10
    for _ in range(2):
        assert result_of(read_all(held)) == b"0123456789"
    assert result_of(gathered(held.chunks(3, 5))) == b"34"


async def gathered(chunks):
    return b"".join([piece async for piece in chunks])
