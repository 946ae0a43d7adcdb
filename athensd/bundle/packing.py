"""Versions of a store are put into a bundle, verified."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from typing import Any

from attrs import frozen
from twisted.internet.defer import DeferredLock

from athensd.blob import BytesBlob
from athensd.bundle.manifest import file_name
from athensd.bundle.writing import Writer
from athensd.errors import NotFound, StorageFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Blob, IStorage, Kind
from athensd.spool import Spool
from athensd.upkeep.inspection import Inspected, Inspector
from athensd.upkeep.source import Source
from athensd.upkeep.tally import Tally

_ORDER = (Kind.MOD, Kind.INFO, Kind.ZIPHASH, Kind.ZIP)
ANYTHING: frozenset[Kind] = frozenset()
"""Of a version whatever is stored is wanted."""


@frozen
class Packer:
    """Packs what is in ``storage`` by ``writer``, but nothing whose names are all in ``earlier`` bundles.

    ``inspector`` says what is sound.
    """

    storage: IStorage
    inspector: Inspector
    spool: Spool
    tally: Tally
    writer: Writer
    earlier: Container[str]
    in_thread: Callable[..., Awaitable[Any]]
    turn: DeferredLock

    async def pack(self, wanted: tuple[ModuleVersion, frozenset[Kind]]) -> None:
        """Pack these files of a version and its ``.info``, or nothing of it when one is missing or damaged.

        Raises ``UpstreamFailed`` and its like when the checksum database cannot be asked, and what ``writer`` raises.
        """
        version, kinds = wanted
        there = {kind for kind in WHOLE if await self._is_stored(version, kind)}
        if missing := sorted(kind.value for kind in kinds - there):
            self.tally.fault(version, f"not stored: {', '.join(missing)} (athensd warm has it fetched)")
            self.tally.count("not exported")
            return
        taken = there & (kinds | {Kind.INFO} if kinds else WHOLE)
        if all(file_name(version, kind) in self.earlier for kind in taken):
            self.tally.count("in an earlier bundle")
            return
        with self.spool.directory() as into:
            into.mkdir()
            try:
                found = await self.inspector.inspect(self._only(version, taken), into)
            except (StorageFailed, VerificationFailed) as error:
                self.tally.fault(version, str(error))
                self.tally.count("not exported")
            else:
                await self._put(version, found)

    async def _put(self, version: ModuleVersion, found: Inspected) -> None:
        for fault in found.faults:
            self.tally.fault(version, fault)
        if found.faults:
            self.tally.count("damaged")
            return
        files = dict(found.files)
        files.pop(Kind.ZIPHASH, None)
        if found.h1:
            files[Kind.ZIPHASH] = BytesBlob(found.h1.encode())
        members = [(file_name(version, kind), files[kind]) for kind in _ORDER if kind in files]
        await self.turn.acquire()
        try:
            await self.in_thread(self.writer.add, members)
        finally:
            self.turn.release()
        self.tally.count("exported" if Kind.ZIP in files else "exported without a zip")

    def _only(self, version: ModuleVersion, kinds: Container[Kind]) -> Source:
        """The version as if nothing else of it were stored."""

        async def open(kind: Kind) -> Blob:
            if kind in kinds or kind is Kind.ZIPHASH:
                return await self.storage.open(version, kind)
            raise NotFound(f"{version} {kind.value} is not wanted")

        return Source(version, open)

    async def _is_stored(self, version: ModuleVersion, kind: Kind) -> bool:
        try:
            await self.storage.open(version, kind)
        except NotFound:
            return False
        return True
