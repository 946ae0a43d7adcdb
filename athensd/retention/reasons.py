"""Why a zip stays where it is: pinned, private, or not to be had again just as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, VerificationFailed
from athensd.gomod.info import Info, parse_info, parse_time
from athensd.gomod.pattern import are_well_formed, matches
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import IOrigin, IStorage, Kind
from athensd.waiting import within

PATIENCE = 30.0
"""So many seconds are given to an origin to say what it has."""


@frozen
class Pins:
    """Modules and single versions that an operator wants to keep."""

    patterns: str = ""
    versions: frozenset[ModuleVersion] = frozenset()

    def __contains__(self, version: object) -> bool:
        assert isinstance(version, ModuleVersion), "versions are pinned"
        return version in self.versions or matches(self.patterns, version.path)


def parse_pins(entries: Sequence[str]) -> Pins:
    """Patterns as in GOPRIVATE, and ``MODULE@VERSION``.  ``ValueError`` names the entry that is neither."""
    patterns, versions = [], set()
    for entry in entries:
        path, at, version = entry.strip().partition("@")
        if not (is_canonical_for(path, version) if at else are_well_formed(path)):
            raise ValueError(f"{entry!r} is neither a pattern as in GOPRIVATE nor MODULE@VERSION")
        if at:
            versions.add(ModuleVersion(path, version))
        else:
            patterns.append(path)
    return Pins(",".join(patterns), frozenset(versions))


@frozen
class Reasons:
    """Knows of the zips in ``storage`` why they are not evicted.

    ``private`` are the paths of modules of which ``origin`` may be the only one that has them.  ``fetched`` says of a
    version whether clients who ask for what is not stored of it get that at once.
    """

    storage: IStorage
    origin: IOrigin
    pins: Pins
    private: Container[str]
    fetched: Callable[[ModuleVersion], bool]
    clock: IReactorTime = field(repr=False)

    def for_good(self, version: ModuleVersion) -> str:
        """The reason that holds as long as the settings; empty when there is none."""
        if version in self.pins:
            return "it is pinned"
        return "it is private" if version.path in self.private else ""

    async def for_now(self, version: ModuleVersion) -> str:
        """The reason that there is now; empty when the zip can be had again, and will be known by its hash.

        Raises what the origin raises when it cannot be asked.
        """
        if not self.fetched(version):
            return "what is not stored of it is not fetched at once (DownloadMode, NetworkMode, or it is revoked)"
        try:
            await self.storage.open(version, Kind.ZIPHASH)
            await self.storage.open(version, Kind.MOD)
            stored = parse_info(await read_all(await self.storage.open(version, Kind.INFO)))
        except (NotFound, VerificationFailed) as error:
            return f"it is not whole: {error}"
        try:
            what = f"asking for {version}"
            found = await within(
                self.clock, PATIENCE, _coroutine(self.origin.resolve(version.path, version.version)), what
            )
        except (NotFound, Forbidden, VerificationFailed) as error:
            return f"its origin has it no more: {error}"
        return "" if _same(found, stored) else "its origin has another one by now"


async def _coroutine(work: Awaitable[Info]) -> Info:
    return await work


def _same(one: Info, other: Info) -> bool:
    """Whether they are of the same version and commit, as far as both say: a tag may have been moved."""
    times = {parse_time(each.time) for each in (one, other) if each.time}
    commits = {each.origin["Hash"] for each in (one, other) if each.origin and "Hash" in each.origin}
    return one.version == other.version and len(times) <= 1 and len(commits) <= 1
