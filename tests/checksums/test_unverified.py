"""What is remembered as unverified."""

from __future__ import annotations

from pathlib import Path

import structlog

from athensd.checksums.unverified import Sum, Unverified, parse_sum
from athensd.gomod.version import ModuleVersion
from athensd.spool import Spool
from tests.checksums.fakes import BIG

SUMS = [
    Sum(BIG, "h1:a="),
    Sum(BIG, "h1:b=", go_mod=True),
    Sum(ModuleVersion("example.test/m", "v2.0.0+incompatible"), "h1:c="),
]


def test_a_line() -> None:
    """A sum is a line of go.sum, and such a line is a sum."""
    assert SUMS[1].line == "example.test/Big v1.0.0/go.mod h1:b=\n"
    assert [parse_sum(each.line) for each in SUMS] == SUMS


def test_they_stay_until_they_are_removed(tmp_path: Path) -> None:
    """What was added is there for whoever starts next, once; what was removed is not."""
    spool = Spool(tmp_path / "spool")
    first = Unverified(tmp_path / "unverified", spool)
    assert first.all() == []
    for each in [*SUMS, *SUMS]:
        first.add(each)
    second = Unverified(tmp_path / "unverified", spool)
    assert sorted(second.all(), key=SUMS.index) == SUMS
    for _ in range(2):
        second.remove(SUMS[0])
    assert sorted(first.all(), key=SUMS.index) == SUMS[1:]


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    """A file that holds no line is named in the log, and the others are still found."""
    unverified = Unverified(tmp_path / "unverified", Spool(tmp_path / "spool"))
    unverified.add(SUMS[0])
    (tmp_path / "unverified" / "odd").write_text("")
    with structlog.testing.capture_logs() as logs:
        assert unverified.all() == SUMS[:1]
    assert [(line["log_level"], line["file"]) for line in logs] == [("error", "odd")]
