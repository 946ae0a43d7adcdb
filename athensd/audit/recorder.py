"""Notes each answer as it is given, and writes what it has noted once a second, in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from athensd.audit.file import AuditFile
from athensd.audit.record import Record, file_of
from athensd.errors import StorageFailed
from athensd.steps import Step

log = structlog.get_logger()


class Write(Protocol):
    """Takes the line of a request that is over, an event of structlog; what is left out of it is ``alike.event``."""

    def __call__(self, event: dict[str, Any], alike: Any = None) -> None: ...


EVERY = 1.0
MOST = 100_000
"""So many records are kept while they cannot be written; those that come later are lost."""

# As in a record, but for the path, which stands for what is meant by it.
_Noted = tuple[float, str, str, str, int, int, str, str, str]


class Recorder:
    """Nobody waits for it, and what it cannot write costs a line and those records.

    ``prefix`` is what all paths begin with, ``trace`` says which trace we are part of (``trace-id``), ``now`` is in
    seconds since 1970.
    """

    def __init__(
        self,
        file: AuditFile,
        clock: Any,
        in_thread: Callable[..., Awaitable[Any]],
        now: Callable[[], float],
        *,
        prefix: str = "",
        trace: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._file = file
        self._in_thread = in_thread
        self._now = now
        self._prefix = prefix
        self._trace = trace
        self._file_of = lru_cache(MOST // 10)(file_of)
        self._noted: list[_Noted] = []
        self._lost = 0
        self._well = False  # that is not known yet
        self._complained = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._write()))
        self._loop.clock = clock
        self._ended: Deferred[LoopingCall] | None = None

    def before(self, write: Write) -> Write:
        """The same, and a note of each line that is about a file of a module."""

        def both(event: dict[str, Any], alike: Any = None) -> None:
            shared = alike.event if alike else event
            path = shared["http-path"]
            # An escape may stand for the @.  By HEAD nobody is given anything.
            if ("/@" in path or "%" in path) and shared["http-method"] != "HEAD":
                self._note(path, shared, event)
            write(event, alike)  # last: it takes the event to pieces

        return both

    def start(self) -> None:
        """Begin to write; at once, to see whether that can be done."""
        self._ended = self._loop.start(EVERY)

    async def stop(self) -> None:
        """Write what there is a last time."""
        if self._ended is not None:
            self._loop.stop()
            await self._ended
        await self._write()
        await self._in_thread(self._file.close)

    def _note(self, path: str, shared: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        if len(self._noted) >= MOST:
            self._lost += 1
            return
        self._noted.append(
            (
                self._now(),
                event.get("user", ""),
                event["client"],
                path,
                shared["http-status"],
                shared["bytes"],
                shared["cache"],
                event["request-id"],
                self._trace().get("trace-id", ""),
            )
        )

    async def _write(self) -> None:
        if self._well and not self._noted:
            return
        noted, self._noted = self._noted, []
        try:
            with Step("audit", {"records": len(noted), "lost": self._lost}, apart=True):
                await self._in_thread(self._write_now, noted)
        except StorageFailed as error:
            noted += self._noted
            self._noted = noted[:MOST]
            self._lost += len(noted) - len(self._noted)
            if not self._complained:
                log.warning("answers are not recorded", reason=str(error))
            self._well, self._complained = False, True
            return
        if self._complained or self._lost:
            log.warning("answers are recorded again", lost=self._lost)
        self._well, self._complained, self._lost = True, False, 0

    def _write_now(self, noted: list[_Noted]) -> None:
        records = []
        for when, user, client, path, status, length, cache, request, trace in noted:
            found = self._file_of(path.removeprefix(self._prefix))
            if found is not None:
                records.append(Record(when, user, client, *found, status, length, cache, request, trace))
        self._file.add(records, self._now())
