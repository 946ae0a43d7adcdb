"""What a checksum database says of what is stored."""

from __future__ import annotations

from attrs import field, frozen

from athensd.checksums.verifier import Exempt, Records
from athensd.errors import NotFound
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.record import Record, go_sum_lines


@frozen
class Said:
    """The hashes that a database, called ``name``, has of a version."""

    name: str
    record: Record
    version: ModuleVersion

    def fault(self, h1: str, *, go_mod: bool = False) -> str:
        """Why a zip with this hash, or a ``go.mod``, is not the one that everybody was given; empty when it is."""
        said = [line.split(" ", 2)[2] for line in go_sum_lines(self.record, self.version, go_mod=go_mod)]
        what = "the go.mod" if go_mod else "the zip"
        return "" if h1 in said else f"{what} has the hash {h1}, and {self.name} has {', '.join(said) or 'none of it'}"


@frozen
class Sums:
    """Asks ``database``, but not of modules that are ``exempt``; ``None``: nothing is asked."""

    database: Records | None = None
    exempt: Exempt = field(factory=Exempt)

    async def said(self, version: ModuleVersion) -> Said | None:
        """What it says; ``None`` when it is not asked, or does not know the version.

        Raises ``UpstreamFailed`` and its like when that cannot be found out.
        """
        if self.database is None or version.path in self.exempt:
            return None
        try:
            return Said(self.database.name, await self.database.record(version), version)
        except NotFound:
            return None
