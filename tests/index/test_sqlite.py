"""The index in a file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athensd.errors import StorageFailed
from athensd.index.sql import DatabaseIndex
from athensd.index.sqlite import SQLite
from tests.fakes import at_once, result_of
from tests.index.contract import BEGINNING, MICROSECOND, DatabaseContract, numbered

START = datetime(2024, 1, 1, tzinfo=UTC)


class TestSQLite(DatabaseContract):
    @pytest.fixture
    def database(self, tmp_path):
        return SQLite(tmp_path / "new" / "index.sqlite")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index.sqlite"


def lines(file):
    """All lines, for a process that has just begun."""
    return result_of(DatabaseIndex(SQLite(file), at_once).since(BEGINNING, 1000))


def test_the_clock_goes_back(file):
    """A clock that is set back, here or in another process before, does not bring a line before another."""
    for number, seconds in enumerate((0, -5, 0, 9)):
        index = DatabaseIndex(SQLite(file, lambda seconds=seconds: START + timedelta(seconds=seconds)), at_once)
        result_of(index.add(numbered(number)))
    found = lines(file)
    assert [line.version for line in found] == [numbered(number) for number in range(4)]
    assert [line.when - START for line in found] == [
        0 * MICROSECOND,
        MICROSECOND,
        2 * MICROSECOND,
        timedelta(seconds=9),
    ]


ADD_FOR_EVER = """
import sys
from pathlib import Path
from athensd.index.sqlite import SQLite
from tests.index.contract import numbered
database = SQLite(Path(sys.argv[1]))
connection = database.connect()
for number in range(1_000_000):
    database.add(connection, numbered(number))
    print(number, flush=True)
"""


def test_killed(file):
    """What was added is there after ``kill -9``, with nothing to repair."""
    with subprocess.Popen(
        [sys.executable, "-c", ADD_FOR_EVER, file], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as process:
        said = [process.stdout.readline() for _ in range(50)]
        process.kill()
        said += process.stdout.readlines()
    count = len([each for each in said if each.endswith("\n")])
    found = [line.version for line in lines(file)]
    assert found[:count] == [numbered(number) for number in range(count)]
    assert len(found) - count in {0, 1}


@pytest.mark.parametrize("spoil", ["a directory", "no database", "unwritable"])
def test_unusable(tmp_path, spoil):
    """A file that cannot be used is a failure in a few words, without its path; the next try may go well."""
    file = tmp_path / "place" / "index.sqlite"
    if spoil == "a directory":
        file.mkdir(parents=True)
    elif spoil == "no database":
        file.parent.mkdir()
        file.write_bytes(b"not a database " * 1000)
    else:
        file.parent.write_text("")
    index = DatabaseIndex(SQLite(file), at_once)
    for work in (lambda: index.add(numbered(1)), lambda: index.since(BEGINNING, 1)):
        with pytest.raises(StorageFailed, match=r"^the index cannot be used: [a-z ]+$"):
            result_of(work())
    (file if spoil == "no database" else file.parent).rename(tmp_path / "away")
    result_of(index.add(numbered(1)))
    assert [line.version for line in lines(file)] == [numbered(1)]


def test_others_may_read(file):
    """While somebody else reads, lines are added, and he sees none of them before he begins anew."""
    index = DatabaseIndex(SQLite(file), at_once)
    result_of(index.add(numbered(0)))
    with sqlite3.connect(file) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM indexes").fetchone() == (1,)
        result_of(index.add(numbered(1)))
        assert other.execute("SELECT count(*) FROM indexes").fetchone() == (1,)
    other.close()
    assert len(lines(file)) == 2
