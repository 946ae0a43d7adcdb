"""The verbs: what is to be worked on, by whom, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import click

from athensd.cli.progress import Progress
from athensd.cli.stores import Judges, Store, named, opened, place
from athensd.gomod.pattern import matches
from athensd.interfaces import WHOLE
from athensd.startup import Unusable, read_configuration
from athensd.upkeep.checking import Checker
from athensd.upkeep.copying import Copier
from athensd.upkeep.crowd import crowd
from athensd.upkeep.folder import GO, FolderVersion, Layout, layout_of, walk
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.source import Source, below, stored, walked
from athensd.upkeep.sums import Sums
from athensd.upkeep.tally import Tally

WRONG = 1


async def check(reactor: Any, *, config_file: str | None, patterns: str, sums: bool, repair: bool, jobs: int) -> int:
    """``athensd fsck``."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(opened(reactor, read_configuration(config_file)))
        total, versions = await all_of(store, patterns)
        await store.storage.check()
        judges = Judges(store) if sums or repair else None
        known = judges.sums() if judges else Sums()
        if sums and known.database is None:
            raise Unusable("--sums: GOSUMDB is off, so there is no checksum database to ask")
        mender = await stack.enter_async_context(judges.mender(known)) if judges and repair else None
        with Progress("checking", total) as progress:
            tally = Tally(progress.say)
            ground = store.ground
            inspector = Inspector(ground.in_thread, known if sums else Sums())
            checker = Checker(store.storage, inspector, ground.spool, tally, mender)
            await crowd(versions, progress.counted(checker.check), jobs)
        return ended(tally)


async def copy_store(reactor: Any, *, from_: str, to: str, patterns: str, jobs: int) -> int:
    """``athensd copy``."""
    with ExitStack() as stack:
        one, other = named(from_), named(to)
        if place(one) == place(other):
            raise Unusable(f"{from_} and {to} are the same store")
        source = stack.enter_context(opened(reactor, one))
        target = stack.enter_context(opened(reactor, other, new=True))
        versions = below(source.versions(), patterns)
        await source.storage.check()
        await target.storage.check()
        total = (
            await _count(source.ground.in_thread, source.folder, GO, patterns, whole=True) if source.folder else None
        )
        with Progress("copying", total) as progress:
            tally = Tally(progress.say)
            inspector = Inspector(target.ground.in_thread, Sums(), copying=True)
            copier = Copier(target.storage, inspector, target.ground.store_spool, tally)

            async def copy(version: Any) -> None:
                await copier.copy(stored(source.storage, version))

            await crowd(versions, progress.counted(copy), jobs)
        return ended(tally)


async def import_folder(
    reactor: Any, *, directory: Path, config_file: str | None, patterns: str, sums: bool, jobs: int
) -> int:
    """``athensd import``."""
    with opened(reactor, read_configuration(config_file), new=True) as store:
        await store.storage.check()
        in_thread = store.ground.in_thread
        known = Judges(store).sums() if sums else Sums()
        if sums and known.database is None:
            raise Unusable("--sums: GOSUMDB is off, so there is no checksum database to ask")
        found = await in_thread(layout_of, directory)
        if found is None:
            raise Unusable(f"{directory} has no module in it: it is neither a module cache nor a disk store of Athens")
        layout, root = found
        total = await _count(in_thread, root, layout, patterns)
        click.echo(f"{root}: {layout.name}, {total} versions")
        with Progress("importing", total) as progress:
            tally = Tally(progress.say)
            copier = Copier(store.storage, Inspector(in_thread, known, copying=True), store.ground.store_spool, tally)

            async def bring(each: FolderVersion) -> None:
                await copier.copy(Source(each.version, each.open))

            matching = (each for each in walk(root, layout) if _matches(each, patterns))
            await crowd(walked(matching, in_thread), progress.counted(bring), jobs)
        return ended(tally)


async def all_of(store: Store, patterns: str) -> tuple[int | None, AsyncIterator[Any]]:
    """All versions of a store, and how many they are if that can be said; of a directory the incomplete ones too."""
    folder = store.folder
    if folder is None:
        return None, below(store.versions(), patterns)
    total = await _count(store.ground.in_thread, folder, GO, patterns)
    found = (each for each in walk(folder, GO) if _matches(each, patterns))

    async def versions() -> AsyncIterator[Any]:
        async for each in walked(found, store.ground.in_thread):
            yield each.version

    return total, versions()


async def _count(
    in_thread: Callable[..., Awaitable[Any]], root: Path, layout: Layout, patterns: str, *, whole: bool = False
) -> int:
    """How many versions there are in a folder, or how many complete ones."""
    found = (each for each in walk(root, layout) if _matches(each, patterns))
    total: int = await in_thread(lambda: sum(not whole or each.files.keys() >= WHOLE for each in found))
    return total


def _matches(found: FolderVersion, patterns: str) -> bool:
    return not patterns or matches(patterns, found.version.path)


def ended(tally: Tally) -> int:
    """Say the counts; the status."""
    click.echo(str(tally))
    return WRONG if tally.faults else 0
