"""When versions were stored, as far as an index tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from athensd.interfaces import IIndex, IndexLine

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LINES = 1000
FEW_LINES = 500
LOOKS = 32
"""So often an index is asked for its newest lines at most, which finds those of a busy minute of long ago."""
PAGES = 10
"""So many pages of it are read for one request."""
REMEMBERED = 50_000
"""Of so many versions the time is kept in memory; the oldest go."""


class Newest:
    """Follows the end of ``index``: once it was found, only what was added since is asked for."""

    def __init__(self, index: IIndex) -> None:
        self._index = index
        self._last: list[IndexLine] = []

    async def of(self, now: datetime, count: int, sees: Callable[[str], bool]) -> Sequence[IndexLine]:
        """The newest lines that may be seen, newest first: at most ``count``, and fewer where they stand among many.

        Raises ``StorageFailed``.
        """

        def seen(lines: Sequence[IndexLine]) -> list[IndexLine]:
            return [line for line in lines[::-1] if sees(line.version.path)][:count]

        if not await self._followed() or len(seen(self._last)) < count:
            self._last = await _last_lines(self._index, now, lambda lines: len(seen(lines)) >= count)
        return seen(self._last)

    async def _followed(self) -> bool:
        """Add what came after the last line; false when that line is not known, is gone, or too much came."""
        known = self._last  # meanwhile somebody else may add to it
        if not known:
            return False
        lines = await self._index.since(known[-1].when, FEW_LINES)
        if lines[:1] != known[-1:] or len(lines) == FEW_LINES:
            return False
        self._last = [*known, *lines[1:]][-FEW_LINES:]
        return True


async def _last_lines(index: IIndex, now: datetime, enough: Callable[[Sequence[IndexLine]], bool]) -> list[IndexLine]:
    """The last lines of an index, in order, which are read forwards: so this looks for how long ago to begin."""
    best: list[IndexLine] = []
    few, many = 0.0, 0.0  # seconds ago: since then there are too few, too many
    ago = 60.0
    oldest = (now - BEGINNING).total_seconds()
    for _ in range(LOOKS):
        lines = await index.since(now - timedelta(seconds=min(ago, oldest)), FEW_LINES)
        if len(lines) == FEW_LINES:
            many = ago
        else:
            few, best = ago, list(lines)
            if enough(best) or ago >= oldest:
                break
        ago = (few + many) / 2 if many else ago * 16
    return best


class StoredTimes:
    """Follows ``index``: each time it is asked it reads on, a bounded part."""

    def __init__(self, index: IIndex) -> None:
        self._index = index
        self._since = BEGINNING
        self._times: dict[tuple[str, str], datetime] = {}

    async def of(self, path: str, versions: Sequence[str]) -> dict[str, datetime]:
        """When these versions of a module were stored, as far as that is known now.  Raises ``StorageFailed``."""
        for _ in range(PAGES):
            lines = await self._index.since(self._since, LINES)
            for line in lines:
                self._times[line.version.path, line.version.version] = line.when
                self._since = max(self._since, line.when + timedelta(microseconds=1))
            if len(lines) < LINES:
                break
        while len(self._times) > REMEMBERED:
            del self._times[next(iter(self._times))]
        known = ((version, self._times.get((path, version))) for version in versions)
        return {version: when for version, when in known if when is not None}
