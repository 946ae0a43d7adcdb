"""A wrong version is replaced by a right one, or kept: what cannot be had again is never deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from athensd.blob import BytesBlob, read_all
from athensd.checksums.unverified import Sum
from athensd.errors import AthensError, Conflict, NotFound
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Blob, IOrigin, IStorage, Kind
from athensd.spool import Spool
from athensd.upkeep.inspection import Inspected, Inspector
from athensd.upkeep.source import Source
from athensd.upkeep.sums import Said, Sums
from athensd.waiting import within

# Whoever sees a zip can see its hash, and the go.mod that it agrees with.
_ORDER = (Kind.INFO, Kind.MOD, Kind.ZIPHASH, Kind.ZIP)


class NotMended(Exception):
    """The version was left as it is, and why."""


class Mender:
    """Replaces versions of ``storage`` by what ``origin`` has, if that is what ``sums`` or the store's own record say.

    ``inspector`` holds what was fetched against ``sums`` too.  ``quarantine`` moves a version out of the store, if the
    hash that is recorded of it is still this one.  The fetch of a file takes at most ``timeout`` seconds.
    """

    def __init__(
        self,
        storage: IStorage,
        origin: IOrigin,
        inspector: Inspector,
        sums: Sums,
        spool: Spool,
        quarantine: Callable[[Sum], Awaitable[None]],
        clock: IReactorTime,
        timeout: float,
    ) -> None:
        self._storage = storage
        self._origin = origin
        self._inspector = inspector
        self._sums = sums
        self._spool = spool
        self._quarantine = quarantine
        self._clock = clock
        self._timeout = timeout

    async def mend(self, version: ModuleVersion, wrong: Inspected) -> None:
        """Fetch, verify, and only then move the wrong version into quarantine and store the right one in its place.

        Raises ``NotMended``; then nothing was deleted, unless it says that storing failed.
        """
        with self._spool.directory() as into:
            into.mkdir()
            try:
                said = await self._sums.said(version)
                wanted = WHOLE if Kind.ZIP in wrong.there else wrong.there - {Kind.ZIPHASH}
                files = await self._fetched(version, wanted, into)
                right = await self._inspector.inspect(Source(version, _Fetched(version, files).open), into)
            except AthensError as error:
                raise NotMended(f"it cannot be had again: {error}") from error
            fault = "; ".join(right.faults) or await _doubt(wrong, right, said)
            if fault:
                raise NotMended(f"what can be had now is not it: {fault}")
            if right.h1:
                files[Kind.ZIPHASH] = BytesBlob(right.h1.encode())
            await self._replace(version, wrong, files)

    async def _fetched(self, version: ModuleVersion, kinds: frozenset[Kind], into: Path) -> dict[Kind, Blob]:
        found: dict[Kind, Blob] = {}
        for kind in kinds:
            if kind not in found:
                fetch = self._origin.fetch(version, kind, into / f"fetched-{kind.value}")
                found.update(await within(self._clock, self._timeout, fetch, f"fetching {version}"))
        return found

    async def _replace(self, version: ModuleVersion, wrong: Inspected, files: Mapping[Kind, Blob]) -> None:
        try:
            await self._quarantine(Sum(version, wrong.recorded))
        except AthensError as error:
            raise NotMended(str(error)) from error
        try:
            for kind in _ORDER:
                if kind in files:
                    await self._storage.put(version, kind, files[kind])
        except Conflict as error:
            raise NotMended(f"it was stored anew meanwhile: {error}") from error
        except AthensError as error:
            raise NotMended(f"it is in quarantine, and the right one could not be stored: {error}") from error


class _Fetched:
    """Files in the place of a store."""

    def __init__(self, version: ModuleVersion, files: Mapping[Kind, Blob]) -> None:
        self._version = version
        self._files = files

    async def open(self, kind: Kind) -> Blob:
        if kind not in self._files:
            raise NotFound(f"{self._version} {kind.value} was not sent")
        return self._files[kind]


async def _doubt(wrong: Inspected, right: Inspected, said: Said | None) -> str:
    """Why a legal version may be another one than was stored; empty when it is the same.

    The checksum database knows best (then it was asked when ``right`` was inspected), else the hash that was recorded,
    else that of a zip which is legal.
    """
    if said is not None:
        return ""
    if Kind.ZIP in wrong.there:
        known = wrong.recorded if wrong.recorded.startswith("h1:") else wrong.h1
        if not known:
            return "no hash of it is known"
        if right.h1 != known:
            return f"its zip has the hash {right.h1}, and known is {known}"
        if right.go_mod is not None:
            return ""
    # No zip speaks for this go.mod.
    if Kind.MOD not in wrong.there or await _mod(right) == await _mod(wrong):
        return ""
    return "its go.mod is another one, and nothing says which is right"


async def _mod(found: Inspected) -> bytes:
    return await read_all(found.files[Kind.MOD]) if Kind.MOD in found.files else b""
