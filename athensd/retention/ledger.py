"""How much there is, and what was used least recently: bookkeeping without a clock or a file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial

from attrs import define, field

from athensd.gomod.version import ModuleVersion


@define
class Ledger:
    """What a store holds of its ``limit`` bytes.

    ``kept`` are the bytes of all its files, ``promised`` those for which there is room; together they are more than the
    limit only when more was there already.  Zips that may go are known by name, in the order of their use.
    """

    limit: int
    kept: int = 0
    promised: int = 0
    _order: OrderedDict[ModuleVersion, int] = field(factory=OrderedDict)  # the one used least recently comes first
    _aside: dict[ModuleVersion, tuple[int, float]] = field(factory=dict)  # not to be looked at until then
    _meanwhile: list[Callable[[], object]] | None = None  # what has happened since a count began

    def promise(self, size: int) -> bool:
        """Make sure of room for so many bytes; whether there is."""
        if self.kept + self.promised + size > self.limit:
            return False
        self.promised += size
        return True

    def settle(self, size: int) -> None:
        """What was promised is needed no longer: the file is kept, or is not to be."""
        self.promised -= size

    def add(self, size: int) -> None:
        """A file is there that stays."""
        self._note(partial(self.add, size))
        self.kept += size

    def keep(self, version: ModuleVersion, size: int) -> None:
        """A zip is there, used just now."""
        self._note(partial(self.keep, version, size))
        self.kept += size - self._forget(version)
        self._order[version] = size

    def use(self, version: ModuleVersion) -> None:
        """A zip was used just now."""
        if version in self._order:
            self._order.move_to_end(version)
        elif version in self._aside:
            self._order[version], _ = self._aside.pop(version)
        if self._meanwhile is not None:
            self._note(partial(self.use, version))

    def drop(self, version: ModuleVersion) -> int:
        """A zip is gone; how many bytes it had, as far as that is known by its name."""
        self._note(partial(self.drop, version))
        size = self._forget(version)
        self.kept -= size
        return size

    def lose(self, size: int) -> None:
        """Other files are gone."""
        # Whoever counts just now may not have found them, and too little must never be counted.
        self.kept -= size

    def put_aside(self, version: ModuleVersion, until: float) -> None:
        """This zip is not to be looked at until then, if it is not used before."""
        size = self._forget(version)
        if size:
            self._aside[version] = size, until

    def oldest(self, size: int, most: int, now: float) -> dict[ModuleVersion, int]:
        """The zips used least recently that have so many bytes together, at most ``most``, with their lengths."""
        for version in [each for each, (_, until) in self._aside.items() if until <= now]:
            self._order[version], _ = self._aside.pop(version)
            self._order.move_to_end(version, last=False)
        found: dict[ModuleVersion, int] = {}
        for version, length in self._order.items():
            if size <= 0 or len(found) == most:
                break
            found[version] = length
            size -= length
        return found

    def begin_count(self) -> None:
        """Somebody looks at what is there: what happens from now on may be in what he finds, or not."""
        self._meanwhile = []

    def counted(self, zips: Iterable[tuple[ModuleVersion, int]], total: int) -> None:
        """He has found this: zips that may go, in the order of their use, and so many bytes in all files."""
        self._order, self.kept = OrderedDict(zips), total
        aside, self._aside = self._aside, {}
        for version, (_, until) in aside.items():
            self.put_aside(version, until)
        meanwhile, self._meanwhile = self._meanwhile or [], None
        for change in meanwhile:
            change()

    def _forget(self, version: ModuleVersion) -> int:
        """The length of a zip that may go, which is out of the order now."""
        aside = self._aside.pop(version, None)
        return aside[0] if aside else self._order.pop(version, 0)

    def _note(self, change: Callable[[], object]) -> None:
        if self._meanwhile is not None:
            self._meanwhile.append(change)
