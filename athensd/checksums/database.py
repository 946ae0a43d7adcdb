"""One checksum database: what it says, as far as it is proven, and what it may say later.

Whatever is kept was proven to be in a tree whose head the database has signed, and each head that it shows was proven
to continue the newest one before.  Lookups are given out with the newest head, not with the one they came with: the
step from one head to the next brings all tiles along that had grown in between, so everything that was ever looked up
can be proven with the tiles that are here, and nobody need be asked for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import structlog
from attrs import frozen

from athensd.checksums.cache import Cache
from athensd.checksums.source import LONGEST, SMALL, Asks
from athensd.checksums.tiles import Tiles
from athensd.errors import AthensError, NotFound, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IFlight
from athensd.steps import Step, step
from athensd.sumdb.head import NO_HEAD, Head, check_timeline, open_head, timeline_indexes
from athensd.sumdb.note import Verifier
from athensd.sumdb.record import (
    Record,
    check_included,
    go_sum_lines,
    inclusion_indexes,
    lookup_path,
    lookup_text,
    parse_lookup,
)
from athensd.sumdb.tile import DATA, HEIGHT, Tile
from athensd.sumdb.tlog import Hashes, stored_hash_index

log = structlog.get_logger()
REMEMBERED = 10_000
"""So many records at most are in memory, of some hundred bytes each."""


@frozen
class Answer:
    """What a client is given, and how it was come by: ``hit``, ``miss`` or ``stale``.

    What is ``proven`` holds for ever.  A tree head may have an ``age``, in seconds since it was the newest one.
    """

    data: bytes
    state: str
    age: float | None = None
    proven: bool = True


class Database(Protocol):
    """What clients may ask.

    Each raises ``NotFound`` when the database has no such thing, ``UpstreamFailed`` and its like when it could not be
    asked, and ``VerificationFailed`` for an answer that is wrong, of which nothing is kept.
    """

    async def latest(self) -> Answer:
        """The newest signed tree head."""

    async def lookup(self, version: ModuleVersion) -> Answer:
        """The record of a version, and a signed head of a tree that has it."""

    async def tile(self, tile: Tile) -> Answer:
        """A tile."""


class ProvenDatabase:
    """A database whose key is known.  The newest head is asked for when it is older than ``fresh`` seconds."""

    def __init__(
        self,
        verifier: Verifier,
        source: Asks,
        cache: Cache,
        flight: IFlight,
        in_thread: Callable[..., Awaitable[Any]],
        now: Callable[[], float],
        *,
        fresh: float,
    ) -> None:
        """Reads the newest head from the cache."""
        self.name = verifier.name
        self.verifier = verifier
        self._source = source
        self._cache = cache
        self._flight = flight
        self._in_thread = in_thread
        self._now = now
        self._fresh = fresh
        self._tiles = Tiles(self.name, source, cache, flight, in_thread)
        self._records: OrderedDict[ModuleVersion, Record] = OrderedDict()
        self._head = self._kept_head()
        self._asked: float | None = None

    @property
    def head(self) -> Head:
        """The newest head so far."""
        return self._head

    async def latest(self) -> Answer:
        """The newest head: remembered, asked for, or that of long ago while asking fails."""
        with self._doing("latest") as this:
            state = await self._latest()
            this.note(cache=state)
            return Answer(self._head.message, state, None if self._asked is None else self._now() - self._asked)

    async def lookup(self, version: ModuleVersion) -> Answer:
        """The record with our newest head."""
        record, state = await self._lookup(version)
        return Answer(lookup_text(record) + self._head.message, state)

    async def record(self, version: ModuleVersion) -> Record:
        """What the database says of a version: only that, and proven."""
        return (await self._lookup(version))[0]

    async def tile(self, tile: Tile) -> Answer:
        """A tile of our own tree, cut from the widest that there is; what cannot be proven is passed on as it is."""
        if tile.height != HEIGHT or tile.level == DATA:
            return await _passed(self.name, self._source, tile.path, "data" if tile.level == DATA else "tile")
        with self._doing("tile") as this:
            data, state = self._tiles.proven(tile), "hit"
            if data is None and not self._has(tile):
                with suppress(NotFound):
                    await self._ask_latest()
                data, state = self._tiles.proven(tile), "miss"
            if data is None and self._has(tile):
                key = f"sumdb {self.name} proof of {tile.path}"
                data, state = await self._flight.run(key, lambda: self._prove(tile))
            this.note(cache=state)
            if data is not None:
                return Answer(data, state)
        return await _passed(self.name, self._source, tile.path, "tile")

    async def _latest(self) -> str:
        if self._asked is not None and self._now() - self._asked < self._fresh:
            return "hit"
        try:
            await self._ask_latest()
        except VerificationFailed:
            raise
        except AthensError:
            if self._head is NO_HEAD:
                raise
            return "stale"
        return "miss"

    async def _ask_latest(self) -> None:
        await self._flight.run(f"sumdb {self.name} latest", self._fetch_latest)

    async def _fetch_latest(self) -> None:
        await self._advance(open_head(await self._source.ask("latest", SMALL), self.verifier))
        self._asked = self._now()

    async def _lookup(self, version: ModuleVersion) -> tuple[Record, str]:
        with self._doing("lookup", module=version.path, version=version.version) as this:
            remembered = self._records.get(version)
            if remembered is None:
                key = f"sumdb {self.name} lookup {version}"
                record, state = await self._flight.run(key, lambda: self._look_up(version))
            else:
                record, state = remembered, "hit"
            self._records[version] = record
            self._records.move_to_end(version)
            if len(self._records) > REMEMBERED:
                self._records.popitem(last=False)
            this.note(cache=state)
            return record, state

    async def _look_up(self, version: ModuleVersion) -> tuple[Record, str]:
        kept = await self._kept_record(version)
        if kept is not None:
            return kept, "hit"
        record, message = parse_lookup(await self._source.ask(lookup_path(version), SMALL))
        if not _is_about(record, version):
            # Kept, it would be the answer for ever.
            raise VerificationFailed("the record is one of another version")
        await self._advance(open_head(message, self.verifier))
        await self._include(record)
        try:
            await self._in_thread(self._cache.put_record, version, lookup_text(record))
        except OSError as error:
            log.warning("a record is not kept on disk", database=self.name, reason=error.strerror)
        return record, "miss"

    async def _kept_record(self, version: ModuleVersion) -> Record | None:
        data = await self._in_thread(self._cache.record, version)
        if data is None:
            return None
        try:
            record, _ = parse_lookup(data)
            if record.number >= self._head.tree.size:
                # Somebody else has brought it, athensd import perhaps, and a head along with it.
                await self._advance(await self._in_thread(self._kept_head))
            await self._include(record)
        except VerificationFailed as error:
            log.warning("a kept record is damaged", database=self.name, version=str(version), reason=str(error))
            return None
        return record if _is_about(record, version) else None

    async def _include(self, record: Record) -> None:
        """Prove that the record is in our tree."""
        tree = self._head.tree
        check_included(record, tree, await self._hashes(inclusion_indexes(record, tree)))

    async def _hashes(self, indexes: list[int]) -> Hashes:
        """Hashes of our own tree."""
        known = self._tiles.known(indexes)
        if known is not None:
            return known
        proof = await self._tiles.prove(self._head.tree, indexes)
        await self._tiles.keep(proof)
        return proof.hashes

    async def _prove(self, tile: Tile) -> tuple[bytes, str]:
        """A tile of our own tree, of whatever width our tree has it."""
        index = stored_hash_index(tile.level * HEIGHT, _end(tile) - 1)
        proof = await self._tiles.prove(self._head.tree, [index])
        await self._tiles.keep(proof)
        wide = next(each for each in proof.tiles if each.complete == tile.complete)
        return proof.tiles[wide][: tile.size], "miss" if wide in proof.fetched else "hit"

    def _has(self, tile: Tile) -> bool:
        return _end(tile) <= self._head.tree.size >> (tile.level * HEIGHT)

    async def _advance(self, head: Head) -> None:
        """Check that a signed head is of our log; from then on the larger of both is ours."""
        if head.tree != self._head.tree:
            key = f"sumdb {self.name} head {head.tree.size} {head.tree.hash.hex()}"
            await self._flight.run(key, lambda: self._merge(head))

    async def _merge(self, head: Head) -> None:
        while head.tree.size > self._head.tree.size:
            seen = self._head
            # Not from memory: what is known of our log says nothing of a tree that need not be of it.
            proof = await self._tiles.prove(head.tree, timeline_indexes(seen, head))
            self._check_timeline(seen, head, proof.hashes)
            if self._head is seen:
                self._head = head
                await self._tiles.keep(proof)
                await self._keep_head(head)
                return
        self._check_timeline(head, self._head, await self._hashes(timeline_indexes(head, self._head)))

    def _check_timeline(self, older: Head, newer: Head, hashes: Hashes) -> None:
        try:
            check_timeline(older, newer, hashes)
        except VerificationFailed as fork:
            log.error("the checksum database tells different stories", database=self.name, proof=str(fork))
            raise

    async def _keep_head(self, head: Head) -> None:
        try:
            await self._in_thread(self._cache.put_head, head)
        except OSError as error:
            log.warning("the tree head is not kept on disk", database=self.name, reason=error.strerror)

    def _kept_head(self) -> Head:
        message = self._cache.head()
        if message is None:
            return NO_HEAD
        try:
            return open_head(message, self.verifier)
        except VerificationFailed as error:
            # It was signed when it was written.
            log.error("the kept tree head is damaged; begun anew", database=self.name, reason=str(error))
            return NO_HEAD

    @contextmanager
    def _doing(self, kind: str, **facts: object) -> Iterator[Step]:
        """A question, as a step; what is wrong with the answer is logged, and said with the database's name."""
        with step("sumdb", database=self.name, kind=kind, **facts) as this:
            try:
                yield this
            except VerificationFailed as error:
                log.warning("an answer is refused", database=self.name, kind=kind, **facts, reason=str(error))
                if str(error).startswith("SECURITY ERROR"):
                    raise
                raise VerificationFailed(f"{self.name}: {error}") from error


class UnprovenDatabase:
    """A database whose key is not known: what it says is passed on as it is, and not kept."""

    def __init__(self, name: str, source: Asks) -> None:
        self.name = name
        self._source = source

    async def latest(self) -> Answer:
        """The newest head that it says it has."""
        return await _passed(self.name, self._source, "latest", "latest")

    async def lookup(self, version: ModuleVersion) -> Answer:
        """Whatever it says."""
        return await _passed(self.name, self._source, lookup_path(version), "lookup")

    async def tile(self, tile: Tile) -> Answer:
        """Whatever it has there."""
        return await _passed(self.name, self._source, tile.path, "tile")


async def _passed(name: str, source: Asks, path: str, kind: str) -> Answer:
    with step("sumdb", database=name, kind=kind, cache="miss"):
        return Answer(await source.ask(path, LONGEST), "miss", proven=False)


def _is_about(record: Record, version: ModuleVersion) -> bool:
    return bool(go_sum_lines(record, version) or go_sum_lines(record, version, go_mod=True))


def _end(tile: Tile) -> int:
    """How many hashes of its level there are up to the end of the tile."""
    return (tile.n << tile.height) + tile.width
