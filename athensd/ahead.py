"""The go.mod files that will be asked for next, fetched before they are.

A go command reads the go.mod of each module that the main one names, as many at a time as it has processors.  Of one
that has no ``go`` line, or an older one than 1.17, it then reads all that this requires, and so on ("Module graph
pruning" in the Go module reference).  So these are no guess, and an upstream that is far away is waited for less.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial

from attrs import define, field
from twisted.internet.defer import CancelledError

from athensd.blob import read_all
from athensd.errors import AthensError, NotFound, Overloaded
from athensd.gomod.modfile import ModFile, parse_mod
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IStorage, Kind
from athensd.stash import Fetches
from athensd.steps import aside

AT_ONCE = 10
"""So many are fetched ahead at a time: less than an upstream has slots, so that nobody who asks waits for them."""
MOST_WAITING = 5000
MOST_SEEN = 50_000


@define(eq=False)
class Ahead:
    """``stash``; and of what is ``wanted``, if it is not in ``storage``, what a go command goes on to ask for."""

    _stash: Fetches
    _storage: IStorage
    _wanted: Callable[[ModuleVersion], bool]
    _waiting: deque[ModuleVersion] = field(init=False, factory=deque)
    _seen: OrderedDict[ModuleVersion, None] = field(init=False, factory=OrderedDict)
    _under_way: int = field(init=False, default=0)
    _going_on: bool = field(init=False, default=False)

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """As the stash does it."""
        blob = await self._stash.fetch(version, kind)
        if kind is Kind.MOD:
            mod = await _parsed(blob)
            if not mod.pruned:
                self._expect(mod.requires)
        return blob

    def stop(self) -> None:
        """Begin no more."""
        self._waiting.clear()

    def _expect(self, versions: Iterable[ModuleVersion]) -> None:
        for version in versions:
            if version not in self._seen and len(self._waiting) < MOST_WAITING:
                self._seen[version] = None
                if self._wanted(version):
                    self._waiting.append(version)
        while len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        self._go_on()

    def _go_on(self) -> None:
        if self._going_on:  # what is stored here is read at once: a loop, and no recursion
            return
        self._going_on = True
        try:
            while self._waiting and self._under_way < AT_ONCE:
                version = self._waiting.popleft()
                self._under_way += 1
                aside("ahead", partial(self._ahead, version), module=version.path, version=version.version)
        finally:
            self._going_on = False

    async def _ahead(self, version: ModuleVersion) -> None:
        try:
            mod = await _parsed(await self._mod(version))
            self._expect(mod.requires)
        except Overloaded:
            # Those who ask come first.
            self._waiting.clear()
        except (AthensError, CancelledError):
            pass  # whoever asks for it will be told
        finally:
            self._under_way -= 1
            self._go_on()

    async def _mod(self, version: ModuleVersion) -> Blob:
        try:
            return await self._storage.open(version, Kind.MOD)
        except NotFound:
            return await self._stash.fetch(version, Kind.MOD)


async def _parsed(blob: Blob) -> ModFile:
    return parse_mod((await read_all(blob)).decode(errors="replace"))
