"""What is noted of answers, and written later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from athensd.audit import recorder as recording
from athensd.audit.file import AuditFile
from athensd.audit.record import Record
from athensd.audit.recorder import EVERY, Recorder
from athensd.web.access import Alike
from tests.fakes import Steps, at_once, result_of, start


def event(path: str = "/go/x.y/m/@v/v1.0.0.zip", **more: object) -> dict[str, Any]:
    """The line of a request."""
    line = {"event": "incoming request", "http-method": "GET", "http-path": path, "http-status": 200, "module": "x.y/m"}
    return {**line, "version": "v1.0.0", "bytes": 7, "cache": "hit", "client": "10.0.0.1", "request-id": "id", **more}


class Room:
    """A recorder, and what it works with."""

    def __init__(self, place: Path) -> None:
        self.file = AuditFile(place / "audit", 10, 1000)
        self.clock = Clock()
        self.lines: list[dict[str, Any]] = []
        self.recorder = Recorder(
            self.file, self.clock, at_once, self.clock.seconds, prefix="/go", trace=lambda: {"trace-id": "t"}
        )
        self.answered = self.recorder.before(self.write)
        self.recorder.start()

    def write(self, line: dict[str, Any], alike: Any = None) -> None:
        self.lines.append({**(alike.event if alike else {}), **line})
        line.clear()  # as the log takes it to pieces

    def wait(self) -> list[tuple[str, Any]]:
        """What is logged within the time in which all is written."""
        with capture_logs() as lines:
            self.clock.advance(EVERY)
        return [(line["event"], line.get("reason", line.get("lost"))) for line in lines]

    def records(self) -> list[Record]:
        return list(self.file.about("x.y/m", "v1.0.0", 0))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_record(room: Room, steps: Steps) -> None:
    """It has what the line has, the file that the path means, and the trace; the line itself is written as before."""
    room.clock.advance(EVERY)
    room.answered(event(user="alice"))
    room.answered(event(**{"http-status": 403}))
    assert room.lines == [event(user="alice"), event(**{"http-status": 403})]
    assert room.wait() == []
    one = Record(1.0, "alice", "10.0.0.1", "x.y/m", "v1.0.0", "zip", 200, 7, "hit", "id", "t")
    assert room.records() == [one, one._replace(user="", status=403)]
    assert [step.facts for step in steps.named("audit")] == [{"records": 2, "lost": 0}]


def test_a_line_in_two_parts(room: Room) -> None:
    """As the fast lane gives it, with what it has in common with others."""
    alike = Alike(event())
    own = {name: alike.event.pop(name) for name in ("client", "request-id")}
    for _ in range(2):
        room.answered(dict(own), alike)
    assert room.lines == [event()] * 2
    assert room.wait() == []
    assert [(record.client, record.status) for record in room.records()] == [("10.0.0.1", 200)] * 2


def test_a_path_in_other_letters(room: Room) -> None:
    """Who writes the @ as %40 is recorded all the same."""
    room.answered(event("/go/x.y/m/%40v/v1.0.0.zip"))
    assert room.wait() == []
    assert [record.file for record in room.records()] == ["zip"]


def test_whoever_only_looks(room: Room) -> None:
    """By HEAD nobody is given a version, and who had it is what the record is asked for."""
    room.answered(event(**{"http-method": "HEAD"}))
    assert room.wait() == []
    assert (len(room.lines), room.records()) == (1, [])


@pytest.mark.parametrize("path", ["/go/", "/go/healthz", "/go/x.y/@v/%ff.zip", "*"])
def test_what_is_about_no_file(room: Room, path: str) -> None:
    """It has its line, and no record."""
    room.answered(event(path))
    assert room.wait() == []
    assert (len(room.lines), room.records()) == (1, [])


def test_what_cannot_be_written(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once; as much as there is room for is kept and written later, and what is lost is counted."""
    monkeypatch.setattr(recording, "MOST", 3)
    (tmp_path / "audit").unlink()
    (tmp_path / "audit").mkdir()
    for number in range(2):
        room.answered(event(bytes=number))
    assert room.wait() == [("answers are not recorded", f"{tmp_path}/audit: Is a directory")]
    for number in range(2, 7):
        room.answered(event(bytes=number))
        assert room.wait() == []
    assert len(room.lines) == 7
    (tmp_path / "audit").rmdir()
    assert room.wait() == [("answers are recorded again", 4)]
    assert [record.bytes for record in room.records()] == [0, 1, 2]
    room.answered(event(bytes=8))
    assert room.wait() == []
    assert len(room.records()) == 4


def test_from_the_start(tmp_path: Path) -> None:
    """Whether it can be written is seen at once, and not when the first answer is given."""
    (tmp_path / "audit").mkdir()
    with capture_logs() as lines:
        room = Room(tmp_path)
    assert [line["event"] for line in lines] == ["answers are not recorded"]
    (tmp_path / "audit").rmdir()
    assert room.wait() == [("answers are recorded again", 0)]
    assert room.records() == []


def test_the_end(tmp_path: Path) -> None:
    """What is being written is finished, and what was noted since is written too."""
    room = Room(tmp_path)
    threads: list[Deferred[None]] = []

    async def later(function: Any, *arguments: Any) -> Any:
        threads.append(Deferred())
        await threads[-1]
        return function(*arguments)

    room.recorder._in_thread = later
    room.answered(event())
    room.wait()
    room.answered(event())
    stopped = start(room.recorder.stop())
    for number in range(3):  # two writings, and closing the file
        assert not stopped.called
        threads[number].callback(None)
    result_of(stopped)
    assert len(room.records()) == 2
    assert room.clock.getDelayedCalls() == []
