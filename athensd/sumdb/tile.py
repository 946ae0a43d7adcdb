"""Tiles: the pieces in which a database gives out its tree, each a list of neighbouring hashes.

The rules are those of ``golang.org/x/mod/sumdb/tlog``; ``tiles_needed`` and ``verify`` are its ``TileHashReader``,
parted where the fetching goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from athensd.errors import VerificationFailed
from athensd.gomod.path import quoted
from athensd.sumdb.tlog import (
    HASH_SIZE,
    Tree,
    node_hash,
    split_stored_hash_index,
    stored_hash_index,
    tree_hash,
    tree_hash_indexes,
)

HEIGHT = 8  # What databases have, and the go command asks for.
DATA = -1
_MAX_HEIGHT = 30
_PATH = re.compile(
    r"tile/(?P<height>[1-9][0-9]?)/(?P<level>data|0|[1-9][0-9]{0,18})"
    r"/(?P<n>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,9}))?"
)


@frozen
class Tile:
    """A tile's coordinates: ``width`` hashes, from the ``n * 2**height``-th on, of the tree's ``level * height``.

    ``level`` is ``DATA`` for the tile that has the records themselves.  A tile with ``2**height`` hashes is complete
    and will never change.
    """

    level: int
    n: int
    width: int
    height: int = HEIGHT

    @property
    def path(self) -> str:
        """Where a database has it, below its URL: ``tile/8/0/x001/234.p/5``."""
        *above, last = _thousands(self.n)
        number = "".join(f"x{digits:03}/" for digits in above) + f"{last:03}"
        partial = "" if self == self.complete else f".p/{self.width}"
        return f"tile/{self.height}/{'data' if self.level == DATA else self.level}/{number}{partial}"

    @property
    def complete(self) -> Tile:
        """The complete tile that this one is a beginning of, or this one."""
        return evolve(self, width=1 << self.height)

    @property
    def size(self) -> int:
        """How many bytes the hashes take."""
        return self.width * HASH_SIZE


def parse_tile_path(path: str) -> Tile:
    """The tile that has this path.  Raises ``ValueError`` when none has."""
    found = _PATH.fullmatch(path)
    if found:
        height = int(found["height"])
        level = DATA if found["level"] == "data" else int(found["level"])
        tile = Tile(level, int(re.sub("[x/]", "", found["n"])), int(found["width"] or 1 << height), height)
        # One tile has one path: no zeros in front of it, and no width that is the complete one.
        if tile.path == path and height <= _MAX_HEIGHT and tile.width <= 1 << height and max(level, tile.n) < 1 << 63:
            return tile
    raise ValueError(f"malformed tile path {quoted(path)}")


def tile_for_index(index: int, height: int = HEIGHT) -> Tile:
    """The smallest tile from which the hash with this stored hash index can be had."""
    return _place(index, height)[0]


def hash_from_tile(tile: Tile, data: bytes, index: int) -> bytes:
    """The hash with this stored hash index.  Raises ``ValueError`` when it is not in this tile."""
    smallest, start = _place(index, tile.height)
    if (tile.level, tile.n) != (smallest.level, smallest.n) or not smallest.size <= tile.size <= len(data):
        raise ValueError(f"index {index} is in {smallest.path} not {tile.path}")
    return _top_hash(data[start * HASH_SIZE : smallest.size])


def tiles_needed(size: int, indexes: Iterable[int], height: int = HEIGHT) -> list[Tile]:
    """The tiles to fetch in order to have these stored hashes of a tree of ``size`` records, and to prove them.

    Raises ``ValueError`` for an index that such a tree has not.
    """
    # What gives the hash of the whole tree comes first; then each tile after the one that proves it.
    needed = dict.fromkeys(_tile_in(size, index, height) for index in tree_hash_indexes(size))
    for index in indexes:
        if not 0 <= index < stored_hash_index(0, size):
            raise ValueError(f"index {index} is not in a tree of size {size}")
        tile, missing = _tile_in(size, index, height), list[Tile]()
        while tile not in needed:
            missing.append(tile)
            tile = _parent(tile, size)
        needed.update(dict.fromkeys(reversed(missing)))
    return list(needed)


def verify(tree: Tree, indexes: Iterable[int], tiles: Mapping[Tile, bytes], height: int = HEIGHT) -> dict[int, bytes]:
    """The hashes with these stored hash indexes, proven to be in the tree.

    ``tiles`` are those that ``tiles_needed`` names, as they were fetched; each has ``size`` bytes.  When this returns,
    all of them are as the tree has them and may be kept.  Raises ``VerificationFailed`` when one is not.
    """
    indexes = list(indexes)
    top = dict.fromkeys(_tile_in(tree.size, index, height) for index in tree_hash_indexes(tree.size))
    needed = tiles_needed(tree.size, indexes, height)
    for tile in needed:
        if len(tiles[tile]) != tile.size:
            raise VerificationFailed(f"{tile.path} has {len(tiles[tile])} bytes and not {tile.size}")

    def hash_at(index: int) -> bytes:
        tile = _tile_in(tree.size, index, height)
        return hash_from_tile(tile, tiles[tile], index)

    if tree_hash(tree.size, {index: hash_at(index) for index in tree_hash_indexes(tree.size)}) != tree.hash:
        raise VerificationFailed("downloaded inconsistent tile")
    for tile in needed:
        in_parent = stored_hash_index((tile.level + 1) * height, tile.n)
        if tile not in top and hash_at(in_parent) != _top_hash(tiles[tile]):
            raise VerificationFailed("downloaded inconsistent tile")
    return {index: hash_at(index) for index in indexes}


def _thousands(n: int) -> list[int]:
    """The number in digits of a thousand."""
    digits = [n % 1000]
    while n := n // 1000:
        digits.insert(0, n % 1000)
    return digits


def _place(index: int, height: int) -> tuple[Tile, int]:
    """The smallest tile with this hash below it, and the first of its hashes that are below this one."""
    stored_level, n = split_stored_hash_index(index)
    level, above = divmod(stored_level, height)
    first = n << above  # Counted in hashes of the tile's own level.
    start = first & ((1 << height) - 1)
    return Tile(level, first >> height, start + (1 << above), height), start


def _tile_in(size: int, index: int, height: int) -> Tile:
    """The tile with this hash, as wide as a tree of ``size`` records has it."""
    return _widened(tile_for_index(index, height), size)


def _parent(tile: Tile, size: int) -> Tile:
    """The tile one level up, of whose hashes one is that of this whole tile."""
    return _widened(evolve(tile, level=tile.level + 1, n=tile.n >> tile.height), size)


def _widened(tile: Tile, size: int) -> Tile:
    there = (size >> (tile.level * tile.height)) - (tile.n << tile.height)
    return evolve(tile, width=min(there, 1 << tile.height))


def _top_hash(data: bytes) -> bytes:
    """The hash above these hashes, of which there are a power of two."""
    hashes = [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
