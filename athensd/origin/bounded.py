"""So many questions at a time, and so many more waiting; beyond that, 'ask again later'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from zope.interface import implementer

from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.origin.slots import Slots, overloaded
from athensd.steps import Step, step


@implementer(IOrigin)
class BoundedOrigin:
    """``origin``, asked ``at_once`` questions at a time while at most ``queue`` wait; then ``Overloaded``.

    Clients are served in turn, and who has the most waiting gives way when the queue is full.

    ``name`` is what the origin is called where one looks at what is going on.
    """

    def __init__(self, origin: IOrigin, name: str, at_once: int, queue: int) -> None:
        self._origin = origin
        self._name = name
        self._slots = Slots(at_once)
        self._queue = queue

    @property
    def waiting(self) -> int:
        """How many questions wait for their turn."""
        return self._slots.waiting

    async def list(self, path: str) -> Sequence[Listed]:
        async with self._slot(step("origin.list", origin=self._name, module=path)):
            return await self._origin.list(path)

    async def resolve(self, path: str, query: str) -> Info:
        async with self._slot(step("origin.resolve", origin=self._name, module=path, version=query)):
            return await self._origin.resolve(path, query)

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        asking = step("origin.fetch", origin=self._name, module=version.path, version=version.version, kind=kind.value)
        async with self._slot(asking):
            files = await self._origin.fetch(version, kind, into)
            asking.note(bytes=sum(blob.length for blob in files.values()))
            return files

    @asynccontextmanager
    async def _slot(self, asking: Step) -> AsyncIterator[None]:
        with step("queue", **asking.facts):
            if self._slots.all_taken and self.waiting >= self._queue and not self._slots.make_room():
                raise overloaded()
            await self._slots.take()
        try:
            with asking:
                yield
        finally:
            self._slots.give_back()
