"""Versions to be worked on, from wherever they are, as they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from attrs import frozen

from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IStorage, Kind
from athensd.upkeep.folder import FolderVersion

_PAGE = 1000


@frozen
class Source:
    """A version and how its files are opened, which raises ``NotFound`` or ``StorageFailed``."""

    version: ModuleVersion
    open: Callable[[Kind], Awaitable[Blob]]


def stored(storage: IStorage, version: ModuleVersion) -> Source:
    """A version in a store."""
    return Source(version, partial(storage.open, version))


async def catalog(storage: Any) -> AsyncIterator[ModuleVersion]:
    """All complete versions of an ``ICatalog``."""
    token = ""
    while True:
        page = await storage.page(token, _PAGE)
        for version in page.versions:
            yield version
        if not page.next:
            return
        token = page.next


async def walked(
    found: Iterator[FolderVersion], in_thread: Callable[..., Awaitable[Any]]
) -> AsyncIterator[FolderVersion]:
    """What a walk through a folder finds; the walking is done in threads."""
    while some := await in_thread(lambda: list(islice(found, _PAGE))):
        for each in some:
            yield each


async def below(versions: AsyncIterator[ModuleVersion], patterns: str) -> AsyncIterator[ModuleVersion]:
    """Those whose paths match one of the patterns, as in ``go help module-private``; all, if there is none."""
    async for version in versions:
        if not patterns or matches(patterns, version.path):
            yield version
