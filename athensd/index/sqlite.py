"""The index in a file of its own, in the process itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from athensd.gomod.version import ModuleVersion
from athensd.index.memory import utc_now
from athensd.index.sql import Row

if TYPE_CHECKING:
    from sqlite3 import Connection

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS indexes (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        version TEXT NOT NULL,
        timestamp INTEGER NOT NULL UNIQUE,  -- microseconds since 1970
        UNIQUE (path, version)
    )
"""
# Writers exclude each other while a statement runs.
_ADD = """
    INSERT INTO indexes (path, version, timestamp)
    VALUES (?, ?, max(?, coalesce((SELECT max(timestamp) + 1 FROM indexes), 0)))
    ON CONFLICT (path, version) DO NOTHING
"""
_SINCE = "SELECT path, version, timestamp FROM indexes WHERE timestamp >= ? ORDER BY timestamp LIMIT ?"


class SQLite:
    """A ``Database`` in ``file``.  Several processes of one machine may share it; a network file system will not do.

    Raises ``ImportError`` where Python was built without SQLite.
    """

    def __init__(self, file: Path, now: Callable[[], datetime] = utc_now) -> None:
        import sqlite3

        self.errors = (sqlite3.Error, OSError)
        self._library = sqlite3
        self._file = file
        self._now = now

    def connect(self) -> Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Other threads may use it, one at a time; each statement is a transaction.
        connection = self._library.connect(self._file, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            # Readers and the writer do not wait for each other.  It is a property of the file, and fails at once when
            # another process uses the file just now, which has then set it.
            with suppress(self._library.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def add(self, connection: Connection, version: ModuleVersion) -> None:
        connection.execute(_ADD, (version.path, version.version, _number(self._now())))

    def since(self, connection: Connection, when: datetime, limit: int) -> Sequence[Row]:
        rows = connection.execute(_SINCE, (_number(when), limit)).fetchall()
        return [(path, version, _BEGINNING + number * _MICROSECOND) for path, version, number in rows]

    def reason(self, error: Exception) -> str:
        """SQLite's own words are few, and name nothing; those of the system are of no use without the path."""
        return "its directory cannot be written" if isinstance(error, OSError) else f"{error}"


def _number(when: datetime) -> int:
    return (when - _BEGINNING) // _MICROSECOND
