"""The record of all answers, in a file of SQLite: lines are added at its end, and the oldest go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from athensd.audit.record import Record
from athensd.errors import StorageFailed

if TYPE_CHECKING:
    from sqlite3 import Connection

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS answers (
        id INTEGER PRIMARY KEY,
        time REAL NOT NULL,  -- seconds since 1970
        user TEXT NOT NULL,
        client TEXT NOT NULL,
        module TEXT NOT NULL,
        version TEXT NOT NULL,
        file TEXT NOT NULL,
        status INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        cache TEXT NOT NULL,
        request TEXT NOT NULL,
        trace TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS answers_version ON answers (module, version, time);
"""
_COLUMNS = ", ".join(Record._fields)
# A statement for each record would have the interpreter's lock go back and forth as often, with hits waiting for it.
_VALUES = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(Record._fields)))
_ADD = f"INSERT INTO answers ({_COLUMNS}) SELECT {_VALUES} FROM json_each(?)"  # noqa: S608 - all of it is ours
AT_ONCE = 200
"""So many records are added by one statement."""
# Ids grow, and so do times but for a clock that is set back: the oldest are where the ids begin.
_FORGET = """
    DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY id LIMIT ?)
    AND (time < ? OR id <= (SELECT max(id) FROM answers) - ?)
"""
_ABOUT = f"SELECT {_COLUMNS} FROM answers WHERE module = ? AND version = ? AND time >= ? ORDER BY time"  # noqa: S608
_WHO = """
    SELECT user, client, status, group_concat(DISTINCT file), count(*), min(time), max(time) FROM answers
    WHERE module = ? AND version = ? AND time >= ? GROUP BY user, client, status ORDER BY min(time)
"""
DAY = 86400
FORGOTTEN = 1000
"""Whenever something is added, so many of the oldest are looked at, and twice as many as are added."""


@frozen
class Visitor:
    """Somebody who has asked for a version, by login and address: what for, how often, and from when to when.

    All times are in seconds since 1970.
    """

    user: str
    client: str
    status: int
    files: tuple[str, ...]
    count: int
    first: float
    last: float


class AuditFile:
    """Records of at most ``days``, and at most ``rows`` of them.  Several processes of one machine may share ``file``.

    Everything here blocks, and raises ``StorageFailed``; the constructor raises ``ImportError`` where Python was built
    without SQLite.
    """

    def __init__(self, file: Path, days: int, rows: int) -> None:
        import sqlite3

        self._library = sqlite3
        self._file = file
        self._days = days
        self._rows = rows
        self._connection: Connection | None = None
        self._number = 0  # of the open file, by its inode

    def add(self, records: Sequence[Record], now: float) -> None:
        """Add all of these or none; ``now`` is the time that old ones are held against."""
        looked_at = max(FORGOTTEN, 2 * len(records))
        try:
            with self._failing():
                with self._opened() as connection:
                    for start in range(0, len(records), AT_ONCE):
                        connection.execute(_ADD, [json.dumps(records[start : start + AT_ONCE])])
                    connection.execute(_FORGET, (looked_at, now - self._days * DAY, self._rows))
        except StorageFailed:
            self.close()  # by the next time the file may be another one
            raise

    def about(self, module: str, version: str, since: float) -> Iterator[Record]:
        """Every answer about a version, the oldest first."""
        with self._failing(), closing(self._reader()) as reader:
            for row in reader.execute(_ABOUT, (module, version, since)):
                yield Record(*row)

    def who(self, module: str, version: str, since: float) -> list[Visitor]:
        """Who has asked for a version, in the order of their first answers."""
        with self._failing(), closing(self._reader()) as reader:
            rows = reader.execute(_WHO, (module, version, since)).fetchall()
        return [
            Visitor(user, client, status, tuple(sorted(files.split(","))), *rest)
            for user, client, status, files, *rest in rows
        ]

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> Connection:
        # Somebody may have taken it away: then it begins anew.
        if self._connection is not None and not (self._file.exists() and self._file.stat().st_ino == self._number):
            self.close()
        self._connection = self._connection or self._connect()
        return self._connection

    def _connect(self) -> Connection:
        # It says who uses what: that is for nobody else.
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        self._number = self._file.stat().st_ino
        connection = self._library.connect(self._file, timeout=10, check_same_thread=False)
        try:
            # Who asks does not wait for who writes.  A power cut takes the last moments, as a kill does.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reader(self) -> Connection:
        return self._library.connect(f"{self._file.absolute().as_uri()}?mode=ro", timeout=10, uri=True)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._library.Error) as error:
            raise StorageFailed(f"{self._file}: {getattr(error, 'strerror', None) or error}") from error
