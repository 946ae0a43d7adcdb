"""The index in MySQL or MariaDB."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta, timezone
from pathlib import Path

import pymysql
import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs

from athensd.errors import Unsupported
from athensd.index import mysql
from athensd.index.mysql import MySQL, translated
from athensd.index.sql import DatabaseIndex
from tests import servers
from tests.fakes import at_once
from tests.index.contract import all_lines, numbered
from tests.index.server_contract import AZURE, AZURE_TOO, ServerContract


@frozen
class MySQLDoor:
    server: servers.Server

    def connection(self, database):
        server = self.server
        return pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=database or None,
            ssl_disabled=True,
        )

    def execute(self, statement, database=""):
        with self.connection(database) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            connection.commit()
            return cursor.fetchall()

    def throw_out(self, database):
        of_it = f"SELECT id FROM information_schema.processlist WHERE db = '{database}'"
        found = self.execute(of_it)
        for (number,) in found:
            self.execute(f"KILL {number}")
        while self.execute(of_it):
            time.sleep(0.01)
        return len(found)

    def waiting(self):
        return bool(self.execute("SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"))

    def database(self, name, *, silence=30.0, connect=30, tls=False, **others):
        server = self.server
        settings = {
            "protocol": "tcp",
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": name,
            "params": {
                "parseTime": "true",
                "timeout": f"{connect}s",
                "readTimeout": f"{silence}s",
                "tls": "true" if tls else "false",
            },
        }
        return MySQL(**{**settings, **others})


@contextmanager
def running(directory, port=0):
    """The server."""
    with servers.mariadb(directory, port) as server:
        yield MySQLDoor(server)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with running(tmp_path_factory.mktemp("mariadb")) as door:
        door.execute("SET GLOBAL time_zone = '+05:30'")  # which must not matter
        door.execute("CREATE USER clerk IDENTIFIED BY 'pencil'")
        yield door


class TestMySQL(ServerContract):
    athens = (
        """
        CREATE TABLE IF NOT EXISTS indexes(
            id INT AUTO_INCREMENT PRIMARY KEY COMMENT 'Unique identifier for a module line',
            path VARCHAR(255) NOT NULL COMMENT 'Import path of the module',
            version VARCHAR(255) NOT NULL COMMENT 'Module version',
            timestamp TIMESTAMP(6) COMMENT 'Date and time when the module was first created',
            INDEX (timestamp),
            UNIQUE INDEX idx_module_version (path, version)
        ) CHARACTER SET utf8
        """,
    )
    wall = timezone(timedelta(hours=5, minutes=30))  # the server's
    running = staticmethod(running)
    hold_table = "LOCK TABLES indexes WRITE"
    begin_slow = (
        mysql._LOCK,
        "BEGIN",
        "INSERT INTO indexes (path, version, timestamp) "
        "VALUES ('example.com/slow', 'v1.0.0', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR)",
    )
    end_slow = ("COMMIT", mysql._UNLOCK)
    grants = ("GRANT SELECT, INSERT ON indexes TO clerk",)

    @ensureDeferred
    async def test_socket(self, door, name):
        """With the protocol "unix" the host is the path of a socket."""
        [(place, socket)] = door.execute("SELECT @@datadir, @@socket")
        index = DatabaseIndex(door.database(name, protocol="unix", host=str(Path(place, socket))), at_once)
        await index.add(numbered(0))
        assert len(await all_lines(index)) == 1
        await index.close()

    @pytest.mark.usefixtures("athens_table")
    @ensureDeferred
    async def test_athens_table_that_may_not_be_changed(self, door, name):
        """Then modules that differ only by case cannot both be there: that is said once, and of each."""
        for statement in self.grants:
            door.execute(statement, name)
        index = DatabaseIndex(door.database(name, user="clerk", password="pencil"), at_once)
        with capture_logs() as logs:
            await index.add(numbered(5))
            assert len(await all_lines(index)) == 4
            with pytest.raises(Unsupported, match="only by case"):
                await index.add(AZURE_TOO)
            await index.add(AZURE)
            await index.add(numbered(6))
        assert [line["log_level"] for line in logs] == ["warning"]
        assert [line.version for line in await all_lines(index)][2:] == [AZURE, numbered(5), numbered(6)]
        await index.close()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {}),
        ({"parseTime": "true", "timeout": "30s"}, {"connect_timeout": 10}),
        (
            {"timeout": "1500ms", "readTimeout": "1m", "writeTimeout": "2.5s"},
            {"connect_timeout": 1.5, "write_timeout": 2.5},
        ),
        ({"timeout": "0s", "charset": "utf8mb4,utf8", "loc": "Local", "tls": "false"}, {}),
    ],
)
def test_params(params, expected):
    """What Athens' driver takes means the same here; none waits longer than ten and thirty seconds."""
    usual = {"connect_timeout": 10, "read_timeout": 30, "write_timeout": 30, "ssl_disabled": True}
    assert translated(params) == {**usual, **expected}


def test_tls():
    """TLS is as strict as Athens' driver is: by default certificates count."""
    assert translated({"tls": "true"})["ssl"].check_hostname
    assert not translated({"tls": "skip-verify"})["ssl"].check_hostname
    assert "ssl_disabled" not in {**translated({"tls": "true"}), **translated({"tls": "preferred"})}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"timeOut": "30s"}, "timeOut"),
        ({"timeout": "30"}, "timeout"),
        ({"tls": "custom"}, "tls"),
        ({"allowCleartextPasswords": "true"}, "allowCleartextPasswords"),
    ],
)
def test_unknown_params(params, name):
    """What has no meaning is refused by its name."""
    with pytest.raises(ValueError, match=rf"^Index\.MySQL\.Params: {name} "):
        MySQL("tcp", "localhost", 3306, "root", "", "athens", params)


def test_unknown_protocol():
    """There are TCP and sockets."""
    with pytest.raises(ValueError, match=r"^Index\.MySQL\.Protocol "):
        MySQL("udp", "localhost", 3306, "root", "", "athens", {})
