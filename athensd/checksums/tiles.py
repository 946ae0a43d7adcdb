"""The tiles of one database: those that are needed, from memory, from disk or from the database, and proven."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from threading import Lock
from typing import Any, TypeVar

import structlog
from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults

from athensd.checksums.cache import Cache
from athensd.checksums.source import LONGEST, Asks
from athensd.errors import NotFound, UpstreamFailed, VerificationFailed
from athensd.interfaces import IFlight
from athensd.sumdb.tile import Tile, hash_from_tile, tile_for_index, tiles_needed, verify
from athensd.sumdb.tlog import Hashes, Tree

T = TypeVar("T")
log = structlog.get_logger()
REMEMBERED = 512
"""So many tiles at most are in memory, of up to 8 kB each."""


@frozen
class Proof:
    """Hashes that are in a tree, all tiles that prove it, and those of them that were fetched for it."""

    hashes: Hashes
    tiles: Mapping[Tile, bytes]
    fetched: frozenset[Tile]


class Tiles:
    """Proves hashes; what is proven of our own tree is in memory, and on disk from then on."""

    def __init__(
        self, name: str, source: Asks, cache: Cache, flight: IFlight, in_thread: Callable[..., Awaitable[Any]]
    ) -> None:
        self._name = name
        self._source = source
        self._cache = cache
        self._flight = flight
        self._in_thread = in_thread
        # By complete tiles.  Whatever part of one is proven holds for every tree of the same log that has it.
        self._proven: OrderedDict[Tile, bytes] = OrderedDict()
        # What others have fetched for a proof that is still under way.
        self._arrived: dict[Tile, bytes] = {}
        self._lock = Lock()

    def known(self, indexes: Iterable[int]) -> dict[int, bytes] | None:
        """These hashes, if all of them are in tiles that are in memory."""
        found: dict[int, bytes] = {}
        for index in indexes:
            tile = tile_for_index(index)
            data = self.proven(tile)
            if data is None:
                return None
            found[index] = hash_from_tile(tile, data, index)
        return found

    def proven(self, tile: Tile) -> bytes | None:
        """The hashes of a tile that is in memory, cut from a wider one if need be."""
        data = self._proven.get(tile.complete, b"")
        if len(data) < tile.size:
            return None
        self._proven.move_to_end(tile.complete)
        return data[: tile.size]

    async def prove(self, tree: Tree, indexes: Iterable[int]) -> Proof:
        """Have these hashes and prove that the tree, whose head was signed, has them.  Nothing is kept.

        Raises ``VerificationFailed``, or ``UpstreamFailed`` when a tile cannot be had.
        """
        indexes = list(indexes)
        needed = tiles_needed(tree.size, indexes)
        try:
            on_disk = await self._in_thread(self._read, [tile for tile in needed if self.proven(tile) is None])
            # Meanwhile others may have proven some: so memory is looked into last, and nothing is asked twice.
            kept = on_disk | {tile: data for tile in needed if (data := self.proven(tile)) is not None}
            fetched = await self._fetch([tile for tile in needed if tile not in kept])
            try:
                hashes = verify(tree, indexes, {**kept, **fetched})
            except VerificationFailed:
                if not kept:
                    raise
                # A file may be damaged, or the tree be another one: either can be seen from what is said now.
                kept, fetched = {}, await self._fetch(needed)
                hashes = verify(tree, indexes, fetched)
        finally:
            for tile in needed:
                self._arrived.pop(tile, None)
        return Proof(hashes, {**kept, **fetched}, frozenset(fetched))

    async def keep(self, proof: Proof) -> None:
        """Remember the tiles of a proof, as its tree is a state of our own log."""
        for tile, data in proof.tiles.items():
            if len(self._proven.get(tile.complete, b"")) <= tile.size:
                self._proven[tile.complete] = data
            self._proven.move_to_end(tile.complete)
        while len(self._proven) > REMEMBERED:
            self._proven.popitem(last=False)
        if proof.fetched:
            await self._in_thread(self._write, {tile: proof.tiles[tile] for tile in proof.fetched})

    def _read(self, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
        return {tile: data for tile in tiles if (data := self._cache.tile(tile)) is not None}

    def _write(self, tiles: Mapping[Tile, bytes]) -> None:
        try:
            with self._lock:
                for tile, data in tiles.items():
                    # By now a wider one may have been written.
                    self._cache.put_tile(tile, self._proven.get(tile.complete, data))
        except OSError as error:
            log.warning("tiles are not kept on disk", database=self._name, reason=error.strerror)

    async def _fetch(self, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
        tiles = list(tiles)
        return dict(zip(tiles, await _all(self._one(tile) for tile in tiles), strict=True))

    async def _one(self, tile: Tile) -> bytes:
        arrived = self._arrived.get(tile)
        if arrived is not None:
            return arrived
        return await self._flight.run(f"sumdb {self._name}/{tile.path}", lambda: self._ask(tile))

    async def _ask(self, tile: Tile) -> bytes:
        """A tile as it is sent, which proves nothing yet."""
        try:
            data = await self._source.ask(tile.path, LONGEST)
        except NotFound as error:
            if tile == tile.complete:
                # The version that was asked about may well be there, so this is no "not there".
                raise UpstreamFailed(f"{self._name} lacks a tile of its own tree: {error}") from error
            # A database may drop the beginnings of a tile when it is complete.
            data = (await self._one(tile.complete))[: tile.size]
        self._arrived[tile] = data
        return data


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results, of work that is done at the same time; or the error of what failed first."""

    async def one(each: Awaitable[T]) -> T:
        return await each

    try:
        return list(await gatherResults([Deferred.fromCoroutine(one(each)) for each in work], consumeErrors=True))
    except FirstError as error:
        error.subFailure.raiseException()
        raise
