"""Has everybody been given the same bytes?  Asked before a file is stored, or later when that cannot be found out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from athensd.checksums.unverified import Sum, Unverified
from athensd.errors import (
    AthensError,
    Forbidden,
    Mismatch,
    NotFound,
    StorageFailed,
    TimedOut,
    UpstreamFailed,
    VerificationFailed,
)
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.steps import Step
from athensd.sumdb.names import is_exempt
from athensd.sumdb.record import Record, check_sum
from athensd.waiting import within

log = structlog.get_logger()


class Records(Protocol):
    """A database."""

    @property
    def name(self) -> str:
        """What it is called."""

    async def record(self, version: ModuleVersion) -> Record:
        """What it says of a version, proven.  Raises the words of ``athensd.errors``."""


@frozen
class Exempt:
    """The modules that no database is asked about: comma-separated patterns, as in ``go help module-private``."""

    no_sum: str = ""
    gonosumdb: str = ""
    goprivate: str = ""

    def __contains__(self, path: object) -> bool:
        assert isinstance(path, str), "paths are texts"
        return matches(self.no_sum, path) or is_exempt(path, self.gonosumdb, self.goprivate)


class Checksums:
    """Checks sums against a database; ``None``: against none (``GOSUMDB=off``).

    While the database is away, ``refuse`` says that nothing is accepted.  Else everything is, and remembered as
    ``unverified``; nobody waits longer than ``patience`` seconds for it, and for ``pause`` seconds it is not asked
    again.  Every ``interval`` seconds of ``clock`` what is unverified is verified; what turns out to be wrong is handed
    to ``quarantine``, perhaps twice, and perhaps when other bytes than these were stored.
    """

    def __init__(
        self,
        database: Records | None,
        exempt: Exempt,
        unverified: Unverified,
        clock: IReactorTime,
        in_thread: Callable[..., Awaitable[Any]],
        quarantine: Callable[[Sum], Awaitable[None]],
        *,
        refuse: bool = False,
        patience: float = 10,
        pause: float = 30,
        interval: float = 60,
    ) -> None:
        self._database = database
        self._exempt = exempt
        self._unverified = unverified
        self._clock = clock
        self._in_thread = in_thread
        self._quarantine = quarantine
        self._refuse = refuse
        self._patience = patience
        self._pause = pause
        self._interval = interval
        self._away_until = 0.0
        self._failures: Counter[Sum] = Counter()
        self._loop = LoopingCall(self._recheck)
        self._loop.clock = clock

    def start(self) -> None:
        """From now on verify later what could not be verified at once."""
        if self._database is not None:
            self._loop.start(self._interval, now=True)

    def stop(self) -> None:
        """Begin no more of it."""
        if self._loop.running:
            self._loop.stop()

    def prefetch(self, version: ModuleVersion) -> None:
        """Begin to ask about a version that will be checked soon."""
        database = self._asked_about(version)
        if database is not None and not self._away:
            Deferred.fromCoroutine(self._prefetch(database, version))

    async def check(self, version: ModuleVersion, h1: str, *, go_mod: bool = False) -> None:
        """Return when the zip with this ``h1:``, or the ``go.mod``, may be stored: nothing speaks against it.

        Raises ``Mismatch`` in Go's words when it is not what everybody else was given, ``VerificationFailed`` when what
        the database says is wrong itself, ``UpstreamFailed`` where nothing is accepted that cannot be verified.
        """
        database = self._asked_about(version)
        if database is None:
            return
        found = Sum(version, h1, go_mod)
        try:
            record = await self._record(database, version)
        except NotFound as error:
            log.info("unknown to the checksum database", module=version.path, version=version.version, said=str(error))
        except VerificationFailed:
            raise
        except AthensError as error:
            await self._without(found, error)
        else:
            _hold_against(record, found, database.name)

    @property
    def _away(self) -> bool:
        return self._clock.seconds() < self._away_until

    def _asked_about(self, version: ModuleVersion) -> Records | None:
        return None if version.path in self._exempt else self._database

    async def _prefetch(self, database: Records, version: ModuleVersion) -> None:
        try:
            await database.record(version)
        except (AthensError, CancelledError):
            pass  # whoever checks is told
        except Exception:
            log.exception("asking the checksum database failed unexpectedly", version=str(version))

    async def _record(self, database: Records, version: ModuleVersion) -> Record:
        if self._refuse:
            return await database.record(version)
        if self._away:
            raise TimedOut(f"{database.name} could not be asked a moment ago")
        what = f"asking {database.name} about {version}"
        return await within(self._clock, self._patience, _coroutine(database.record(version)), what)

    async def _without(self, found: Sum, error: AthensError) -> None:
        """The database is away."""
        if self._refuse:
            raise UpstreamFailed(f"{found.version}: it cannot be verified: {error}") from error
        if not self._away and not isinstance(error, Forbidden):
            self._away_until = self._clock.seconds() + self._pause
        try:
            await self._in_thread(self._unverified.add, found)
        except OSError as fault:
            raise StorageFailed(
                f"{found.version}: that it is unverified could not be noted here: {fault.strerror}"
            ) from fault
        about = {"module": found.version.path, "version": found.version.version}
        log.warning("stored unverified", **about, go_mod=found.go_mod, reason=str(error))

    async def _recheck(self) -> None:
        try:
            waiting = await self._in_thread(self._unverified.all)
            if waiting and self._database is not None:
                with Step("recheck", {"count": len(waiting)}, apart=True):
                    await self._recheck_all(self._database, waiting)
        except (AthensError, CancelledError) as error:
            log.info("not verified yet", reason=str(error))
        except Exception:
            log.exception("verifying later failed unexpectedly")

    async def _recheck_all(self, database: Records, waiting: list[Sum]) -> None:
        """Verify one after the other until that fails, which most often means that the database is still away."""
        # Those that always fail keep the others waiting once, and no longer.
        for found in sorted(waiting, key=self._failures.__getitem__):
            about = {"module": found.version.path, "version": found.version.version, "go_mod": found.go_mod}
            try:
                record = await database.record(found.version)
            except NotFound as error:
                log.info("unknown to the checksum database", **about, said=str(error))
            except AthensError:
                self._failures[found] += 1
                raise
            else:
                self._away_until = 0.0
                try:
                    _hold_against(record, found, database.name)
                    log.info("verified", **about)
                except Mismatch:
                    await self._quarantine(found)
            await self._in_thread(self._unverified.remove, found)
            del self._failures[found]


def _hold_against(record: Record, found: Sum, database: str) -> None:
    try:
        check_sum(record, found.version, found.h1, database, go_mod=found.go_mod)
    except VerificationFailed as error:
        log.error("checksum mismatch", module=found.version.path, version=found.version.version, reason=str(error))
        raise Mismatch(str(error)) from None


async def _coroutine(work: Awaitable[Record]) -> Record:
    return await work
