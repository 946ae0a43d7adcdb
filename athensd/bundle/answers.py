"""What a checksum database says of versions, with one tree head for all: out of the world, and into a site without it.

A lookup may come with any signed head of a tree that has the record.  With one and the same for all, the tiles of that
tree are all that is ever asked for; and with those that lead there from an older head, a site that has that one goes
on from it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice

from attrs import frozen

from athensd.blob import BytesBlob
from athensd.bundle.manifest import SUMS
from athensd.bundle.reading import Bundle
from athensd.checksums.database import ProvenDatabase
from athensd.errors import NotFound, UpstreamFailed
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.head import Head, check_timeline, timeline_indexes
from athensd.sumdb.record import Record, inclusion_indexes, lookup_path, lookup_text
from athensd.sumdb.tile import Tile, tiles_needed, verify
from athensd.sumdb.tlog import Hashes
from athensd.upkeep.crowd import crowd, each_of

AT_ONCE = 500
"""So many records are proven at a time, by some MB of tiles."""


async def one_head(
    database: ProvenDatabase, records: Mapping[ModuleVersion, Record], older: Sequence[Head], jobs: int
) -> AsyncIterator[list[tuple[str, BytesBlob]]]:
    """The files that prove these records in the database's newest tree, and that it continues the ``older`` ones.

    Raises ``UpstreamFailed`` and its like when the database cannot be asked, ``VerificationFailed``.
    """
    head, root = database.head, f"{SUMS}{database.name}/"
    given: set[Tile] = set()

    async def proven(indexes: list[int]) -> tuple[Hashes, list[tuple[str, BytesBlob]]]:
        """These hashes, and the tiles for them that were not given yet."""
        tiles: dict[Tile, bytes] = {}

        async def have(tile: Tile) -> None:
            tiles[tile] = (await database.tile(tile)).data

        needed = tiles_needed(head.tree.size, indexes)
        await crowd(each_of(needed), have, jobs)
        hashes = verify(head.tree, indexes, tiles)
        files = [(f"{root}{tile.path}", BytesBlob(tiles[tile])) for tile in needed if tile not in given]
        given.update(needed)
        return hashes, files

    for each in older:
        if each.tree.size > head.tree.size:
            raise UpstreamFailed(f"{database.name} shows an older tree than it did for the earlier bundle")
    hashes, files = await proven([index for each in older for index in timeline_indexes(each, head)])
    for each in older:
        check_timeline(each, head, hashes)
    yield [(f"{root}latest", BytesBlob(head.message)), *files]
    left = iter(sorted(records, key=str))
    while some := list(islice(left, AT_ONCE)):
        _, files = await proven([index for each in some for index in inclusion_indexes(records[each], head.tree)])
        lookups = [(lookup_path(each), lookup_text(records[each]) + head.message) for each in some]
        yield [*files, *((f"{root}{path}", BytesBlob(data)) for path, data in lookups)]


@frozen
class Carried:
    """The database called ``name`` as far as it is in a bundle; instead of one that is asked over the network."""

    bundle: Bundle
    name: str

    async def ask(self, path: str, limit: int) -> bytes:
        """The file at ``path`` below the database's URL.  Raises ``NotFound``, ``VerificationFailed``."""
        entry = self.bundle.find(f"{SUMS}{self.name}/{path}")
        if entry is None or entry.size > limit:
            raise NotFound(f"{path} is not in the bundle")
        return self.bundle.read(entry)

    async def join(self, database: ProvenDatabase) -> None:
        """Have the database, which asks here, go on from its own tree head to the one in the bundle.

        Raises ``UpstreamFailed`` when the tiles that lead there are nowhere, ``VerificationFailed``.
        """
        if (await database.latest()).state == "stale":
            raise UpstreamFailed(f"the bundle does not continue what is known here of {self.name}")

    def versions(self) -> list[ModuleVersion]:
        """Those that the database says something of.  Raises ``InvalidPath``."""
        lookups = f"{SUMS}{self.name}/lookup/"
        names = [entry.name.removeprefix(lookups) for entry in self.bundle.entries if entry.name.startswith(lookups)]
        parts = [name.rpartition("@") for name in names]
        return [ModuleVersion(unescape_path(path), unescape_version(version)) for path, _, version in parts]
