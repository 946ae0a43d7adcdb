"""What one database says: proven, kept and given out again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from twisted.internet.task import Clock, deferLater

from athensd.checksums.cache import Cache
from athensd.checksums.database import Answer, UnprovenDatabase
from athensd.checksums.source import NoSource
from athensd.checksums.tiles import Tiles
from athensd.errors import NotFound, UpstreamFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.head import open_head
from athensd.sumdb.note import parse_verifier
from athensd.sumdb.record import check_included, check_sum, inclusion_indexes, parse_lookup
from athensd.sumdb.tile import Tile, parse_tile_path, tiles_needed, verify
from athensd.sumdb.tlog import stored_hash_index
from tests.checksums.fakes import BIG, MOD_SUM, SUM, House, filled, flipped, version
from tests.fakes import Steps, at_once, result_of, start
from tests.rig.sumdb import Database, Signer

AWAY = UpstreamFailed("no answer")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, filled())


def lookup(house: House, wanted: ModuleVersion) -> Answer:
    return result_of(house.database.lookup(wanted))


def tile(house: House, path: str) -> Answer:
    return result_of(house.database.tile(parse_tile_path(path)))


def believe(house: House, wanted: ModuleVersion) -> None:
    """Do what a go command does that has never asked before, and fail where it would."""
    record, message = parse_lookup(lookup(house, wanted).data)
    tree = open_head(message, parse_verifier(house.source.database.signer.verifier_key)).tree
    indexes = inclusion_indexes(record, tree)
    tiles = {each: result_of(house.database.tile(each)).data for each in tiles_needed(tree.size, indexes)}
    check_included(record, tree, verify(tree, indexes, tiles))
    assert wanted.version in record.text


def test_a_record_is_proven_and_kept(house: House) -> None:
    """A lookup costs one question and the tiles that prove it; after that, and after a restart, none."""
    answer = lookup(house, BIG)
    assert answer == Answer(house.source.database.answer("lookup/example.test/!big@v1.0.0") or b"", "miss")
    assert house.source.again() == [
        "lookup/example.test/!big@v1.0.0",
        "tile/8/1/000.p/3",
        "tile/8/0/003.p/232",
        "tile/8/0/001",
    ]
    house.source.failure = AWAY
    assert lookup(house, BIG) == Answer(answer.data, "hit")
    house.restart()
    assert lookup(house, BIG) == Answer(answer.data, "hit")
    assert house.source.again() == []


def test_what_the_record_says(house: House) -> None:
    """The record of a version has the sums of its zip and of its go.mod."""
    record = result_of(house.database.record(BIG))
    check_sum(record, BIG, SUM, "x")
    check_sum(record, BIG, MOD_SUM, "x", go_mod=True)


@pytest.mark.parametrize("seed", [2, 24])
def test_versions_share_tiles(tmp_path: Path, seed: int) -> None:
    """However many are looked up at once, and in whatever order answers come: no question is asked twice."""
    lot = random.Random(seed)
    clock = Clock()

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        await deferLater(clock, lot.random())
        return function(*arguments)

    house = House(tmp_path, filled(67_000), in_thread)
    house.source.delay = lambda: deferLater(clock, lot.random())
    wanted = [BIG, BIG, *map(version, range(5, 60_000, 1000))]
    lookups = [start(house.database.lookup(each)) for each in wanted]
    clock.pump([0.05] * 400)
    assert [result_of(each).state for each in lookups] == ["miss"] * len(lookups)
    asked = house.source.again()
    assert len(asked) == len(set(asked))
    assert len([path for path in asked if path.startswith("lookup")]) == len(wanted) - 1


def test_what_was_seen_can_be_proven_without_the_database(tmp_path: Path) -> None:
    """However the tree grew between lookups: a new client needs nothing that is not here, not even after a restart."""
    lot = random.Random(5)
    house = House(tmp_path, filled(3))
    wanted = [BIG]
    lookup(house, BIG)
    for _ in range(25):
        house.source.database.fill(len(house.source.database.records) + lot.choice([1, 2, 30, 256, 700]))
        wanted.append(version(lot.randrange(2, len(house.source.database.records))))
        if lot.random() < 0.8:
            lookup(house, wanted[-1])
        else:
            wanted.pop()
            result_of(house.database.latest())
            house.clock.advance(400)
    house.source.failure = AWAY
    for again in (False, True):
        if again:
            house.restart()
        house.source.again()
        for each in wanted:
            believe(house, each)
        assert house.source.again() == []


def test_it_is_given_with_the_newest_head(house: House) -> None:
    """Whatever the tree was when a record was looked up, it comes with the newest head that was seen."""
    lookup(house, BIG)
    house.source.database.fill(1200)
    lookup(house, version(1100))
    assert lookup(house, BIG).data.endswith(house.source.database.head())
    believe(house, BIG)


def test_an_older_head_is_no_fault(house: House) -> None:
    """A cache in between may show the database as it was, as long as that is a beginning of what it is now."""
    lookup(house, BIG)
    house.source.database.published = 600
    house.restart()
    assert lookup(house, version(3)).data.endswith(house.source.database.head(1000))


def test_a_version_that_the_database_does_not_know(house: House) -> None:
    """It is "not there", and asked again the next time."""
    unknown = ModuleVersion("example.test/private", "v1.0.0")
    for _ in range(2):
        with pytest.raises(NotFound):
            lookup(house, unknown)
    assert len(house.source.again()) == 2
    assert house.kept() == {}


@pytest.mark.parametrize("where", ["lookup", "tile/8/0/001", "tile/8/0/003", "tile/8/1"])
def test_one_wrong_bit_is_refused(house: House, where: str) -> None:
    """Nothing of it is kept, in memory or on disk, and the next request asks again."""
    house.source.altered[where] = flipped
    for _ in range(2):
        with pytest.raises(VerificationFailed, match=r"^sum\.example\.test: "):
            lookup(house, BIG)
        assert house.source.again()[0] == "lookup/example.test/!big@v1.0.0"
    house.source.altered = {}
    assert lookup(house, BIG).state == "miss"
    house.restart()
    assert lookup(house, BIG).state == "hit"


@pytest.mark.parametrize("where", ["tile/8/0/001", "tile/8/1"])
def test_a_wrong_tile_keeps_nothing(house: House, where: str) -> None:
    """With a tile that is wrong, neither record nor tile nor a head that these would have proven is written."""
    house.source.altered[where] = flipped
    with pytest.raises(VerificationFailed, match="downloaded inconsistent tile"):
        lookup(house, BIG)
    assert not [name for name in house.kept() if name.startswith(("lookup", where))]


def test_a_record_of_another_version(house: House) -> None:
    """A true record is refused where it is no answer; kept, it would be the wrong one for ever."""
    other = house.source.database.answer("lookup/filler.example.test/m7@v1.0.0") or b""
    house.source.altered["lookup/example.test"] = lambda _: other
    with pytest.raises(VerificationFailed, match="another version"):
        lookup(house, BIG)
    assert house.kept() == {}


def test_another_key(house: House) -> None:
    """What somebody else has signed proves nothing."""
    other = Database(Signer(seed=2))
    other.fill(10)
    house.source.database, key = other, house.source.database.signer.verifier_key
    with pytest.raises(VerificationFailed, match="no verifiable signatures"):
        lookup(house, version(3))
    assert house.kept() == {}
    assert key != other.signer.verifier_key


@pytest.mark.parametrize("growth", [0, 300])
def test_a_fork(house: House, growth: int) -> None:
    """A database that tells a different story, old or new, is not believed; what it said before stays."""
    lookup(house, BIG)
    kept = house.kept()
    true = house.source.database
    house.source.database = true.fork(1, "example.test/evil v1.0.0 h1:evil=\n")
    house.source.database.fill(1000 + growth)
    for _ in range(2):
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises(VerificationFailed, match=r"^SECURITY ERROR"),
        ):
            lookup(house, version(700))
        assert next(line for line in logs if line["log_level"] == "error")["proof"].startswith("SECURITY ERROR")
    assert house.kept() == kept
    house.restart()
    with pytest.raises(VerificationFailed, match=r"^SECURITY ERROR"):
        lookup(house, version(700))
    house.source.database = true
    assert lookup(house, version(700)).state == "miss"


def test_a_smaller_fork(house: House) -> None:
    """An old head that is no beginning of ours gives the fork away too."""
    lookup(house, BIG)
    house.source.database = house.source.database.fork(1, "example.test/evil v1.0.0 h1:evil=\n")
    house.source.database.published = 600
    with pytest.raises(VerificationFailed, match=r"^SECURITY ERROR"):
        lookup(house, version(3))


@pytest.mark.parametrize("name", ["tile/8/0/001", "tile/8/1/000", "lookup/example.test/!big@v1.0.0", "latest"])
@pytest.mark.parametrize("damage", [flipped, lambda data: data[:20], lambda data: b""])
def test_a_damaged_file_is_fetched_again(house: House, name: str, damage: object) -> None:
    """Whatever the disk has made of a file, it is not believed, and replaced as soon as the database can be asked."""
    answer = lookup(house, BIG)
    (house.root / name).write_bytes(damage(house.kept()[name]))  # type: ignore[operator]
    house.restart()
    assert lookup(house, BIG).data == answer.data
    assert house.source.again()
    house.restart()
    assert lookup(house, BIG) == Answer(answer.data, "hit")
    believe(house, BIG)


def test_a_tile_is_cut_from_a_wider_one(house: House) -> None:
    """A tile is fetched as wide as our tree has it, and every narrower one is its beginning."""
    lookup(house, version(3))
    house.source.again()
    whole = house.source.database.answer("tile/8/0/002")
    assert tile(house, "tile/8/0/002.p/7") == Answer((whole or b"")[: 7 * 32], "miss")
    assert house.source.again() == ["tile/8/0/002"]
    assert tile(house, "tile/8/0/002") == Answer(whole or b"", "hit")
    assert tile(house, "tile/8/0/003.p/100").state == "hit"
    house.restart()
    house.source.failure = AWAY
    assert tile(house, "tile/8/0/002.p/200") == Answer((whole or b"")[: 200 * 32], "hit")
    assert tile(house, "tile/8/1/000.p/2").state == "hit"
    assert house.source.again() == []


def test_a_wrong_tile_that_a_client_asks_for(house: House) -> None:
    """It is refused and asked for again."""
    lookup(house, version(3))
    house.source.altered["tile/8/0/002"] = flipped
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="inconsistent tile"):
            tile(house, "tile/8/0/002")
    house.source.altered = {}
    assert tile(house, "tile/8/0/002").state == "miss"


@pytest.mark.parametrize("order", [(600, 1000), (1000, 600)])
def test_a_wider_tile_stays(house: House, order: tuple[int, int]) -> None:
    """Proofs of two trees may end in any order: of each tile the widest is remembered, and written."""
    database = house.source.database
    tiles = Tiles("x", house.source, Cache(house.root, house.spool), house.flight, at_once)
    verifier = parse_verifier(database.signer.verifier_key)
    trees = [open_head(database.head(size), verifier).tree for size in order]
    proofs = [result_of(tiles.prove(tree, [stored_hash_index(0, 520)])) for tree in trees]
    for proof in proofs:
        result_of(tiles.keep(proof))
    assert tiles.proven(Tile(0, 2, 256)) == database.answer("tile/8/0/002") == house.kept()["tile/8/0/002"]
    assert tiles.proven(Tile(1, 0, 3)) == database.answer("tile/8/1/000.p/3") == house.kept()["tile/8/1/000"]


def test_what_somebody_else_has_brought(house: House) -> None:
    """A record and the head that proves it, kept by another process, are given out by one that cannot ask."""
    believe(house, BIG)
    database = house.database
    house.source.database.fill(3000)
    house.restart()
    believe(house, version(2000))
    house.source.failure = AWAY
    house.database = database
    for wanted in (version(2000), BIG):
        believe(house, wanted)
        assert lookup(house, wanted).data.endswith(house.source.database.head())


def test_a_larger_head_stays_on_disk(house: House) -> None:
    """Heads may be written in any order: the largest is kept."""
    verifier = parse_verifier(house.source.database.signer.verifier_key)
    cache = Cache(house.root, house.spool)
    for size in (600, 1000, 700):
        cache.put_head(open_head(house.source.database.head(size), verifier))
    assert cache.head() == house.source.database.head(1000)


def test_a_client_that_is_ahead(house: House) -> None:
    """A tile that our tree has not yet is a reason to ask for the newest head."""
    lookup(house, BIG)
    house.source.database.fill(1500)
    house.source.again()
    wanted = "tile/8/0/005.p/100"
    assert tile(house, wanted) == Answer(house.source.database.answer(wanted) or b"", "miss")
    assert house.source.again() == [
        "latest",
        "tile/8/1/000.p/5",
        "tile/8/0/005.p/220",
        "tile/8/0/003",
    ]


@pytest.mark.parametrize("path", ["tile/8/data/001", "tile/4/0/001"])
def test_what_cannot_be_proven_is_passed_on(house: House, path: str) -> None:
    """Records and tiles of other heights come as the database has them, every time."""
    for _ in range(2):
        assert tile(house, path) == Answer(house.source.database.answer(path) or b"", "miss", proven=False)
    assert house.source.again() == [path, path]
    assert house.kept() == {}


def test_a_tile_beyond_the_newest_head(house: House) -> None:
    """What the database does not show in its newest head is passed on, and not kept."""
    house.source.database.published = 500
    beyond = "tile/8/0/003.p/200"
    assert tile(house, beyond) == Answer(house.source.database.answer(beyond) or b"", "miss", proven=False)
    assert "tile/8/0/003" not in house.kept()
    with pytest.raises(NotFound):
        tile(house, "tile/8/0/100")


def test_a_database_with_complete_tiles_only(house: House) -> None:
    """The beginning of a tile that is complete by now is cut from it."""
    house.source.database.published = 600
    lookup(house, BIG)
    house.restart()
    narrow = house.source.database.answer
    house.source.database.answer = lambda path: None if path == "tile/8/0/002.p/88" else narrow(path)  # type: ignore[method-assign]
    (house.root / "tile/8/0/002").unlink()
    assert tile(house, "tile/8/0/002.p/88").data == narrow("tile/8/0/002.p/88")
    assert house.source.again()[-2:] == ["tile/8/0/002.p/88", "tile/8/0/002"]


def test_a_tile_that_is_missing_is_no_version_that_is_missing(house: House) -> None:
    """A database that has a record and not the tiles for it has failed; it has not said "not there"."""
    house.source.database.hashes = {0: b"x" * 32}
    house.source.altered["tile"] = flipped
    house.source.database.answer, real = (  # type: ignore[method-assign]
        lambda path: None if path.startswith("tile") else real(path),
        filled().answer,
    )
    with pytest.raises(UpstreamFailed, match="lacks a tile of its own tree"):
        lookup(house, BIG)


def test_the_newest_head(house: House) -> None:
    """It is asked for, fresh for a while, and that of long ago while asking fails."""
    newest = house.source.database.head()
    assert result_of(house.database.latest()) == Answer(newest, "miss", 0)
    house.clock.advance(299)
    house.source.again()
    assert result_of(house.database.latest()) == Answer(newest, "hit", 299)
    assert house.source.again() == []
    house.clock.advance(1)
    house.source.failure = AWAY
    assert result_of(house.database.latest()) == Answer(newest, "stale", 300)
    house.restart()
    assert result_of(house.database.latest()) == Answer(newest, "stale", None)
    house.source.failure = None
    house.source.database.fill(1100)
    assert result_of(house.database.latest()) == Answer(house.source.database.head(), "miss", 0)


def test_a_head_that_was_never_seen(house: House) -> None:
    """With nothing to show, a failure is a failure; and a head that is not signed is no head."""
    house.source.failure = AWAY
    with pytest.raises(UpstreamFailed):
        result_of(house.database.latest())
    house.source.failure = None
    house.source.altered["latest"] = flipped
    with pytest.raises(VerificationFailed):
        result_of(house.database.latest())
    assert house.kept() == {}


def test_the_head_only_grows(house: House) -> None:
    """Whatever older head is shown, the newest one stays, on disk too."""
    lookup(house, BIG)
    newest = house.source.database.head()
    house.source.database.published = 600
    house.clock.advance(400)
    assert result_of(house.database.latest()).data == newest
    assert house.kept()["latest"] == newest


def test_the_steps(house: House, steps: Steps) -> None:
    """Each question is a step that says of which database, what, and whether it was at hand."""
    lookup(house, BIG)
    lookup(house, BIG)
    tile(house, "tile/8/0/001")
    tile(house, "tile/8/data/001")
    about = {"database": "sum.example.test", "kind": "lookup", "module": BIG.path, "version": BIG.version}
    assert [step.facts for step in steps.named("sumdb")] == [
        {**about, "cache": "miss"},
        {**about, "cache": "hit"},
        {"database": "sum.example.test", "kind": "tile", "cache": "hit"},
        {"database": "sum.example.test", "kind": "data", "cache": "miss"},
    ]
    assert steps.open_ones == []


def test_a_full_disk_costs_only_the_keeping(house: House) -> None:
    """What cannot be written is served all the same, with a warning."""
    house.root.write_text("a file where a directory should be")
    with structlog.testing.capture_logs() as logs:
        assert lookup(house, BIG).state == "miss"
    assert {line["log_level"] for line in logs} == {"warning"}
    assert lookup(house, BIG).state == "hit"


def test_a_database_whose_key_is_not_known(tmp_path: Path) -> None:
    """All that it says is passed on and marked as not proven."""
    house = House(tmp_path, filled())
    unproven = UnprovenDatabase("sum.example.test", house.source)
    answer = house.source.database.answer
    for coroutine, path in (
        (unproven.latest(), "latest"),
        (unproven.lookup(BIG), "lookup/example.test/!big@v1.0.0"),
        (unproven.tile(Tile(0, 1, 256)), "tile/8/0/001"),
    ):
        assert result_of(coroutine) == Answer(answer(path) or b"", "miss", proven=False)
    assert len(house.source.asked) == 3


def test_a_source_that_asks_nobody() -> None:
    """Where nobody may be asked, the failure says why."""
    with pytest.raises(UpstreamFailed, match="this proxy asks nobody"):
        result_of(NoSource().ask("latest", 1))
