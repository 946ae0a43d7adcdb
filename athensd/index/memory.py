"""The index in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from zope.interface import implementer

from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IIndex, IndexLine

MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@implementer(IIndex)
class MemoryIndex:
    """Remembers until the process ends."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._lines: list[IndexLine] = []
        self._known: set[ModuleVersion] = set()

    async def add(self, version: ModuleVersion) -> None:
        if version not in self._known:
            self._known.add(version)
            when = self._now()
            if self._lines:
                when = max(when, self._lines[-1].when + MICROSECOND)
            self._lines.append(IndexLine(version, when))

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        first = bisect_left(self._lines, when, key=lambda line: line.when)
        return self._lines[first : first + limit]
