"""Where stored files go that turned out to be wrong."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from athensd.blob import BytesBlob
from athensd.checksums.quarantine import Quarantine
from athensd.checksums.unverified import Sum
from athensd.errors import NotFound
from athensd.gomod.version import ModuleVersion
from athensd.spool import Spool
from athensd.storage.memory import MemoryStorage
from tests.fakes import module_files, result_of

M = ModuleVersion("example.test/Big/m", "v1.0.0-RC1")


def test_out_of_the_store_and_not_out_of_the_world(tmp_path):
    """All its files are gone from the store and lie elsewhere, and the log says where; a second time does nothing."""
    storage = MemoryStorage(Spool(tmp_path / "spool"))
    for kind, data in module_files(M).items():
        result_of(storage.put(M, kind, BytesBlob(data)))
    quarantine = Quarantine(storage, tmp_path / "quarantine")
    with capture_logs() as logs:
        for _ in range(2):
            result_of(quarantine.put(Sum(M, "h1:wrong")))
    for kind, data in module_files(M).items():
        with pytest.raises(NotFound):
            result_of(storage.open(M, kind))
        kept = tmp_path / "quarantine" / "example.test" / "!big" / "m" / f"v1.0.0-!r!c1.{kind.value}"
        assert kept.read_bytes() == data
    assert [(line["event"], line["log_level"], line["module"]) for line in logs] == [("in quarantine", "error", M.path)]
