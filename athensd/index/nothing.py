"""No index at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from zope.interface import implementer

from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IIndex, IndexLine


@implementer(IIndex)
class NoIndex:
    """Remembers nothing (``IndexType = "none"``)."""

    async def add(self, version: ModuleVersion) -> None:
        return None

    async def since(self, when: datetime, limit: int) -> Sequence[IndexLine]:
        return []
