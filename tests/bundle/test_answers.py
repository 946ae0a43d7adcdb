"""Answers of a checksum database with one head: taken out of one house, brought into another."""

from __future__ import annotations

from pathlib import Path

import pytest

from athensd.bundle import answers
from athensd.bundle.answers import Carried, one_head
from athensd.bundle.reading import Bundle
from athensd.bundle.writing import Writer
from athensd.errors import NotFound, UpstreamFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.head import Head, open_head
from athensd.sumdb.note import parse_verifier
from athensd.sumdb.record import Record, check_included, inclusion_indexes, parse_lookup
from athensd.sumdb.signer import new_signer
from athensd.sumdb.tile import tiles_needed, verify
from tests.checksums.fakes import BIG, House, filled, version
from tests.fakes import result_of
from tests.rig.sumdb import Database

SIGNER = new_signer("us.example")


class Outside:
    """Where the database can be asked."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        root.mkdir()
        self.house = House(root, database)
        self.bundles = 0

    def export(self, *versions: ModuleVersion, since: tuple[Head, ...] = ()) -> Path:
        database = self.house.database
        self.house.clock.advance(1000)
        result_of(database.latest())
        records = {each: result_of(database.record(each)) for each in versions}
        self.bundles += 1
        path = self.root / f"{self.bundles}.bundle"
        with Writer(path) as writer:
            result_of(self.write(writer, records, since))
            writer.finish(SIGNER)
        return path

    async def write(self, writer: Writer, records: dict[ModuleVersion, Record], since: tuple[Head, ...]) -> None:
        async for files in one_head(self.house.database, records, since, 4):
            writer.add(files)


class Inside:
    """Where it cannot, but for what bundles have."""

    def __init__(self, root: Path, database: Database) -> None:
        root.mkdir()
        self.house = House(root, database)

    def bring(self, path: Path) -> list[ModuleVersion]:
        with Bundle(path, SIGNER.verifier) as bundle:
            source = Carried(bundle, "sum.example.test")
            house = self.house
            asks, house.source.ask = house.source.ask, source.ask  # type: ignore[method-assign]
            try:
                house.restart()
                result_of(source.join(house.database))
                for each in source.versions():
                    result_of(house.database.record(each))
            finally:
                house.source.ask = asks  # type: ignore[method-assign]
                house.source.failure = UpstreamFailed("there is no network")
            return source.versions()

    def lookup(self, each: ModuleVersion) -> Head:
        """Do what a go command does that has never asked before; the head that it saw."""
        return lookup(self.house, each)


def lookup(house: House, each: ModuleVersion) -> Head:
    record, message = parse_lookup(result_of(house.database.lookup(each)).data)
    assert each.path in record.text
    head = open_head(message, house.database.verifier)
    indexes = inclusion_indexes(record, head.tree)
    tiles = {tile: result_of(house.database.tile(tile)).data for tile in tiles_needed(head.tree.size, indexes)}
    check_included(record, head.tree, verify(head.tree, indexes, tiles))
    return head


@pytest.fixture
def database() -> Database:
    return filled(1000)


@pytest.fixture
def outside(tmp_path: Path, database: Database) -> Outside:
    return Outside(tmp_path / "outside", database)


@pytest.fixture
def inside(tmp_path: Path, database: Database) -> Inside:
    return Inside(tmp_path / "inside", database)


@pytest.mark.parametrize("at_once", [answers.AT_ONCE, 1, 2])
def test_one_head_for_all(
    outside: Outside, inside: Inside, database: Database, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions that were looked up in trees of different sizes come with one head, and need nobody any more.

    However many are proven at a time.
    """
    monkeypatch.setattr(answers, "AT_ONCE", at_once)
    database.published = 700
    result_of(outside.house.database.record(version(3)))
    database.published = 900
    result_of(outside.house.database.record(BIG))
    database.published = None
    wanted = [version(3), version(299), version(998), BIG]
    assert set(inside.bring(outside.export(*wanted))) == set(wanted)
    inside.house.restart()
    assert {inside.lookup(each).tree.size for each in wanted} == {1000}
    with pytest.raises(UpstreamFailed):
        inside.lookup(version(5))
    assert inside.house.source.asked == [f"lookup/{version(5)}"]


