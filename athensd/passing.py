"""A miss of what is not to be stored: fetched for those who ask just now, and then forgotten."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from athensd.blob import FileBlob, HeldBlob
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IFlight, IOrigin, Kind
from athensd.spool import Spool
from athensd.steps import step
from athensd.waiting import within


class Passing:
    """Gives what ``origin`` sends within ``timeout`` seconds, as it was sent.

    Whoever asks while it is being fetched shares it, so ``flight`` must be of this process.
    """

    def __init__(self, origin: IOrigin, flight: IFlight, spool: Spool, clock: IReactorTime, timeout: float) -> None:
        self._origin = origin
        self._flight = flight
        self._spool = spool
        self._clock = clock
        self._timeout = timeout

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """The file.  Raises what the origin raises, or ``TimedOut``."""
        return await self._flight.run(
            f"pass {version} {kind.value}",
            lambda: within(self._clock, self._timeout, self._fetch(version, kind), f"fetching {version}"),
        )

    async def _fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        with step("pass", module=version.path, version=version.version, kind=kind.value) as this:
            with self._spool.directory() as into:
                blob = (await self._origin.fetch(version, kind, into))[kind]
                this.note(bytes=blob.length)
                return HeldBlob(blob.path) if isinstance(blob, FileBlob) else blob
