"""So many questions at a time, and so many more waiting; beyond that, 'ask again later'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from twisted.internet.defer import DeferredSemaphore
from zope.interface import implementer

from athensd.errors import Overloaded
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind


@implementer(IOrigin)
class BoundedOrigin:
    """``origin``, asked ``at_once`` questions at a time while at most ``queue`` wait; then ``Overloaded``."""

    def __init__(self, origin: IOrigin, at_once: int, queue: int) -> None:
        self._origin = origin
        self._slots = DeferredSemaphore(at_once)
        self._queue = queue

    async def list(self, path: str) -> Sequence[Listed]:
        async with self._slot():
            return await self._origin.list(path)

    async def resolve(self, path: str, query: str) -> Info:
        async with self._slot():
            return await self._origin.resolve(path, query)

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        async with self._slot():
            return await self._origin.fetch(version, kind, into)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if not self._slots.tokens and len(self._slots.waiting) >= self._queue:
            raise Overloaded("too many modules are being fetched just now; ask again in a few seconds")
        await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()
