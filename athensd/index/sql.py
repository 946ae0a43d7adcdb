"""An index in a database whose library blocks: what all of them have in common.

The table ``indexes`` has the columns ``path``, ``version`` and ``timestamp``, as Athens made it (``pkg/index``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from athensd.errors import StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IIndex, IndexLine

BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)  # the first day that is in every database's calendar
END = datetime.max.replace(tzinfo=UTC)

Row = tuple[str, str, datetime]
"""Path, version, time."""


class Database(Protocol):
    """One database.  Everything blocks; a connection is used by one thread at a time."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises."""

    def connect(self) -> Any:
        """A new connection; the table is there, or is made."""

    def add(self, connection: Any, version: ModuleVersion) -> None:
        """Insert the version, unless it is there, with a time later than all others and not before now.

        Only one at a time does so, among all processes, until the row can be seen: so none appears behind a later one.
        Raises ``Unsupported`` when the table cannot hold it.
        """

    def since(self, connection: Any, when: datetime, limit: int) -> Sequence[Row]:
        """The first rows not older than ``when``, in the order of time."""

    def reason(self, error: Exception) -> str:
        """Why, in a few words of ours: they hold no user, no address and nothing of the server's own text."""


@implementer(IIndex)
class DatabaseIndex:
    """The index in ``database``.  Whoever adds and whoever reads do not wait for each other."""

    def __init__(self, database: Database, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._database = database
        self._writing = _Connection(database, in_thread)
        self._reading = _Connection(database, in_thread)

    async def add(self, version: ModuleVersion) -> None:
        await self._writing.use(self._database.add, version)

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        rows: Sequence[Row] = await self._reading.use(self._database.since, _in_calendar(when), limit)
        return [IndexLine(ModuleVersion(path, version), time) for path, version, time in rows]

    async def close(self) -> None:
        """Leave the database."""
        await self._writing.close()
        await self._reading.close()


class _Connection:
    """A connection that one piece of work has at a time; it is made when it is wanted, and again when it broke."""

    def __init__(self, database: Database, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._database = database
        self._in_thread = in_thread
        self._turn = DeferredLock()
        self._open: Any = None

    async def use(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What ``work`` gives for the connection and the arguments.  It may be done twice.

        Raises ``StorageFailed``.  Whoever waits may leave (be cancelled) at any time: the thread goes on.
        """
        return await self._in_turn(self._use, work, arguments)

    async def close(self) -> None:
        await self._in_turn(self._drop)

    async def _in_turn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # A Deferred of its own: when it is cancelled, the turn ends with the thread all the same.
        waiter: Deferred[Any] = Deferred()
        self._turn.run(self._in_thread, function, *arguments).addBoth(waiter.callback)
        return await waiter

    def _use(self, work: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        if self._open is not None:
            try:
                return work(self._open, *arguments)
            except self._database.errors:
                # Perhaps it broke long ago, when the server was started again; a new one tells.
                self._drop()
        try:
            self._open = self._database.connect()
            return work(self._open, *arguments)
        except self._database.errors as error:
            self._drop()
            raise StorageFailed(f"the index cannot be used: {self._database.reason(error)}") from error

    def _drop(self) -> None:
        connection, self._open = self._open, None
        if connection is not None:
            with suppress(*self._database.errors):  # it may be broken
                connection.close()


def _in_calendar(when: datetime) -> datetime:
    """The same time, or the nearest one that every database knows, in UTC."""
    try:
        return max(when.astimezone(UTC), BEGINNING)
    except OverflowError:  # the first or last hours of the calendar, and UTC is beyond
        return BEGINNING if when < BEGINNING else END
