"""A database behind a table instead of a network, and all that stands on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from athensd.checksums.cache import Cache
from athensd.checksums.database import ProvenDatabase
from athensd.errors import NotFound
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.spool import Spool
from athensd.sumdb.note import parse_verifier
from tests.fakes import at_once
from tests.rig.sumdb import Database

BIG = ModuleVersion("example.test/Big", "v1.0.0")
SUM = "h1:AAAA="
MOD_SUM = "h1:BBBB="


def version(number: int) -> ModuleVersion:
    """One of the modules with which a database is filled."""
    return ModuleVersion(f"filler.example.test/m{number}", "v1.0.0")


def filled(size: int = 1000) -> Database:
    """A database with ``BIG`` in the middle of it."""
    database = Database()
    database.fill(size // 2)
    database.add(BIG.path, BIG.version, SUM, MOD_SUM)
    database.fill(size)
    return database


def flipped(data: bytes) -> bytes:
    """The same with one bit changed in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class FakeSource:
    """Answers from ``database``, which a test may replace, and remembers what it was asked.

    ``altered`` has changes to answers, by the beginnings of paths.  ``failure`` is raised while it is set.  ``delay``
    is what it waits for.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asked: list[str] = []
        self.altered: dict[str, Callable[[bytes], bytes]] = {}
        self.failure: Exception | None = None
        self.delay: Callable[[], Deferred[None]] = lambda: succeed(None)

    async def ask(self, path: str, limit: int) -> bytes:
        self.asked.append(path)
        await self.delay()
        if self.failure is not None:
            raise self.failure
        answer = self.database.answer(path)
        if answer is None:
            raise NotFound(f"{path}: not found")
        for beginning, change in self.altered.items():
            answer = change(answer) if path.startswith(beginning) else answer
        assert len(answer) <= limit
        return answer

    def again(self) -> list[str]:
        """What was asked since this was called last."""
        asked, self.asked = self.asked, []
        return asked


class House:
    """A database that is asked and kept in a directory, with a clock of its own.

    ``restart`` forgets what is not on disk.
    """

    def __init__(self, root: Path, database: Database, in_thread: Callable[..., Any] = at_once) -> None:
        self.root = root / "sumdb"
        self.clock = Clock()
        self.source = FakeSource(database)
        self.spool = Spool(root / "spool")
        self.flight = MemoryFlight()
        self._in_thread = in_thread
        self.restart()

    def restart(self) -> None:
        self.database = ProvenDatabase(
            parse_verifier(self.source.database.signer.verifier_key),
            self.source,
            Cache(self.root, self.spool),
            self.flight,
            self._in_thread,
            self.clock.seconds,
            fresh=300,
        )

    def kept(self) -> dict[str, bytes]:
        """All files that are kept, by their names."""
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
