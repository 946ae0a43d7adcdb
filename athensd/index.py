"""The versions in the order in which they became complete (Go's index protocol)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime

from zope.interface import implementer

from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IIndex, IndexLine


@implementer(IIndex)
class NoIndex:
    """Remembers nothing (``IndexType = "none"``)."""

    async def add(self, version: ModuleVersion, when: datetime) -> None:
        return None

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        return []


@implementer(IIndex)
class MemoryIndex:
    """Remembers until the process ends."""

    def __init__(self) -> None:
        self._lines: list[IndexLine] = []
        self._known: set[ModuleVersion] = set()

    async def add(self, version: ModuleVersion, when: datetime) -> None:
        if version not in self._known:
            self._known.add(version)
            insort(self._lines, IndexLine(version, when), key=lambda line: line.when)

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        first = bisect_left(self._lines, when, key=lambda line: line.when)
        return self._lines[first : first + limit]
