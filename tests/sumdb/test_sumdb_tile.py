"""Tiles: their paths, which are needed, and what they prove."""

from __future__ import annotations

import random

import pytest

from athensd.errors import VerificationFailed
from athensd.sumdb.tile import DATA, Tile, hash_from_tile, parse_tile_path, tile_for_index, tiles_needed, verify
from athensd.sumdb.tlog import EMPTY_HASH, Tree, stored_hash_index, tree_hash
from tests.rig.sumdb import Database

SIZE = 70_000


@pytest.fixture(scope="module")
def log() -> Database:
    """A log that is large enough for three levels of tiles."""
    log = Database()
    for number in range(SIZE):
        log.add_text(str(number))
    return log


def fetched(log: Database, size: int, indexes: list[int], height: int = 8) -> dict[Tile, bytes]:
    """The tiles that are needed, as an honest database has them."""
    found = {}
    for tile in tiles_needed(size, indexes, height):
        data = log.tile(tile)
        assert data is not None
        found[tile] = data
    return found


def tree_of(log: Database, size: int) -> Tree:
    return Tree(size, tree_hash(size, log.hashes))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/8/0/000"),
        (Tile(0, 1234, 5), "tile/8/0/x001/234.p/5"),
        (Tile(4, 1_234_067, 1, 3), "tile/3/4/x001/x234/067.p/1"),
        (Tile(4, 1_234_067, 8, 3), "tile/3/4/x001/x234/067"),
        (Tile(DATA, 999, 256), "tile/8/data/999"),
        (Tile(2, 1_000_000, 256), "tile/8/2/x001/x000/000"),
    ],
)
def test_a_tile_has_one_path(tile: Tile, path: str) -> None:
    """A path is printed from a tile, and read as the same tile."""
    assert (tile.path, parse_tile_path(path)) == (path, tile)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/8/0",
        "/tile/8/0/000",
        "tile/8/0/0",
        "tile/8/0/000/",
        "tile/8/0/x000/000",
        "tile/8/0/001/000",
        "tile/8/0/x001",
        "tile/08/0/000",
        "tile/0/0/000",
        "tile/31/0/000",
        "tile/8/-1/000",
        "tile/8/00/000",
        "tile/8/Data/000",
        "tile/8/0/000.p/0",
        "tile/8/0/000.p/256",
        "tile/8/0/000.p/257",
        "tile/8/0/000.p/01",
        "tile/8/0/../000",
        "tile/8/0/000\n",
        "tile/8/0/x009/x223/x372/x036/x854/x775/808",
        "tile/8/0/" + "x999/" * 1000 + "999",
    ],
)
def test_other_paths_name_no_tile(path: str) -> None:
    """What is no path of a tile is refused as a value: a proxy need not ask for it."""
    with pytest.raises(ValueError, match=r"^malformed tile path"):
        parse_tile_path(path)


def test_a_partial_tile_is_the_beginning_of_the_complete_one(log: Database) -> None:
    """The first ``size`` bytes of a complete tile are the partial tile; a complete tile is its own."""
    partial = Tile(0, 3, 100)
    assert partial.complete == Tile(0, 3, 256) == partial.complete.complete
    complete = log.tile(partial.complete)
    assert complete is not None
    assert complete[: partial.size] == log.tile(partial)


