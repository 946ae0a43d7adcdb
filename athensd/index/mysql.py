"""The index in MySQL or MariaDB."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from athensd.errors import StorageFailed, Unsupported
from athensd.gomod.version import ModuleVersion
from athensd.index.sql import Row

log = structlog.get_logger()

CONNECT_TIMEOUT = 10.0
SILENCE = 30.0

# Times are UTC; what does not fit is an error and not cut off; a writer that stands still with the lock in its hand
# loses it after ten minutes.
_SESSION = """
    SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', wait_timeout = 600, lock_wait_timeout = 10,
        innodb_lock_wait_timeout = 10
"""
# Locks have names on the whole server, of 64 characters at most.
_LOCK = "SELECT GET_LOCK(CONCAT('athensd index ', MD5(DATABASE())), 10)"
_UNLOCK = "SELECT RELEASE_LOCK(CONCAT('athensd index ', MD5(DATABASE())))"
_COLLATIONS = """
    SELECT collation_name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'indexes' AND column_name IN ('path', 'version')
"""
# Paths and versions are ASCII, and this is as much as an index can hold: 3072 bytes.
_PATH = "path VARCHAR(2048) CHARACTER SET ascii COLLATE ascii_bin NOT NULL"
_VERSION = "version VARCHAR(1000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL"
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS indexes (
        id INT AUTO_INCREMENT PRIMARY KEY,
        {_PATH},
        {_VERSION},
        timestamp DATETIME(6) NOT NULL,
        INDEX (timestamp),
        UNIQUE INDEX idx_module_version (path, version)
    ) ENGINE = InnoDB
"""
_EXACT = f"ALTER TABLE indexes MODIFY {_PATH}, MODIFY {_VERSION}"
_KNOWN = "SELECT path, version FROM indexes WHERE path = %s AND version = %s"
_ADD = """
    INSERT INTO indexes (path, version, timestamp)
    SELECT %s, %s,
        GREATEST(UTC_TIMESTAMP(6), COALESCE(MAX(timestamp) + INTERVAL 1 MICROSECOND, UTC_TIMESTAMP(6)))
    FROM indexes
"""
_SINCE = "SELECT path, version, timestamp FROM indexes WHERE timestamp >= %s ORDER BY timestamp, id LIMIT %s"

_TOO_LONG = 1406
_DUPLICATE = 1062
_REASONS = {
    0: "no connection to its database",
    1044: "its user may not use this database",
    1045: "its database refuses this user or password",
    1049: "there is no such database",
    1142: "its user may not do this",
    1205: "another writer holds it",
    1213: "another writer was in the way",
    1290: "its database can only be read",
    1698: "its database refuses this user or password",
    1836: "its database can only be read",
    2003: "no connection to its database",
    2006: "the connection to its database broke off",
    2013: "the connection to its database broke off, or it did not answer in time",
    2026: "no TLS connection to its database",
}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
# They say how a driver for Go speaks with the server, and how it reads values.
_WITHOUT_MEANING = frozenset(
    {
        *("allowNativePasswords", "charset", "checkConnLiveness", "clientFoundRows", "collation", "columnsWithAlias"),
        *("interpolateParams", "loc", "maxAllowedPacket", "multiStatements", "parseTime", "rejectReadOnly"),
    }
)


