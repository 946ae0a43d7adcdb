"""The file of what is revoked: written, and watched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from twisted.internet.task import Clock

from athensd.policy.revoked import Revoked
from athensd.tombstones import EVERY, TombstoneWatch, append_line
from tests.fakes import Steps, at_once, files_of_at_most

ONE, OTHER = (f"revoked x.y/m@v1.{minor}.0 2026-11-24T00:00:00Z because" for minor in (0, 1))


class Watched:
    """A file, what is made of it, and the time."""

    def __init__(self, place: Path) -> None:
        self.file = place / "place/revoked"
        self.clock = Clock()
        self.told: list[set[str]] = []
        self.watch = TombstoneWatch(self.file, self.clock, at_once, self.changed)

    def changed(self, revoked: Revoked) -> None:
        self.told.append({stone.version.version for stone in revoked})

    def look(self) -> list[str]:
        """What is complained of at the next look."""
        with capture_logs() as lines:
            self.clock.advance(EVERY)
        return [line["problems"] for line in lines if line["log_level"] == "error"]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    watched = Watched(tmp_path)
    watched.watch.start()
    return watched


def test_appending(tmp_path: Path) -> None:
    """Lines come after those that are there, whether their last one has an end or not."""
    file = tmp_path / "new/revoked"
    append_line(file, ONE)
    append_line(file, OTHER)
    assert file.read_text() == f"{ONE}\n{OTHER}\n"
    file.write_text("# by hand")
    append_line(file, ONE)
    assert file.read_text() == f"# by hand\n{ONE}\n"


def test_appending_where_there_is_no_room(tmp_path: Path) -> None:
    """A part of a line would take away the sense of all that was revoked before: the file is left as it was."""
    file = tmp_path / "revoked"
    append_line(file, ONE)
    with files_of_at_most(len(ONE) + 20), pytest.raises(OSError, match="too large"):
        append_line(file, OTHER)
    assert file.read_text() == f"{ONE}\n"


def test_no_look_tells_the_same(watched: Watched, steps: Steps) -> None:
    """It is read when it is there, and again when it is another one; until then nothing is done."""
    watched.look()
    assert watched.told == []
    append_line(watched.file, ONE)
    for _ in range(3):
        watched.look()
    assert watched.told == [{"v1.0.0"}]
    append_line(watched.file, OTHER)
    watched.look()
    assert watched.told[1:] == [{"v1.0.0", "v1.1.0"}]
    assert [step.facts["revoked"] for step in steps.named("tombstones")] == [1, 2]
    watched.watch.stop()
    watched.file.write_text("")
    watched.look()
    assert len(watched.told) == 2


def test_another_file_of_the_same_length(watched: Watched) -> None:
    """One that takes its place is seen, with whatever time it claims."""
    append_line(watched.file, ONE)
    watched.look()
    before = watched.file.stat()
    other = watched.file.with_name("other")
    other.write_text(f"{OTHER}\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(watched.file)
    watched.look()
    assert watched.told == [{"v1.0.0"}, {"v1.1.0"}]


def test_nothing_is_let_through_by_mistake(watched: Watched) -> None:
    """A fault is said once, and what was revoked stays so: nonsense, a file that cannot be read, is empty, or gone."""
    append_line(watched.file, ONE)
    watched.look()
    append_line(watched.file, "nonsense")
    assert [problem.partition(":2: ")[2] for problem in watched.look()] == [
        "must be revoked or restored, MODULE@VERSION, a time and a reason"
    ]
    assert watched.look() == []
    watched.file.unlink()
    watched.file.mkdir()
    assert watched.look() == ["Is a directory"]
    assert watched.look() == []
    watched.file.rmdir()
    assert watched.look() == ["it is gone"]
    assert watched.look() == []
    watched.file.touch()
    assert watched.look() == ["it is empty"]
    assert watched.look() == []
    assert watched.told == [{"v1.0.0"}]
    append_line(watched.file, OTHER)
    assert watched.look() == []
    assert watched.told[1:] == [{"v1.1.0"}]
