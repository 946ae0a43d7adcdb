"""The datastore in memory."""

from __future__ import annotations

import pytest

from athensd.blob import BytesBlob
from athensd.errors import Conflict, StorageFailed
from athensd.interfaces import Kind
from athensd.spool import Spool
from athensd.storage.memory import MemoryStorage
from tests.fakes import result_of
from tests.storage.contract import BrokenBlob, M, StorageContract, files_below


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return MemoryStorage(Spool(tmp_path / "spool"))


def test_zips_are_files(tmp_path):
    """No zip is whole in memory, and nothing is kept of one that was refused, broken or deleted."""
    storage = MemoryStorage(Spool(tmp_path))
    result_of(storage.put(M, Kind.MOD, BytesBlob(b"module example.com/m\n")))
    assert files_below(tmp_path) == []
    with pytest.raises(StorageFailed):
        result_of(storage.put(M, Kind.ZIP, BrokenBlob()))
    assert files_below(tmp_path) == []
    result_of(storage.put(M, Kind.ZIP, BytesBlob(b"zip")))
    result_of(storage.put(M, Kind.ZIP, BytesBlob(b"zip")))
    with pytest.raises(Conflict):
        result_of(storage.put(M, Kind.ZIP, BytesBlob(b"another")))
    [file] = files_below(tmp_path)
    assert file.read_bytes() == b"zip"
    result_of(storage.delete(M))
    assert files_below(tmp_path) == []