def test_an_older_head(outside: Outside, inside: Inside, database: Database) -> None:
    """Where an earlier bundle was imported, the next one continues it if it was made for that; both then hold."""
    inside.bring(outside.export(version(3), BIG))
    old = outside.house.database.head
    database.fill(5000)
    unjoined = outside.export(version(4000))
    with pytest.raises(UpstreamFailed):
        inside.bring(unjoined)
    joined = outside.export(version(4000), since=(old,))
    inside.bring(joined)
    inside.house.restart()
    assert {inside.lookup(each).tree.size for each in (version(3), BIG, version(4000))} == {5000}


def test_one_after_the_other(outside: Outside, inside: Inside, database: Database) -> None:
    """Each continues the one before, though nothing new was looked up for one of them."""
    heads: list[Head] = []
    for size, each in ((1000, version(3)), (2000, version(3)), (5000, version(4000))):
        database.fill(size)
        inside.bring(outside.export(each, since=tuple(heads[-1:])))
        heads.append(outside.house.database.head)
    assert {inside.lookup(each).tree.size for each in (version(3), version(4000))} == {5000}


def test_the_head_is_the_same_one(outside: Outside, inside: Inside) -> None:
    """When the database has not grown, nothing is needed to go on from it."""
    inside.bring(outside.export(version(3)))
    inside.bring(outside.export(version(4), since=(outside.house.database.head,)))
    assert {inside.lookup(each).tree.size for each in (version(3), version(4))} == {1000}


def test_a_daemon_that_runs(outside: Outside, inside: Inside, database: Database, tmp_path: Path) -> None:
    """It has what was imported beside it, and the new head, without being started anew."""
    inside.bring(outside.export(version(3)))
    running = House(tmp_path / "inside", database)
    running.source.failure = UpstreamFailed("there is no network")
    assert running.database.head.tree.size == 1000
    old = outside.house.database.head
    database.fill(2000)
    inside.bring(outside.export(version(1999), since=(old,)))
    assert {lookup(running, each).tree.size for each in (version(1999), version(3))} == {2000}


def test_another_history(outside: Outside, inside: Inside, database: Database) -> None:
    """A bundle of a database that has changed what it said is refused, by whoever sees it first."""
    inside.bring(outside.export(version(3)))
    old = outside.house.database.head
    other = database.fork(7, "evil.example.test/m v1.0.0 h1:evil=\n")
    other.fill(2000)
    with pytest.raises(VerificationFailed, match="SECURITY ERROR"):
        Outside(outside.root / "forked", other).export(version(1999), since=(old,))
    with pytest.raises(VerificationFailed, match="SECURITY ERROR"):
        inside.bring(Outside(outside.root / "again", other).export(version(1999), since=(head_of(other, 1000),)))


def head_of(database: Database, size: int) -> Head:
    return open_head(database.head(size), parse_verifier(database.signer.verifier_key))


def test_an_older_database(outside: Outside, database: Database) -> None:
    """One that shows less than it did for the earlier bundle: that is said."""
    result_of(outside.house.database.latest())
    with pytest.raises(UpstreamFailed, match="an older tree"):
        outside.export(version(3), since=(head_of(grown(), 2000),))


def grown() -> Database:
    database = filled(1000)
    database.fill(2000)
    return database


def test_what_it_does_not_have(outside: Outside) -> None:
    """Other files of the database are not in a bundle."""
    with Bundle(outside.export(version(3)), SIGNER.verifier) as bundle:
        with pytest.raises(NotFound):
            result_of(Carried(bundle, "sum.example.test").ask("lookup/example.com/m@v1.0.0", 1000))
        with pytest.raises(NotFound):
            result_of(Carried(bundle, "sum.example.com").ask("latest", 1000))
