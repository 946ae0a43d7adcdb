"""The verbs of bundles: what is put into one, by whose key, and what is taken from one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import DeferredLock

from athensd.blob import BytesBlob
from athensd.bundle.answers import Carried, one_head
from athensd.bundle.manifest import SUMS, Entry, database_name
from athensd.bundle.packing import ANYTHING, Packer
from athensd.bundle.reading import Bundle
from athensd.bundle.writing import Writer
from athensd.checksums.database import ProvenDatabase
from athensd.cli.progress import Progress
from athensd.cli.stores import Judges, Store, opened
from athensd.cli.verbs import all_of, ended
from athensd.cli.warm import read_words
from athensd.errors import NotFound, UpstreamFailed, VerificationFailed
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, Kind
from athensd.startup import Unusable, read_configuration, read_rules
from athensd.sumdb.head import Head, open_head
from athensd.sumdb.note import Verifier, parse_verifier
from athensd.sumdb.record import Record
from athensd.sumdb.signer import Signer, new_signer, parse_signer
from athensd.upkeep.copying import Copier
from athensd.upkeep.crowd import crowd, each_of
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.source import Source
from athensd.upkeep.sums import Sums
from athensd.upkeep.tally import Tally
from athensd.upkeep.warming import Wanted


async def make_key(file: Path, name: str) -> int:
    """``athensd key``."""
    try:
        signer = new_signer(name)
        file.touch(0o600, exist_ok=False)
        try:
            file.write_text(f"{signer.secret}\n")
        except OSError:
            file.unlink()
            raise
    except ValueError as error:
        raise Unusable(f"--name: {error}") from error
    except OSError as error:
        raise Unusable(f"{file} cannot be written: {error.strerror}") from error
    click.echo(signer.public)
    return 0


async def export(
    reactor: Any,
    *,
    what: Sequence[str],
    output: Path,
    key: Path,
    since: Sequence[Path],
    platforms: Sequence[str],
    config_file: str | None,
    patterns: str,
    jobs: int,
) -> int:
    """``athensd export``."""
    signer = _read_key(key)
    wanted = read_words(what, platforms) if what else None
    with ExitStack() as stack:
        store = stack.enter_context(opened(reactor, read_configuration(config_file)))
        await store.storage.check()
        in_thread = store.ground.in_thread
        revoked = read_rules(store.config).revoked
        judges = Judges(store)
        database, exempt = judges.database(), judges.exempt()
        earlier = [stack.enter_context(_open(path, signer.verifier)) for path in since]
        heads = _heads(earlier, database) if database else []
        writer = stack.enter_context(await in_thread(Writer, output))
        done = set(writer.versions())
        if done:
            click.echo(f"going on behind the {len(done)} versions in {output}.part", err=True)
        if not all(_is_chosen(version, wanted, patterns) for version in done):
            raise Unusable(f"{output}.part is of another export; finish that one, or delete it")
        if stones := [stone for version in done if (stone := revoked.of(version.path, version.version))]:
            raise Unusable(f"{output}.part has {stones[0].version}, which is revoked by now; delete it")

        total, chosen = await _chosen(store, wanted, patterns)
        with Progress("exporting", total) as progress:
            tally = Tally(progress.say)
            packer = Packer(
                store.storage,
                Inspector(in_thread, Sums(database, exempt)),
                store.ground.spool,
                tally,
                writer,
                {entry.name for bundle in earlier for entry in bundle.entries},
                in_thread,
                DeferredLock(),
            )

            async def pack(each: tuple[ModuleVersion, frozenset[Kind]]) -> None:
                version, _ = each
                if version in done:
                    tally.count("in it already")
                elif revoked.of(version.path, version.version):
                    # Inside nobody may know that it is.  In a whole store it is no fault: it stays there as evidence.
                    (tally.note if wanted is None else tally.fault)(version, "revoked")
                    tally.count("not exported")
                else:
                    await packer.pack(each)

            await crowd(chosen, progress.counted(pack), jobs)
        public = [version for version in writer.versions() if version.path not in exempt]
        if database is None:
            click.echo("GOSUMDB is off: no checksum database is asked, and clients inside cannot ask one either")
        elif public or heads:
            records = await _looked_up(database, public, tally, jobs)
            async for files in one_head(database, records, heads, jobs):
                await in_thread(writer.add, files)
        size = await in_thread(writer.finish, signer)
        click.echo(f"{output}: {size} bytes, signed by {signer.public}")
        return ended(tally)


async def import_bundle(
    reactor: Any, *, file: Path, key: str, config_file: str | None, patterns: str, jobs: int
) -> int:
    """``athensd import`` of a file."""
    try:
        verifier = parse_verifier(key)
    except ValueError as error:
        raise Unusable("--key must be what athensd key has printed: name+hash+key") from error
    with ExitStack() as stack:
        bundle = stack.enter_context(_open(file, verifier))
        store = stack.enter_context(opened(reactor, read_configuration(config_file), new=True))
        await store.storage.check()
        in_thread = store.ground.in_thread
        with _nothing_imported(file), Progress("verifying", len(bundle.entries), things="files") as progress:
            versions = bundle.versions()
            name = database_name(bundle.entries)

            async def verify(entry: Entry) -> None:
                await in_thread(bundle.check, entry)

            await crowd(each_of(bundle.entries), progress.counted(verify), jobs)
        sums = await _brought(Judges(store), Carried(bundle, name), file, jobs) if name else Sums()

        chosen = [version for version in versions if not patterns or matches(patterns, version.path)]
        with Progress("importing", len(chosen)) as progress:
            tally = Tally(progress.say)
            copier = Copier(store.storage, Inspector(in_thread, sums, copying=True), store.ground.store_spool, tally)

            async def bring(version: ModuleVersion) -> None:
                async def open(kind: Kind) -> Blob:
                    entry = versions[version].get(kind)
                    if entry is None:
                        raise NotFound(f"{version} {kind.value} is not in the bundle")
                    return bundle.blob(entry) if kind is Kind.ZIP else BytesBlob(await in_thread(bundle.read, entry))

                await copier.copy(Source(version, open))

            await crowd(each_of(chosen), progress.counted(bring), jobs)
        return ended(tally)


def _read_key(file: Path) -> Signer:
    try:
        return parse_signer(file.read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not one that athensd key has made"
        raise Unusable(f"the key {file} cannot be used: {reason}") from error


def _open(file: Path, verifier: Verifier) -> Bundle:
    with _nothing_imported(file):
        return Bundle(file, verifier)


@contextmanager
def _nothing_imported(file: Path) -> Iterator[None]:
    try:
        yield
    except VerificationFailed as error:
        raise Unusable(f"{file} is refused, and nothing of it was taken: {error}") from error
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}") from error


def _heads(earlier: Sequence[Bundle], database: ProvenDatabase) -> list[Head]:
    """The tree heads in earlier bundles."""
    entries = [(bundle, bundle.find(f"{SUMS}{database.name}/latest")) for bundle in earlier]
    return [open_head(bundle.read(entry), database.verifier) for bundle, entry in entries if entry]


async def _chosen(
    store: Store, wanted: Wanted | None, patterns: str
) -> tuple[int | None, AsyncIterator[tuple[ModuleVersion, frozenset[Kind]]]]:
    """How many versions are to be exported, and which files of each."""
    if wanted is not None:
        items = [each for each in wanted.items() if _is_chosen(each[0], wanted, patterns)]
        return len(items), each_of(items)
    total, versions = await all_of(store, patterns)

    async def anything() -> AsyncIterator[tuple[ModuleVersion, frozenset[Kind]]]:
        async for version in versions:
            yield version, ANYTHING

    return total, anything()


def _is_chosen(version: ModuleVersion, wanted: Wanted | None, patterns: str) -> bool:
    return (wanted is None or version in wanted) and (not patterns or matches(patterns, version.path))


async def _looked_up(
    database: ProvenDatabase, versions: Sequence[ModuleVersion], tally: Tally, jobs: int
) -> dict[ModuleVersion, Record]:
    """What the database says of these versions, and from now on its newest head."""
    await database.latest()
    found: dict[ModuleVersion, Record] = {}

    async def look_up(version: ModuleVersion) -> None:
        try:
            found[version] = await database.record(version)
        except NotFound:
            tally.note(version, f"{database.name} does not know it; clients inside need it in GONOSUMDB")

    with Progress("looking up", len(versions)) as progress:
        await crowd(each_of(versions), progress.counted(look_up), jobs)
    return found


async def _brought(judges: Judges, carried: Carried, file: Path, jobs: int) -> Sums:
    """The database as far as it is in the bundle, from now on kept here."""
    database = judges.carried(carried.name, carried)
    if database is None:
        raise Unusable(
            f"{file} has answers of {carried.name}, of which neither GOSUMDB nor SumDBs has the key; nothing was taken"
        )

    async def keep(version: ModuleVersion) -> None:
        await database.record(version)

    versions = carried.versions()
    try:
        await carried.join(database)
        with Progress("checksum answers", len(versions), things="answers") as progress:
            await crowd(each_of(versions), progress.counted(keep), jobs)
    except UpstreamFailed as error:
        raise Unusable(
            f"{file} does not continue what is known here of {carried.name}, and no module of it was taken: export one "
            "with --since and the bundle that was imported last"
        ) from error
    except VerificationFailed as error:
        raise Unusable(f"{file} is refused, and no module of it was taken: {error}") from error
    return Sums(database, judges.exempt())
