"""Is a store as it was when it was filled?"""

from __future__ import annotations

from attrs import frozen

from athensd.blob import BytesBlob
from athensd.errors import AthensError
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, IStorage, Kind
from athensd.spool import Spool
from athensd.upkeep.inspection import Inspected, Inspector
from athensd.upkeep.mending import Mender, NotMended
from athensd.upkeep.source import stored
from athensd.upkeep.tally import Tally


@frozen
class Checker:
    """Checks versions of ``storage``, and mends with ``mender`` what is wrong, if there is one."""

    storage: IStorage
    inspector: Inspector
    spool: Spool
    tally: Tally
    mender: Mender | None = None

    async def check(self, version: ModuleVersion) -> None:
        """Check all files of a version that are there."""
        with self.spool.directory() as into:
            into.mkdir()
            try:
                found = await self.inspector.inspect(stored(self.storage, version), into)
                if not found.there:
                    return  # it was deleted in the meantime
                self._count(version, found)
                if not found.faults:
                    await self._record(version, found)
                    return
            except AthensError as error:
                self.tally.fault(version, str(error))
                self.tally.count("could not be checked")
                return
            for fault in found.faults:
                self.tally.fault(version, fault)
            await self._mend(version, found)

    def _count(self, version: ModuleVersion, found: Inspected) -> None:
        if found.there >= WHOLE:
            self.tally.count("complete")
        elif Kind.ZIP in found.there:
            missing = " and no ".join(f".{kind.value}" for kind in Kind if kind in WHOLE - found.there)
            self.tally.note(version, f"incomplete: there is no {missing}")
            self.tally.count("incomplete")
        else:
            # As the go command leaves them that needs only the go.mod of most versions.
            self.tally.count("without a zip")

    async def _record(self, version: ModuleVersion, found: Inspected) -> None:
        """A sound zip beside which there is no hash, as Athens stores them, gets one."""
        if not found.h1 or Kind.ZIPHASH in found.there:
            return
        self.tally.count("zips without a recorded hash")
        if self.mender:
            await self.storage.put(version, Kind.ZIPHASH, BytesBlob(found.h1.encode()))
            self.tally.count("hashes recorded")

    async def _mend(self, version: ModuleVersion, found: Inspected) -> None:
        self.tally.count("wrong")
        if self.mender is None:
            return
        try:
            await self.mender.mend(version, found)
        except NotMended as why:
            self.tally.note(version, f"kept as it is: {why}")
            self.tally.count("kept as they are")
        else:
            self.tally.note(version, "fetched again and replaced; what was there is in quarantine")
            self.tally.count("replaced")
