"""The index in PostgreSQL."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC

import psycopg
import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred

from athensd.errors import Unsupported
from athensd.gomod.version import ModuleVersion
from athensd.index import postgres
from athensd.index.postgres import Postgres, translated
from tests import servers
from tests.index.contract import LONG, all_lines, numbered
from tests.index.server_contract import ServerContract


@frozen
class PostgresDoor:
    server: servers.Server

    def connection(self, database):
        server = self.server
        return psycopg.connect(
            host=server.host, port=server.port, user=server.user, password=server.password, dbname=database
        )

    def execute(self, statement, database=""):
        with self.connection(database or "postgres") as connection:
            connection.autocommit = True
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def throw_out(self, database):
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = '{database}' AND backend_type = 'client backend'"
            )
        )

    def waiting(self):
        return bool(self.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))

    def database(self, name, *, silence=30.0, connect=30, tls=False, **others):
        server = self.server
        settings = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": name,
            "params": {"connect_timeout": str(connect), "sslmode": "require" if tls else "disable"},
        }
        return Postgres(**{**settings, **others}, silence=silence)


@contextmanager
def running(directory, port=0):
    """The server."""
    with servers.postgres(directory, port) as server:
        yield PostgresDoor(server)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with running(tmp_path_factory.mktemp("postgres")) as door:
        door.execute("ALTER USER postgres SET timezone = 'Asia/Kolkata'")  # which must not matter
        door.execute("CREATE USER clerk PASSWORD 'pencil'")
        yield door


class TestPostgres(ServerContract):
    athens = (
        """
        CREATE TABLE IF NOT EXISTS indexes(
            id SERIAL PRIMARY KEY,
            path VARCHAR(255) NOT NULL,
            version VARCHAR(255) NOT NULL,
            timestamp timestamp NOT NULL
        )
        """,
        "CREATE INDEX IF NOT EXISTS idx_timestamp ON indexes (timestamp)",
        "CREATE UNIQUE INDEX IF NOT EXISTS idx_module_version ON indexes (path, version)",
    )
    wall = UTC  # nobody wrote down which it was
    running = staticmethod(running)
    hold_table = "LOCK TABLE indexes"
    begin_slow = (
        postgres._LOCK,
        "INSERT INTO indexes (path, version, timestamp) "
        "VALUES ('example.com/slow', 'v1.0.0', clock_timestamp() AT TIME ZONE 'UTC' + interval '1 hour')",
    )
    end_slow = ("COMMIT",)
    grants = ("GRANT SELECT, INSERT ON indexes TO clerk", "GRANT USAGE ON SEQUENCE indexes_id_seq TO clerk")

    @pytest.mark.usefixtures("athens_table")
    @ensureDeferred
    async def test_too_long_for_athens(self, index):
        """Athens' table is not changed: what it cannot hold is told."""
        with pytest.raises(Unsupported, match="too long"):
            await index.add(ModuleVersion(f"example.com/{LONG}", "v1.0.0"))
        await index.add(numbered(3))
        assert (await all_lines(index))[-1].version == numbered(3)

    @ensureDeferred
    async def test_serializable(self, door, name, index):
        """Where transactions see only what was there when they began, those of the index do not."""
        door.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        await self.slow_writer(door, name, index)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"connect_timeout": 10}),
        ({"connect_timeout": "30", "sslmode": "disable"}, {"connect_timeout": 10, "sslmode": "disable"}),
        ({"connect_timeout": "3"}, {"connect_timeout": 3}),
        ({"connect_timeout": "0"}, {"connect_timeout": 10}),
        ({"binary_parameters": "yes", "TimeZone": "UTC"}, {"connect_timeout": 10}),
        ({"search_path": "my schema"}, {"connect_timeout": 10, "options": "-c search_path=my\\ schema"}),
        (
            {"search_path": "a", "options": "-c x=1"},
            {"connect_timeout": 10, "options": "-c x=1 -c search_path=a"},
        ),
        (
            {"options": "-c x=1", "search_path": "a"},
            {"connect_timeout": 10, "options": "-c x=1 -c search_path=a"},
        ),
        (
            {"sslmode": "verify-ca", "sslrootcert": "/etc/ca.pem"},
            {"connect_timeout": 10, "sslmode": "verify-ca", "sslrootcert": "/etc/ca.pem"},
        ),
    ],
)
def test_params(params, expected):
    """What Athens' driver takes means the same here; none waits longer than ten seconds for a connection."""
    assert translated(params) == expected


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"conect_timeout": "30"}, "conect_timeout"),
        ({"connect_timeout": "30s"}, "connect_timeout"),
        ({"sslmode": "on"}, "sslmode"),
        ({"password": "sesame"}, "password"),
        ({"host": "elsewhere"}, "host"),
    ],
)
def test_unknown_params(params, name):
    """What has no meaning is refused by its name; the value is not shown."""
    with pytest.raises(ValueError, match=rf"^Index\.Postgres\.Params: {name} ") as raised:
        Postgres("localhost", 5432, "postgres", "", "athens", params)
    assert "sesame" not in str(raised.value)
