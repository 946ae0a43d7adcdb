"""A miss: fetch, verify, store.  Once, however many ask, and whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from athensd.blob import BytesBlob, FileBlob, HeldBlob, read_all
from athensd.errors import AthensError, Conflict, Mismatch, NoRoom, NotFound, VerificationFailed
from athensd.gomod.info import parse_info
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import CheckedZip, check_zip, h1_of_mod
from athensd.interfaces import WHOLE, Blob, IFlight, IIndex, IOrigin, IStorage, Kind
from athensd.spool import Spool
from athensd.steps import Step, aside, step
from athensd.waiting import within

log = structlog.get_logger()

# Whoever sees a zip can see its hash, and the go.mod that it agrees with.
_ORDER = (Kind.INFO, Kind.MOD, Kind.ZIPHASH, Kind.ZIP)


class Fetches(Protocol):
    """What a miss needs."""

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """The file, after it was fetched if need be."""


class Sums(Protocol):
    """The checksum database."""

    def prefetch(self, version: ModuleVersion) -> None:
        """This version will be checked soon."""

    async def check(self, version: ModuleVersion, h1: str, *, go_mod: bool = False) -> None:
        """Raise ``VerificationFailed`` for a zip, or a ``go.mod``, that may not be stored."""


async def nowhere(version: ModuleVersion, blob: Blob) -> None:
    """Where wrong zips are kept by those who keep none."""


class Stash:
    """Brings files from ``origin`` into ``storage``, as far as ``sums`` lets them in.

    ``published`` is told of every version of which a file was stored; slow work is done by ``in_thread``; a fetch
    takes at most ``timeout`` seconds.  A zip that is not the one whose hash is recorded is given to ``set_aside``.
    """

    def __init__(
        self,
        *,
        storage: IStorage,
        origin: IOrigin,
        index: IIndex,
        flight: IFlight,
        spool: Spool,
        clock: IReactorTime,
        in_thread: Callable[..., Awaitable[Any]],
        published: Callable[[ModuleVersion], None],
        sums: Sums,
        timeout: float,
        set_aside: Callable[[ModuleVersion, Blob], Awaitable[None]] = nowhere,
    ) -> None:
        self._storage = storage
        self._origin = origin
        self._index = index
        self._flight = flight
        self._spool = spool
        self._clock = clock
        self._in_thread = in_thread
        self._published = published
        self._sums = sums
        self._timeout = timeout
        self._set_aside = set_aside

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """The stored file, after it was fetched if need be; or the fetched one, if there is no room for it.

        Raises what the origin raises, ``TimedOut``, or ``VerificationFailed``; then nothing of it was stored.  An
        asker who leaves does not end a fetch, since others may wait for it.
        """
        held = await self._flown(version, kind)
        if held is not None:
            return held
        try:
            return await self._storage.open(version, kind)
        except NotFound:  # in a store that is too small it may be evicted already
            return await self._flown(version, kind) or await self._storage.open(version, kind)

    async def _flown(self, version: ModuleVersion, kind: Kind) -> Blob | None:
        return await self._flight.run(f"fetch {version} {kind.value}", lambda: self._timed(version, kind))

    async def _timed(self, version: ModuleVersion, kind: Kind) -> Blob | None:
        this = step("fetch", module=version.path, version=version.version, kind=kind.value, bytes=0)
        outcome = "failed"
        try:
            with this:
                held = await within(self._clock, self._timeout, self._fetch(version, kind, this), f"fetching {version}")
            outcome = "fetched" if held is None else "fetched, and not stored"
            return held
        except AthensError as error:
            outcome = f"{type(error).__name__}: {error}"
            raise
        finally:
            log.info("fetch", **this.facts, outcome=outcome, ms=round(this.seconds * 1000, 1))

    async def _fetch(self, version: ModuleVersion, kind: Kind, this: Step) -> Blob | None:
        """Fetch, verify and publish; what there is no room for is returned.

        A fetch of another kind that brought this one along a moment ago saves the asking.
        """
        if await self._has(version, kind):
            return None
        held: Blob | None = None
        if kind is not Kind.INFO:
            self._sums.prefetch(version)
        with self._spool.directory() as into:
            files = dict(await self._origin.fetch(version, kind, into))
            this.note(bytes=files[kind].length)
            await self._verify(version, files)
            for each in _ORDER:
                if each in files and not await self._put(version, each, files[each]) and each is kind:
                    held = _held(files[each])
                    this.note(stored=False)
        self._published(version)
        await self._list_when_complete(version)
        if kind is Kind.ZIP:
            aside("complete", lambda: self._complete(version), module=version.path, version=version.version)
        return held

    async def _verify(self, version: ModuleVersion, files: dict[Kind, Blob]) -> None:
        """Check all that was fetched before any of it is published, and add the hash of the zip."""
        if Kind.INFO in files:
            _check_info(await read_all(files[Kind.INFO]), version)
        if Kind.MOD in files:
            await self._sums.check(version, h1_of_mod(await read_all(files[Kind.MOD])), go_mod=True)
        if Kind.ZIP in files:
            zip_file = files[Kind.ZIP]
            with step("verify", module=version.path, version=version.version, bytes=zip_file.length):
                checked = await self._in_thread(_checked_zip, zip_file, version)
            # A module without a go.mod has the one that Go makes up for it.
            if checked.go_mod is not None and checked.go_mod != await self._go_mod(version, files):
                raise VerificationFailed(f"{version}: the go.mod in the zip differs from the one served beside it")
            await self._sums.check(version, checked.h1)
            await self._hold_against_record(version, checked.h1, zip_file)
            files[Kind.ZIPHASH] = BytesBlob(checked.h1.encode())

    async def _go_mod(self, version: ModuleVersion, files: Mapping[Kind, Blob]) -> bytes:
        """The go.mod that is served for this version: the stored one, else the one that came along, else fetched."""
        try:
            return await read_all(await self._storage.open(version, Kind.MOD))
        except NotFound:
            return await read_all(files.get(Kind.MOD) or await self.fetch(version, Kind.MOD))

    async def _hold_against_record(self, version: ModuleVersion, h1: str, zip_file: Blob) -> None:
        """A zip that was here once comes back as it was, or not at all."""
        try:
            recorded = (await read_all(await self._storage.open(version, Kind.ZIPHASH))).decode("ascii", "replace")
        except NotFound:
            return
        if recorded.strip() == h1 or await self._has(version, Kind.ZIP):
            return
        await self._set_aside(version, zip_file)
        log.error("not the zip that was here", module=version.path, version=version.version, h1=h1, recorded=recorded)
        sums = f"\tdownloaded: {h1}\n\trecorded here: {recorded.strip()}"
        raise Mismatch(f"{version}: verifying module: checksum mismatch\n{sums}")

    async def _put(self, version: ModuleVersion, kind: Kind, blob: Blob) -> bool:
        """Store it; whether there was room."""
        try:
            await self._storage.put(version, kind, blob)
        except Conflict as conflict:
            # Another instance was first, and origins may pack the same files differently.
            log.warning("kept the first", module=version.path, version=version.version, reason=str(conflict))
        except NoRoom:
            return False
        return True

    async def _list_when_complete(self, version: ModuleVersion) -> None:
        for kind in WHOLE:
            if not await self._has(version, kind):
                return
        try:
            with step("index.add", module=version.path, version=version.version):
                await self._index.add(version)
        except Exception:
            # The module is stored and can be served; that its line is missing is for the log.
            log.exception("index failed", module=version.path, version=version.version)

    async def _complete(self, version: ModuleVersion) -> None:
        """Fetch the ``.info`` too, for which a pinned build never asks: only whole versions are listed."""
        try:
            for kind in (Kind.INFO, Kind.MOD):
                if not await self._has(version, kind):
                    await self.fetch(version, kind)
        except (AthensError, CancelledError) as error:
            log.info("version stays incomplete", module=version.path, version=version.version, error=str(error))

    async def _has(self, version: ModuleVersion, kind: Kind) -> bool:
        try:
            await self._storage.open(version, kind)
        except NotFound:
            return False
        return True


def _held(blob: Blob) -> Blob:
    """What outlives the directory that it was fetched into."""
    return HeldBlob(blob.path) if isinstance(blob, FileBlob) else blob


def _checked_zip(blob: Blob, version: ModuleVersion) -> CheckedZip:
    file = blob.file()
    assert file is not None, "an origin writes zips to files"
    with file:
        return check_zip(file, version)


def _check_info(data: bytes, version: ModuleVersion) -> None:
    """Go stops when a canonical version is answered with another one."""
    said = parse_info(data).version
    if said != version.version:
        raise VerificationFailed(f"{version}: its .info speaks of {said}")