class MySQL:
    """A ``Database``.  With ``protocol`` "unix" ``host`` is the path of the socket.

    Raises ``ImportError`` without PyMySQL, ``ValueError`` for a protocol or ``params`` that make no sense.
    """

    def __init__(
        self, protocol: str, host: str, port: int, user: str, password: str, database: str, params: Mapping[str, str]
    ) -> None:
        import pymysql  # type: ignore[import-untyped]  # it has no types

        if protocol not in {"tcp", "unix"}:
            raise ValueError('Index.MySQL.Protocol must be "tcp" or "unix"')
        self.errors = (pymysql.err.Error, OSError)
        self._library = pymysql
        self._warned = False
        self._parameters: dict[str, Any] = {
            **translated(params),
            **({"unix_socket": host} if protocol == "unix" else {"host": host, "port": port}),
            "user": user,
            "password": password,
            "database": database,
            "charset": "utf8mb4",
            "autocommit": True,
            "init_command": _SESSION,
        }

    def connect(self) -> Any:
        connection = self._library.connect(**self._parameters)
        try:
            with connection.cursor() as cursor:
                if not _is_exact(_collations(cursor)):
                    with _locked(cursor):
                        self._make_exact(cursor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_exact(self, cursor: Any) -> None:
        """Make the table, or make Athens' one tell modules apart that differ only by case."""
        collations = _collations(cursor)
        if not collations:
            cursor.execute(_SCHEMA)
        elif not _is_exact(collations):
            try:
                cursor.execute(_EXACT)
            except self._library.err.Error as error:
                if not self._warned:
                    self._warned = True
                    log.warning(
                        "modules that differ only by case cannot both be in the index: its table cannot be changed",
                        reason=self.reason(error),
                    )

    def add(self, connection: Any, version: ModuleVersion) -> None:
        row = (version.path, version.version)
        with connection.cursor() as cursor:
            if _is_known(cursor, row):
                return
            try:
                with _locked(cursor):
                    cursor.execute(_ADD, row)
            except self._library.err.DataError as error:
                if error.args[0] == _TOO_LONG:
                    raise Unsupported("its path or version is too long for the table of the index") from error
                raise
            except self._library.err.IntegrityError as error:
                if error.args[0] != _DUPLICATE:
                    raise
                if not _is_known(cursor, row):
                    raise Unsupported("it differs only by case from what is in the index") from error

    def since(self, connection: Any, when: datetime, limit: int) -> Sequence[Row]:
        with connection.cursor() as cursor:
            cursor.execute(_SINCE, (when.replace(tzinfo=None), limit))
            return [(path, version, time.replace(tzinfo=UTC)) for path, version, time in cursor.fetchall()]

    def reason(self, error: Exception) -> str:
        if "certificate" in str(error):
            return "the certificate of its database is not trusted"
        number = 0 if isinstance(error, OSError) or not error.args else error.args[0]
        return _REASONS.get(number, f"its database says error {number}")


def _collations(cursor: Any) -> list[str]:
    """How the columns compare text; nothing when there is no table."""
    cursor.execute(_COLLATIONS)
    return [collation for (collation,) in cursor.fetchall()]


def _is_exact(collations: Sequence[str]) -> bool:
    """Whether there is a table, and its columns tell upper from lower case."""
    return bool(collations) and all(collation.endswith("_bin") for collation in collations)


def _is_known(cursor: Any, row: tuple[str, str]) -> bool:
    """Whether exactly this is there, whatever the database takes for equal."""
    cursor.execute(_KNOWN, row)
    return row in cursor.fetchall()


@contextmanager
def _locked(cursor: Any) -> Iterator[None]:
    cursor.execute(_LOCK)
    if cursor.fetchone()[0] != 1:
        raise StorageFailed("the index cannot be used: another writer holds it")
    try:
        yield
    finally:
        cursor.execute(_UNLOCK)


def translated(params: Mapping[str, str]) -> dict[str, Any]:
    """``Index.MySQL.Params`` as PyMySQL has it.  Raises ``ValueError`` for what is not known."""
    found: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": SILENCE,
        "write_timeout": SILENCE,
        "ssl_disabled": True,
    }
    for name, value in params.items():
        if name == "timeout":
            found["connect_timeout"] = min(_seconds(name, value) or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
        elif name == "readTimeout":
            found["read_timeout"] = min(_seconds(name, value) or SILENCE, SILENCE)
        elif name == "writeTimeout":
            found["write_timeout"] = min(_seconds(name, value) or SILENCE, SILENCE)
        elif name == "tls":
            del found["ssl_disabled"]
            found |= _tls(value)
        elif name not in _WITHOUT_MEANING:
            raise ValueError(
                f"Index.MySQL.Params: {name} is not known; there are readTimeout, timeout, tls, writeTimeout"
            )
    return found


def _tls(value: str) -> dict[str, Any]:
    """As Athens' driver has it: certificates are held against those of the system."""
    lenient = ssl.create_default_context()
    lenient.check_hostname = False
    lenient.verify_mode = ssl.CERT_NONE
    ways: dict[str, dict[str, Any]] = {
        "true": {"ssl": ssl.create_default_context()},
        "skip-verify": {"ssl": lenient},
        "preferred": {},  # PyMySQL does so by itself
        "false": {"ssl_disabled": True},
    }
    if value not in ways:
        raise ValueError(f"Index.MySQL.Params: tls must be one of {', '.join(ways)}")
    return ways[value]


def _seconds(name: str, text: str) -> float:
    """A duration as Go writes it, such as ``1m30s``."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"Index.MySQL.Params: {name} must be a duration such as 30s")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", text))
