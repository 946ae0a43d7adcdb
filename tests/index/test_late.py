"""An index that is away for a while."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from athensd.errors import StorageFailed, Unsupported
from athensd.index.late import LONGEST, PATIENCE, PAUSE, LateIndex
from athensd.index.memory import MemoryIndex
from athensd.interfaces import IIndex
from tests.fakes import at_once, result_of, start
from tests.index.contract import BEGINNING, IndexContract, numbered

FAR = "the index is away: what it misses is added later"
BACK = "the index has caught up"


@implementer(IIndex)
class Remote(MemoryIndex):
    """An index whose server is away, or silent, or refuses what is in ``refused``, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.silent = False
        self.refused: set[Any] = set()
        self.asked = 0

    async def add(self, version):
        await self._reach()
        if version in self.refused:
            raise Unsupported("its path or version is too long")
        await super().add(version)

    async def since(self, when, limit):
        await self._reach()
        return await super().since(when, limit)

    async def _reach(self) -> None:
        self.asked += 1
        if self.silent:
            await Deferred()
        if self.away:
            raise StorageFailed("no connection to its database")


class Room:
    """A late index and all that is around it; ``live`` begins another life of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.remote = Remote()
        self.live()

    def live(self) -> None:
        self.late = LateIndex(self.remote, self.root, self.clock, at_once)
        self.late.start()

    def versions(self):
        """Those that are in the index."""
        return [line.version for line in result_of(MemoryIndex.since(self.remote, BEGINNING, 1000))]

    def journal(self) -> list[str]:
        """What is on disk."""
        return sorted(path.read_text() for path in self.root.iterdir()) if self.root.exists() else []


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path / "journal")


class TestLateIndex(IndexContract):
    """With an index that works it is that index."""

    @pytest.fixture
    def make(self, room):
        return lambda: room.late


def events(logs):
    return [line["event"] for line in logs]


def test_well(room):
    """While all is well nothing is written to disk, nothing is said, and nothing is to be done later."""
    assert verifyObject(IIndex, room.late)
    with capture_logs() as logs:
        result_of(room.late.add(numbered(1)))
    assert (room.versions(), room.journal(), logs) == ([numbered(1)], [], [])
    assert room.clock.getDelayedCalls() == []


def test_away(room):
    """Adding goes well while the index is away; one line says when that begins, and one when all is added."""
    room.remote.away = True
    with capture_logs() as logs:
        for number in range(3):
            result_of(room.late.add(numbered(number)))
        assert room.remote.asked == 2  # at the start, and by the first one: the others do not wait for it
        assert room.journal() == [f"example.com/m v1.{number}.0\n" for number in range(3)]
        for _ in range(5):
            room.clock.advance(PAUSE)
        assert room.remote.asked == 7
        assert (events(logs), logs[0]["log_level"]) == ([FAR], "info")
        assert logs[0]["reason"] == "no connection to its database"
        room.remote.away = False
        assert room.versions() == []
        room.clock.advance(PAUSE)
    assert room.versions() == [numbered(0), numbered(1), numbered(2)]
    assert (events(logs), logs[1]["log_level"], logs[1]["versions"]) == ([FAR, BACK], "info", 3)
    assert (room.journal(), room.late.size, room.clock.getDelayedCalls()) == ([], 0, [])
    result_of(room.late.add(numbered(9)))
    assert room.versions()[-1] == numbered(9)


def test_away_at_the_start(tmp_path):
    """An index that is away at the start is told at once, and tried until it is there, though nothing is late."""
    room = Room(tmp_path)
    room.remote.away = True
    with capture_logs() as logs:
        room.live()
        assert events(logs) == [FAR]
        room.clock.advance(PAUSE)
        room.remote.away = False
        room.clock.advance(PAUSE)
    assert (events(logs), room.clock.getDelayedCalls()) == ([FAR, BACK], [])


def test_goes_away_again_in_the_middle(room):
    """What was caught up is not tried again."""
    room.remote.away = True
    for number in range(4):
        result_of(room.late.add(numbered(number)))
    add, room.remote.away = room.remote.add, False

    async def twice(version):
        await add(version)
        room.remote.away = len(room.versions()) == 2

    room.remote.add = twice
    room.clock.advance(PAUSE)
    assert (room.versions(), len(room.journal()), room.late.size) == ([numbered(0), numbered(1)], 2, 2)
    room.remote.away = False
    room.clock.advance(PAUSE)
    assert (room.versions(), room.journal()) == ([numbered(number) for number in range(4)], [])


def test_another_life(room):
    """What was late when the process was killed is added by the next one."""
    room.remote.away = True
    for number in range(3):
        result_of(room.late.add(numbered(number)))
    room.remote.away = False
    with capture_logs() as logs:
        room.live()
    assert sorted(room.versions(), key=str) == [numbered(number) for number in range(3)]
    assert (room.journal(), events(logs), logs[0]["versions"]) == ([], [BACK], 3)


def test_killed_before_it_was_forgotten(room):
    """What was added and is in the journal still keeps its line."""
    room.remote.away = True
    result_of(room.late.add(numbered(1)))
    room.remote.away = False
    result_of(MemoryIndex.add(room.remote, numbered(1)))
    before = result_of(room.remote.since(BEGINNING, 10))
    room.live()
    assert result_of(room.remote.since(BEGINNING, 10)) == before
    assert room.journal() == []


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from athensd.index.journal import Journal
from tests.index.contract import numbered
journal = Journal(Path(sys.argv[1]))
for number in range(1_000_000):
    journal.add(numbered(number))
    print(number, flush=True)
"""