def test_every_hash_can_be_had_from_its_tile(log: Database) -> None:
    """Any stored hash is in the smallest tile that has it below, and in each wider one."""
    rng = random.Random(1)
    for index in [0, 1, 2, *rng.sample(range(stored_hash_index(0, SIZE // 2)), k=300)]:
        smallest = tile_for_index(index)
        for tile in (smallest, smallest.complete):
            data = log.tile(tile)
            if data is not None:
                assert hash_from_tile(tile, data, index) == log.hashes[index]


@pytest.mark.parametrize("tile", [Tile(0, 1, 256), Tile(1, 0, 256), Tile(0, 0, 4)])
def test_a_hash_is_not_had_from_another_tile(tile: Tile) -> None:
    """A tile elsewhere, on another level, or not wide enough is refused as a value, and so is one cut short."""
    index = stored_hash_index(0, 4)
    with pytest.raises(ValueError, match=r"^index 7 is in tile/8/0/000\.p/5 not "):
        hash_from_tile(tile, bytes(tile.size), index)
    with pytest.raises(ValueError, match=r"^index 7 is in"):
        hash_from_tile(Tile(0, 0, 5), bytes(4 * 32), index)


def test_few_tiles_are_needed() -> None:
    """A record of a tree of a hundred million is proven by at most eight tiles, all of them of that tree."""
    size = 99_999_999
    needed = tiles_needed(size, [stored_hash_index(0, 12_345_678)])
    assert len(needed) <= 8
    assert all((tile.n << 8) + tile.width <= size >> (8 * tile.level) for tile in needed)


@pytest.mark.parametrize(
    ("size", "height"), [(1, 8), (2, 1), (255, 8), (256, 8), (257, 8), (65_536, 8), (SIZE, 8), (999, 3)]
)
def test_hashes_are_proven(log: Database, size: int, height: int) -> None:
    """An honest database's tiles give every hash of its tree, whatever its size and the height of tiles."""
    indexes = random.Random(2).sample(range(stored_hash_index(0, size)), k=min(40, stored_hash_index(0, size)))
    tiles = fetched(log, size, indexes, height)
    assert verify(tree_of(log, size), indexes, tiles, height) == {index: log.hashes[index] for index in indexes}


def test_no_byte_of_a_tile_can_be_changed(log: Database) -> None:
    """A single wrong bit anywhere in any tile is noticed, also where the hash that was asked for is right."""
    rng = random.Random(3)
    index = stored_hash_index(0, 777)
    tiles, tree = fetched(log, SIZE, [index]), tree_of(log, SIZE)
    for tile in tiles:
        for at in {0, tile.size - 1, *rng.sample(range(tile.size), k=min(20, tile.size))}:
            data = bytearray(tiles[tile])
            data[at] ^= 1 << rng.randrange(8)
            with pytest.raises(VerificationFailed, match=r"^downloaded inconsistent tile$"):
                verify(tree, [index], {**tiles, tile: bytes(data)})


def test_tiles_of_another_tree_are_refused(log: Database) -> None:
    """The tiles must be those of the tree that was signed."""
    index = stored_hash_index(0, 5)
    with pytest.raises(VerificationFailed, match=r"^downloaded inconsistent tile$"):
        verify(Tree(300, tree_hash(299, log.hashes)), [index], fetched(log, 300, [index]))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + bytes(32), lambda data: b""])
def test_a_tile_has_its_size(log: Database, change) -> None:
    """A tile that is cut short or too long is refused before anything is made of it."""
    tiles = fetched(log, 300, [0])
    wrong = next(iter(tiles))
    with pytest.raises(VerificationFailed, match=rf"^{wrong.path} has \d+ bytes and not {wrong.size}$"):
        verify(tree_of(log, 300), [0], {**tiles, wrong: change(tiles[wrong])})


@pytest.mark.parametrize("index", [-1, stored_hash_index(0, 300), 10**9])
def test_a_hash_outside_of_the_tree_is_not_asked_for(index: int) -> None:
    """An index that the tree has not is refused as a value."""
    with pytest.raises(ValueError, match="is not in a tree of size 300"):
        tiles_needed(300, [index])


def test_the_empty_tree() -> None:
    """It takes no tile to know the hash of nothing, and no other hash is that of nothing."""
    assert tiles_needed(0, []) == []
    assert verify(Tree(0, EMPTY_HASH), [], {}) == {}
    with pytest.raises(VerificationFailed):
        verify(Tree(0, bytes(32)), [], {})
