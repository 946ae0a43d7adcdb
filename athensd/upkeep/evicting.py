"""Zips go out of a store until it is small enough, those used least recently first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from athensd.errors import AthensError
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import StoredZip
from athensd.retention.ledger import Ledger
from athensd.retention.reasons import Reasons
from athensd.upkeep.tally import Tally


@frozen
class Evictor:
    """Evicts from ``storage``, which is evictable, what ``wanted`` says and no reason holds; ``at_once`` at a time.

    When it is ``only_said`` what would go, nothing does.  The tally is told of each zip that goes, or that could not.
    """

    storage: Any
    reasons: Reasons
    tally: Tally
    wanted: Callable[[str], bool]
    at_once: int
    only_said: bool

    async def evict(self, most: int) -> int:
        """Evict until there are at most so many bytes; how many there are in the end.  Raises ``StorageFailed``."""
        stock = await self.storage.stock()
        zips = {each.version: each for each in stock.zips if self._may_go(each.version)}
        ledger = Ledger(most)
        ledger.counted(((each.version, each.length) for each in zips.values()), stock.total)
        while oldest := ledger.oldest(ledger.kept - most, self.at_once, 0):
            going: list[Deferred[Any]] = [Deferred.fromCoroutine(self._evict(zips[each], ledger)) for each in oldest]
            await gatherResults(going, consumeErrors=True)
        return ledger.kept

    def _may_go(self, version: ModuleVersion) -> bool:
        if not self.wanted(version.path):
            return False
        reason = self.reasons.for_good(version)
        if reason:
            self.tally.count(reason.removeprefix("it is "))
        return not reason

    async def _evict(self, zip: StoredZip, ledger: Ledger) -> None:
        try:
            reason = await self.reasons.for_now(zip.version)
            if not reason and not self.only_said:
                await self.storage.evict(zip.version)
        except AthensError as error:
            reason = str(error)
        if reason:
            ledger.put_aside(zip.version, inf)
            self.tally.note(zip.version, f"stays: {reason}")
            self.tally.count("not to be had again")
            return
        ledger.drop(zip.version)
        used = datetime.fromtimestamp(zip.used, UTC)
        self.tally.note(zip.version, f"{zip.length} bytes, last used {used:%Y-%m-%d %H:%M}")
        self.tally.count("would be evicted" if self.only_said else "evicted")
