"""The record in a file."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from athensd.audit.file import DAY, FORGOTTEN, AuditFile, Visitor
from athensd.audit.record import Record
from athensd.errors import StorageFailed

M, V = "x.y/m", "v1.0.0"
NOW = 1_800_000_000.0


def record(
    time: float = NOW,
    user: str = "",
    client: str = "10.0.0.1",
    *,
    version: str = V,
    file: str = "zip",
    status: int = 200,
) -> Record:
    return Record(time, user, client, M, version, file, status, 7, "hit", f"id-{time}", "")


@pytest.fixture
def audit(tmp_path: Path) -> AuditFile:
    return AuditFile(tmp_path / "audit", days=10, rows=5)


def times(audit: AuditFile, version: str = V) -> list[float]:
    return [each.time for each in audit.about(M, version, 0)]


def test_all_that_was_recorded(audit: AuditFile) -> None:
    """It comes back as it was, the oldest first, and from a time on."""
    records = [record(NOW + 2, "alice"), record(NOW + 1), record(NOW, version="v1.1.0")]
    audit.add(records, NOW)
    assert list(audit.about(M, V, 0)) == [records[1], records[0]]
    assert list(audit.about(M, V, NOW + 2)) == [records[0]]
    assert list(audit.about("x.y/other", V, 0)) == []


def test_who(audit: AuditFile) -> None:
    """Each login and address, with what they were answered, in the order in which they came."""
    audit.add(
        [
            record(NOW + 1, "alice", "10.0.0.2", file="mod"),
            record(NOW + 2, "alice", "10.0.0.2"),
            record(NOW + 3, "alice", "10.0.0.2", status=403),
            record(NOW, "bob"),
            record(NOW, "carol", version="v1.1.0"),
        ],
        NOW,
    )
    alice, bob = ("alice", "10.0.0.2"), ("bob", "10.0.0.1")
    assert audit.who(M, V, 0) == [
        Visitor(*bob, 200, ("zip",), 1, NOW, NOW),
        Visitor(*alice, 200, ("mod", "zip"), 2, NOW + 1, NOW + 2),
        Visitor(*alice, 403, ("zip",), 1, NOW + 3, NOW + 3),
    ]
    assert [each.status for each in audit.who(M, V, NOW + 2)] == [200, 403]


def test_the_oldest_go(audit: AuditFile) -> None:
    """There are never more than so many, nor any of more than so many days, whenever something is added."""
    audit.add([record(NOW - 11 * DAY), record(NOW - 9 * DAY)], NOW - 9 * DAY)
    assert len(times(audit)) == 2
    audit.add([record(NOW)], NOW)
    assert times(audit) == [NOW - 9 * DAY, NOW]
    audit.add([record(NOW + each) for each in range(1, 6)], NOW)
    assert times(audit) == [NOW + each for each in range(1, 6)]


def test_a_smaller_bound(tmp_path: Path) -> None:
    """What is too much by new settings goes bit by bit, so that no writing takes long."""
    AuditFile(tmp_path / "audit", 10, 10_000).add([record(NOW + each) for each in range(3 * FORGOTTEN)], NOW)
    smaller = AuditFile(tmp_path / "audit", 10, 1)
    left = []
    for each in range(4):
        smaller.add([record(NOW + each, version="v1.1.0")], NOW)
        left.append(len(times(smaller)))
    assert left == [2 * FORGOTTEN, FORGOTTEN, 0, 0]


def test_several_writers(audit: AuditFile, tmp_path: Path) -> None:
    """Processes may share the file."""
    other = AuditFile(tmp_path / "audit", 10, 5)
    for each in range(2):
        audit.add([record(NOW + each)], NOW)
        other.add([record(NOW + each + 0.5)], NOW)
    assert times(audit) == [NOW, NOW + 0.5, NOW + 1, NOW + 1.5]


def test_for_nobody_else(audit: AuditFile, tmp_path: Path) -> None:
    """Who uses what is read by the daemon's user alone."""
    audit.add([record()], NOW)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_a_file_that_was_taken_away(audit: AuditFile, tmp_path: Path) -> None:
    """A new one is begun."""
    audit.add([record()], NOW)
    for file in tmp_path.iterdir():
        file.rename(file.with_name(file.name.replace("audit", "old")))
    audit.add([record(NOW + 1)], NOW)
    assert times(audit) == [NOW + 1]


def test_what_cannot_be_used(audit: AuditFile, tmp_path: Path) -> None:
    """Each reason is said in words, nothing is half added, and the file is used again when it can be."""
    (tmp_path / "audit").mkdir()
    with pytest.raises(StorageFailed, match="Is a directory"):
        audit.add([record()], NOW)
    (tmp_path / "audit").rmdir()
    (tmp_path / "audit").write_text("this is no database, and was never one")
    with pytest.raises(StorageFailed, match="not a database"):
        audit.add([record()], NOW)
    with pytest.raises(StorageFailed, match="not a database"):
        audit.who(M, V, 0)
    (tmp_path / "audit").unlink()
    audit.add([record()], NOW)
    with sqlite3.connect(tmp_path / "audit") as other:
        other.execute("DROP TABLE answers")
    other.close()
    with pytest.raises(StorageFailed, match="no such table"):
        audit.add([record()], NOW)
    audit.add([record()], NOW)
    assert times(audit) == [NOW]
    audit.close()
