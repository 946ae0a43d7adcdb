"""Where stored files go that turned out to be wrong."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from athensd.blob import BytesBlob
from athensd.checksums.quarantine import Quarantine
from athensd.checksums.unverified import Sum
from athensd.errors import NotFound
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import h1_of_mod
from athensd.interfaces import Kind
from athensd.spool import Spool
from athensd.storage.memory import MemoryStorage
from tests.fakes import at_once, module_files, result_of

M = ModuleVersion("example.test/Big/m", "v1.0.0-RC1")


def test_out_of_the_store_and_not_out_of_the_world(tmp_path):
    """All its files are gone from the store and lie elsewhere, and the log says where; a second time does nothing."""
    storage = MemoryStorage(Spool(tmp_path / "spool"))
    for kind, data in module_files(M).items():
        result_of(storage.put(M, kind, BytesBlob(data)))
    quarantine = Quarantine(storage, tmp_path / "quarantine", at_once)
    result_of(storage.put(M, Kind.ZIPHASH, BytesBlob(b"h1:wrong")))
    with capture_logs() as logs:
        for _ in range(2):
            result_of(quarantine.put(Sum(M, "h1:wrong")))
    for kind, data in module_files(M).items():
        with pytest.raises(NotFound):
            result_of(storage.open(M, kind))
        kept = tmp_path / "quarantine" / "example.test" / "!big" / "m" / f"v1.0.0-!r!c1.{kind.value}"
        assert kept.read_bytes() == data
    assert [(line["event"], line["log_level"], line["module"]) for line in logs] == [("in quarantine", "error", M.path)]


@pytest.mark.parametrize("go_mod", [False, True])
def test_what_was_stored_first_stays(tmp_path, go_mod):
    """Where other bytes than the wrong ones are stored, nothing is taken away."""
    storage = MemoryStorage(Spool(tmp_path / "spool"))
    for kind, data in {**module_files(M), Kind.ZIPHASH: b"h1:right"}.items():
        result_of(storage.put(M, kind, BytesBlob(data)))
    quarantine = Quarantine(storage, tmp_path / "quarantine", at_once)
    result_of(quarantine.put(Sum(M, "h1:wrong", go_mod)))
    assert result_of(storage.open(M, Kind.ZIP))
    right = h1_of_mod(module_files(M)[Kind.MOD]) if go_mod else "h1:right"
    result_of(quarantine.put(Sum(M, right, go_mod)))
    with pytest.raises(NotFound):
        result_of(storage.open(M, Kind.ZIP))


def test_what_was_fetched_and_not_stored(tmp_path):
    """A copy lies in quarantine, the last one of each version, and the store is as it was."""
    storage = MemoryStorage(Spool(tmp_path / "spool"))
    quarantine = Quarantine(storage, tmp_path / "quarantine", at_once)
    with capture_logs() as logs:
        for data in (b"first", b"second"):
            result_of(quarantine.set_aside(M, BytesBlob(data)))
    kept = tmp_path / "quarantine/example.test/!big/m/v1.0.0-!r!c1.fetched.zip"
    assert kept.read_bytes() == b"second"
    assert [(line["event"], line["log_level"], line["file"]) for line in logs] == [
        ("in quarantine", "error", str(kept))
    ] * 2
