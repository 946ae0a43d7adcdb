"""The index in PostgreSQL."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Timer
from typing import TYPE_CHECKING, Any

from athensd.errors import Unsupported
from athensd.gomod.version import ModuleVersion
from athensd.index.sql import Row

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_TIMEOUT = 10
SILENCE = 30.0

# The key of the lock, which is for all who write to this table.
_LOCK = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'athensd')})"
# Of this transaction, since a pool may lend the session to others afterwards.  The last one is for those who wait for
# a lock whose holder stands still.
_LIMITS = """
    SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '20s', true),
        set_config('idle_in_transaction_session_timeout', '20s', true)
"""
_IS_THERE = "SELECT to_regclass('indexes') IS NOT NULL"
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS indexes (
        id SERIAL PRIMARY KEY,
        path TEXT NOT NULL,
        version TEXT NOT NULL,
        timestamp TIMESTAMP NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS idx_timestamp ON indexes (timestamp)",
    "CREATE UNIQUE INDEX IF NOT EXISTS idx_module_version ON indexes (path, version)",
)
_KNOWN = "SELECT 1 FROM indexes WHERE path = %s AND version = %s"
_ADD = """
    INSERT INTO indexes (path, version, timestamp)
    SELECT %s, %s, greatest(clock_timestamp() AT TIME ZONE 'UTC', max(timestamp) + interval '1 microsecond')
    FROM indexes
    ON CONFLICT DO NOTHING
"""
_SINCE = "SELECT path, version, timestamp FROM indexes WHERE timestamp >= %s ORDER BY timestamp, id LIMIT %s"

# Athens' driver calls most of them as libpq does.
_PASSED_ON = frozenset(
    {
        *("application_name", "channel_binding", "fallback_application_name", "gssencmode", "krbsrvname", "options"),
        *("sslcert", "sslcrl", "sslkey", "sslmode", "sslpassword", "sslrootcert", "sslsni", "target_session_attrs"),
    }
)
# They say how a driver for Go speaks with the server, and how it writes values.
_WITHOUT_MEANING = frozenset(
    {
        *("binary_parameters", "client_encoding", "datestyle", "disable_prepared_binary_result", "extra_float_digits"),
        *("timezone", "TimeZone"),
    }
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# The first of these texts that is in libpq's error says what is wrong.
_CONNECT_REASONS = (
    ("authentication", "its database refuses this user or password"),
    ("no password supplied", "its database wants a password"),
    ("pg_hba.conf", "its database lets in no such user from here"),
    ("certificate", "the certificate of its database is not trusted"),
    ("does not exist", "there is no such database or user"),
    ("SSL", "no TLS connection to its database"),
    ("timeout", "its database did not answer in time"),
)
_REASONS = {
    "25006": "its database can only be read",
    "42501": "its user may not do this",
    "55P03": "another writer holds it",
    "57014": "its database did not answer in time",
}
_TOO_LONG = {"22001", "54000"}


class Postgres:
    """A ``Database``.  ``host`` may be the directory of a socket; a server that is silent so many seconds is given up.

    Raises ``ImportError`` without psycopg, ``ValueError`` for ``params`` that make no sense.
    """

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        params: Mapping[str, str],
        silence: float = SILENCE,
    ) -> None:
        import psycopg

        self.errors = (psycopg.Error,)
        self._library = psycopg
        self._silence = silence
        self._parameters: dict[str, Any] = {
            **translated(params),
            "host": host,
            "port": port,
            "user": user,
            "dbname": database,
        }
        if password:
            self._parameters["password"] = password
        if params.get("sslmode") == "verify-full" and "sslrootcert" not in params and psycopg.pq.version() >= 160000:
            self._parameters["sslrootcert"] = "system"  # as Athens' driver does

    def connect(self) -> Connection[Any]:
        # Nothing is prepared, as a pool (PgBouncer) may give each transaction another server.
        connection = self._library.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        try:
            # Each statement sees what is there when it begins, whatever the default is: so who got the lock sees all.
            connection.isolation_level = self._library.IsolationLevel.READ_COMMITTED
            with self._transaction(connection):
                there = connection.execute(_IS_THERE).fetchone()
                if there is not None and not there[0]:
                    connection.execute(_LOCK)
                    for statement in _SCHEMA:
                        connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def add(self, connection: Connection[Any], version: ModuleVersion) -> None:
        row = (version.path, version.version)
        try:
            with self._transaction(connection):
                if not connection.execute(_KNOWN, row).fetchone():
                    connection.execute(_LOCK)
                    connection.execute(_ADD, row)
        except self._library.Error as error:
            if error.sqlstate in _TOO_LONG:
                raise Unsupported("its path or version is too long for the table of the index") from error
            raise

    def since(self, connection: Connection[Any], when: datetime, limit: int) -> Sequence[Row]:
        with self._transaction(connection):
            rows = connection.execute(_SINCE, (when.replace(tzinfo=None), limit)).fetchall()
        return [(path, version, time.replace(tzinfo=UTC)) for path, version, time in rows]

    def reason(self, error: Exception) -> str:
        state = getattr(error, "sqlstate", None)
        if state is not None:
            return _REASONS.get(state, f"its database says error {state}")
        text = str(error)
        return next((reason for part, reason in _CONNECT_REASONS if part in text), "no connection to its database")

    @contextmanager
    def _transaction(self, connection: Connection[Any]) -> Iterator[None]:
        """A transaction that ends by an error when it takes too long: libpq itself waits for ever."""
        timer = Timer(self._silence, _cut, [connection.fileno()])
        timer.daemon = True
        timer.start()
        try:
            with connection.transaction():
                connection.execute(_LIMITS)
                yield
        finally:
            timer.cancel()


def translated(params: Mapping[str, str]) -> dict[str, Any]:
    """``Index.Postgres.Params`` as libpq has it.  Raises ``ValueError`` for what is not known."""
    found: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    for name, value in params.items():
        if name == "connect_timeout":
            if not (value.isascii() and value.isdecimal()):
                raise ValueError("Index.Postgres.Params: connect_timeout must be a number of seconds")
            found[name] = min(int(value) or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
        elif name == "sslmode" and value not in _SSL_MODES:
            raise ValueError(f"Index.Postgres.Params: sslmode must be one of {', '.join(_SSL_MODES)}")
        elif name == "search_path":
            found["options"] = f"{params.get('options', '')} -c search_path={_escaped(value)}".strip()
        elif name in _PASSED_ON:
            found.setdefault(name, value)
        elif name not in _WITHOUT_MEANING:
            known = ", ".join(sorted({"connect_timeout", "search_path", *_PASSED_ON}))
            raise ValueError(f"Index.Postgres.Params: {name} is not known; there are {known}")
    return found


def _escaped(value: str) -> str:
    """As PostgreSQL reads ``options``."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _cut(descriptor: int) -> None:
    """End a connection whose thread waits for it."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
        end.shutdown(socket.SHUT_RDWR)