def test_killed_while_it_is_written(room):
    """After ``kill -9`` all that was to be added later is in the journal, and nothing in it is in the way."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, room.root], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as process:
        said = [process.stdout.readline() for _ in range(50)]
        process.kill()
        said += process.stdout.readlines()
    count = len([each for each in said if each.endswith("\n")])
    with capture_logs() as logs:
        room.live()
    assert events(logs) == [BACK]
    assert set(room.versions()) >= {numbered(number) for number in range(count)}
    assert room.late.size == 0


def test_silent(room):
    """A download waits a few seconds for an index that does not answer, and the next ones do not wait at all."""
    room.remote.silent = True
    with capture_logs() as logs:
        first = start(room.late.add(numbered(0)))
        room.clock.advance(PATIENCE - 0.1)
        assert not first.called
        room.clock.advance(0.1)
        result_of(first)
        result_of(room.late.add(numbered(1)))
    assert (events(logs), logs[0]["reason"]) == ([FAR], "the index did not answer within 5 seconds")
    room.remote.silent = False
    room.clock.advance(PAUSE)
    assert room.versions() == [numbered(0), numbered(1)]


def test_silent_while_catching_up(room):
    """A try that gets no answer ends, and there is another one."""
    room.remote.away = True
    result_of(room.late.add(numbered(0)))
    room.remote.away, room.remote.silent = False, True
    room.clock.advance(PAUSE)
    room.remote.silent = False
    room.clock.advance(LONGEST)
    assert room.versions() == []
    room.clock.advance(PAUSE)
    assert room.versions() == [numbered(0)]


def test_asked_while_away(room):
    """Whoever asks an index that is away is told so, and one that is silent too."""
    room.remote.away = True
    with pytest.raises(StorageFailed, match="no connection to its database"):
        result_of(room.late.since(BEGINNING, 1))
    room.remote.silent = True
    asked = start(room.late.since(BEGINNING, 1))
    room.clock.advance(LONGEST)
    with pytest.raises(StorageFailed, match="did not answer within 30 seconds"):
        result_of(asked)


def test_what_can_never_be_added(room):
    """It is one error line and is not tried again, whether the index was there or not."""
    room.remote.refused = {numbered(0), numbered(1)}
    with capture_logs() as logs:
        result_of(room.late.add(numbered(0)))
        room.remote.away = True
        for number in (1, 2):
            result_of(room.late.add(numbered(number)))
        room.remote.away = False
        room.clock.advance(PAUSE)
    errors = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], line["version"]) for line in errors] == [
        ("a version cannot be in the index", "v1.0.0"),
        ("a version cannot be in the index", "v1.1.0"),
    ]
    assert (room.versions(), room.journal(), room.clock.getDelayedCalls()) == ([numbered(2)], [], [])


def test_whoever_stored_it_has_no_more_time(room):
    """A version whose download was ended while it was added is added later."""
    room.remote.silent = True
    adding = start(room.late.add(numbered(0)))
    adding.cancel()
    with pytest.raises(CancelledError):
        result_of(adding)
    room.remote.silent = False
    room.clock.advance(PAUSE)
    assert (room.versions(), room.journal()) == ([numbered(0)], [])


def test_no_journal(room):
    """Where the journal cannot be written an error line says so, and what is late is added if this process lives."""
    room.root.parent.mkdir(exist_ok=True)
    room.root.write_text("no directory")
    room.remote.away = True
    with capture_logs() as logs:
        result_of(room.late.add(numbered(0)))
    assert ("error", "v1.0.0") in {(line["log_level"], line.get("version")) for line in logs}
    room.remote.away = False
    room.clock.advance(PAUSE)
    assert room.versions() == [numbered(0)]


def test_rubbish_in_the_journal(room):
    """A file that holds no version is named in the log and keeps nothing back."""
    room.remote.away = True
    result_of(room.late.add(numbered(0)))
    (room.root / "0.late").write_text("what is that")
    (room.root / "1.late").mkdir()
    room.remote.away = False
    with capture_logs() as logs:
        room.live()
    assert {line["file"] for line in logs if line["log_level"] == "error"} == {"0.late", "1.late"}
    assert room.versions() == [numbered(0)]


def test_a_fault_of_ours(room):
    """What nobody foresaw is logged, and tried again."""
    room.remote.away = True
    result_of(room.late.add(numbered(0)))
    add, room.remote.away = room.remote.add, False

    async def broken(version):
        raise ZeroDivisionError

    room.remote.add = broken
    with capture_logs() as logs:
        room.clock.advance(PAUSE)
    assert [line["log_level"] for line in logs] == ["error"]
    room.remote.add = add
    room.clock.advance(PAUSE)
    assert room.versions() == [numbered(0)]


def test_stop(room):
    """After the end nothing is tried any more; what is late is in the journal."""
    room.remote.away = True
    result_of(room.late.add(numbered(0)))
    result_of(room.late.stop())
    assert room.clock.getDelayedCalls() == []
    room.live()
    room.remote.away, room.remote.silent = False, True
    room.clock.advance(PAUSE)
    result_of(room.late.stop())
    assert room.clock.getDelayedCalls() == []
    assert (room.versions(), len(room.journal())) == ([], 1)
