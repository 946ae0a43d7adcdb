"""Any datastore, watched: nothing of its promises is lost, and each call is a step."""

from __future__ import annotations

import pytest

from athensd.blob import BytesBlob
from athensd.errors import NotFound, StorageFailed
from athensd.interfaces import ICatalog, IStorage, Kind
from athensd.spool import Spool
from athensd.storage.memory import MemoryStorage
from athensd.storage.watched import WatchedStorage
from tests.fakes import Steps, result_of
from tests.storage.contract import M, StorageContract


class TestWatched(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return WatchedStorage(MemoryStorage(Spool(tmp_path / "spool")))


def test_each_call_is_a_step(tmp_path, steps: Steps):
    """It says what was done to which file, how long that is, and how it failed."""
    storage = WatchedStorage(MemoryStorage(Spool(tmp_path)))
    with pytest.raises(NotFound):
        result_of(storage.open(M, Kind.MOD))
    result_of(storage.put(M, Kind.MOD, BytesBlob(b"module m\n")))
    result_of(storage.open(M, Kind.MOD))
    result_of(storage.versions(M.path))
    result_of(storage.page("", 10))
    result_of(storage.check())
    result_of(storage.delete(M))
    about = {"module": M.path, "version": M.version}
    assert [(step.name, step.facts, type(step.error)) for step in steps.closed_ones] == [
        ("storage.open", {"kind": "mod", **about}, NotFound),
        ("storage.put", {"kind": "mod", "bytes": 9, **about}, type(None)),
        ("storage.open", {"kind": "mod", "bytes": 9, **about}, type(None)),
        ("storage.versions", {"module": M.path}, type(None)),
        ("storage.page", {}, type(None)),
        ("storage.check", {}, type(None)),
        ("storage.delete", about, type(None)),
    ]


def test_a_catalog_only_where_there_is_one(tmp_path):
    """What a store cannot do is not promised for it."""

    class Plain:
        """A store without a catalog."""

    assert ICatalog.providedBy(WatchedStorage(MemoryStorage(Spool(tmp_path))))
    plain = WatchedStorage(Plain())
    assert IStorage.providedBy(plain)
    assert not ICatalog.providedBy(plain)


def test_who_is_told_of_what_is_gone(tmp_path):
    """Also when the store gives up in the middle: by then a part may be gone."""
    gone = []

    class Failing(MemoryStorage):
        async def delete(self, version):
            raise StorageFailed("in the middle")

    for kind, error in ((MemoryStorage, NotFound), (Failing, StorageFailed)):
        with pytest.raises(error):
            result_of(WatchedStorage(kind(Spool(tmp_path / kind.__name__)), gone.append).delete(M))
    assert gone == [M, M]
