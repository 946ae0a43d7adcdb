"""Versions are brought into a store: verified, file by file, and never over what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from athensd.blob import BytesBlob, read_all
from athensd.errors import AthensError, Conflict, NotFound, StorageFailed, VerificationFailed
from athensd.gomod.info import parse_info
from athensd.gomod.ziphash import MAX_GO_MOD
from athensd.interfaces import Blob, IStorage, Kind
from athensd.spool import Spool
from athensd.upkeep.inspection import Inspected, Inspector
from athensd.upkeep.source import Source, stored
from athensd.upkeep.tally import Tally

# Whoever sees a zip can see its hash, and the go.mod that it agrees with.
_ORDER = (Kind.MOD, Kind.ZIPHASH, Kind.INFO, Kind.ZIP)
# Of a zip that is there already it must be known first that it is this one.
_ORDER_WITHOUT_HASH = (Kind.MOD, Kind.ZIP, Kind.ZIPHASH, Kind.INFO)


@frozen
class Copier:
    """Brings versions into ``target``.  ``inspector`` copies; ``spool`` is that of the target."""

    target: IStorage
    inspector: Inspector
    spool: Spool
    tally: Tally

    async def copy(self, source: Source) -> None:
        """Copy what there is of a version, if it is sound and the target has nothing else; the tally is told."""
        try:
            if await self._is_there(source):
                self.tally.count("already there")
                return
            with self.spool.directory() as into:
                into.mkdir()
                await self._copy(source, into)
        except AthensError as error:
            self.tally.fault(source.version, str(error))
            self.tally.count("not copied")

    async def _copy(self, source: Source, into: Path) -> None:
        found = await self.inspector.inspect(source, into)
        if found.faults:
            for fault in found.faults:
                self.tally.fault(source.version, fault)
            self.tally.count("damaged")
            return
        try:
            await self._put(source, found)
        except Conflict as conflict:
            self.tally.fault(source.version, str(conflict))
            self.tally.count("conflicts")
        else:
            self.tally.count("copied" if Kind.ZIP in found.files else "copied without a zip")

    async def _put(self, source: Source, found: Inspected) -> None:
        files = dict(found.files)
        if found.h1:
            files[Kind.ZIPHASH] = BytesBlob(found.h1.encode())
        else:
            files.pop(Kind.ZIPHASH, None)
        for kind in await self._order(source):
            if kind in files:
                await self._put_one(source, kind, files)

    async def _order(self, source: Source) -> tuple[Kind, ...]:
        there = stored(self.target, source.version)
        hashless = await _opened(there, Kind.ZIP) and not await _opened(there, Kind.ZIPHASH)
        return _ORDER_WITHOUT_HASH if hashless else _ORDER

    async def _put_one(self, source: Source, kind: Kind, files: Mapping[Kind, Blob]) -> None:
        try:
            await self.target.put(source.version, kind, files[kind])
        except Conflict:
            there = await _small(stored(self.target, source.version), Kind.ZIPHASH if kind is Kind.ZIP else kind)
            # The same files may be packed differently.
            if not _same(kind, await read_all(files[Kind.ZIPHASH if kind is Kind.ZIP else kind]), there):
                raise

    async def _is_there(self, source: Source) -> bool:
        """Whether the target has it all, as far as can be said without reading both zips."""
        there = stored(self.target, source.version)
        zipped = await _opened(source, Kind.ZIP)
        if zipped is not None:
            other = await _opened(there, Kind.ZIP)
            hashed = await _small(there, Kind.ZIPHASH)
            if other is None or hashed is None:
                return False
            # Beside a zip that Athens stored there is no hash.
            recorded = await _small(source, Kind.ZIPHASH)
            if hashed != recorded if recorded else other.length != zipped.length:
                return False
        for kind in (Kind.MOD, Kind.INFO):
            data = await _small(source, kind)
            if data is not None and not _same(kind, data, await _small(there, kind)):
                return False
        return True


async def _opened(source: Source, kind: Kind) -> Blob | None:
    try:
        return await source.open(kind)
    except NotFound:
        return None


async def _small(source: Source, kind: Kind) -> bytes | None:
    blob = await _opened(source, kind)
    if blob is None:
        return None
    if blob.length > MAX_GO_MOD:
        raise VerificationFailed(f"the {kind.value} file is larger than {MAX_GO_MOD} bytes")
    try:
        return await read_all(blob)
    except OSError as error:
        raise StorageFailed(f"the {kind.value} file could not be read: {error.strerror}") from error


def _same(kind: Kind, data: bytes, other: bytes | None) -> bool:
    """Whether two files mean the same: a ``.info`` may tell in other words where the version came from."""
    if data == other or other is None or kind is not Kind.INFO:
        return data == other
    try:
        one, two = parse_info(data), parse_info(other)
    except VerificationFailed:
        return False
    return (one.version, one.time) == (two.version, two.time)
