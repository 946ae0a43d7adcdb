"""Is a store as it was when it was filled, and can it be made so again?"""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from athensd.blob import BytesBlob
from athensd.checksums.quarantine import Quarantine
from athensd.errors import NotFound, StorageFailed, UpstreamFailed
from athensd.interfaces import WHOLE, Kind
from athensd.spool import Spool
from athensd.storage.disk import DiskStorage
from athensd.upkeep.checking import Checker
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.mending import Mender
from athensd.upkeep.sums import Sums
from athensd.upkeep.tally import Tally
from tests.fakes import FakeOrigin, at_once, module_zip, result_of, start
from tests.storage.contract import files_below
from tests.upkeep.fakes import OTHER, FakeDatabase, M, files_in, flipped, h1_of, put, whole


class Rig:
    """A store on a disk, the origin of what is in it, and a checksum database that knows nothing yet."""

    def __init__(self, place):
        self.place = place
        self.spool = Spool(place / "spool")
        self.storage = DiskStorage(place / "store", self.spool, at_once)
        self.origin = FakeOrigin()
        self.origin.files[M] = {kind: whole()[kind] for kind in WHOLE}
        self.database = FakeDatabase()
        self.clock = Clock()
        self.said = []
        self.tally = Tally(self.said.append)

    def work(self, *, repair=False, sums=False, storage=None):
        storage = storage or self.storage
        known = Sums(self.database)
        mender = Mender(
            storage,
            self.origin,
            Inspector(at_once, known),
            known,
            self.spool,
            Quarantine(storage, self.place / "quarantine", at_once).put,
            self.clock,
            600,
        )
        inspector = Inspector(at_once, known if sums else Sums())
        return Checker(storage, inspector, self.spool, self.tally, mender if repair else None).check(M)

    def check(self, **options):
        """What was counted."""
        self.said.clear()
        self.tally.counts.clear()
        self.tally.faults = 0
        result_of(self.work(**options))
        assert not list((self.place / "spool").glob("*/*"))
        return dict(self.tally.counts)

    def quarantined(self):
        return {path.suffix[1:]: path.read_bytes() for path in files_below(self.place / "quarantine")}


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def without(*kinds):
    return {kind: data for kind, data in whole().items() if kind not in kinds}


def damaged(**changed):
    return {**whole(), **{Kind(kind): data for kind, data in changed.items()}}


FLIPPED = damaged(zip=flipped(whole()[Kind.ZIP]))


def test_sound(rig):
    """There is nothing to say, and nothing is done; nobody is asked."""
    put(rig.storage, whole())
    assert rig.check(repair=True) == {"complete": 1}
    assert (rig.said, rig.tally.faults, rig.origin.asked, rig.database.asked) == ([], 0, [], [])
    assert files_in(rig.storage) == whole()


def test_a_flipped_bit(rig):
    """It is named, and stays where nothing is to be repaired."""
    put(rig.storage, FLIPPED)
    assert rig.check() == {"complete": 1, "wrong": 1}
    assert rig.tally.faults == len(rig.said) == 1
    assert rig.said[0].startswith(f"{M}: zip member ")
    assert files_in(rig.storage) == FLIPPED


def test_replaced(rig):
    """It is fetched again, held against its record, and put in the place of the wrong one, which is kept elsewhere."""
    put(rig.storage, FLIPPED)
    assert rig.check(repair=True) == {"complete": 1, "wrong": 1, "replaced": 1}
    assert rig.said[-1] == f"{M}: fetched again and replaced; what was there is in quarantine"
    assert rig.tally.faults == 1
    assert files_in(rig.storage) == whole()
    assert rig.quarantined() == {kind.value: data for kind, data in FLIPPED.items()}
    assert rig.check() == {"complete": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        damaged(info=b"{}"),
        damaged(mod=b"module example.com/other\n"),
        damaged(zip=b""),
        {**damaged(info=b""), Kind.ZIP: b"PK"},
        # No hash was recorded, and the zip itself is one that can be hashed.
        {kind: data for kind, data in damaged(info=b"").items() if kind is not Kind.ZIPHASH},
    ],
)
def test_each_file_can_be_replaced(rig, wrong):
    """Whatever it is that is wrong."""
    put(rig.storage, wrong)
    assert rig.check(repair=True)["replaced"] == 1
    assert files_in(rig.storage) == whole()


def kept(rig, **options):
    """Repair does nothing; why."""
    before = files_in(rig.storage)
    assert rig.check(repair=True, **options)["kept as they are"] == 1
    assert files_in(rig.storage) == before
    assert rig.quarantined() == {}
    return rig.said[-1].removeprefix(f"{M}: kept as it is: ")


@pytest.mark.parametrize("error", [NotFound("it is gone"), UpstreamFailed("no answer")])
def test_what_cannot_be_fetched_is_kept(rig, error):
    """Wrong bytes may be all that there is of them."""
    put(rig.storage, FLIPPED)
    rig.origin.failure = error
    assert kept(rig) == f"it cannot be had again: {error}"


def test_an_origin_that_does_not_answer(rig):
    """It is not waited for without end."""
    put(rig.storage, FLIPPED)
    rig.origin.hold()
    done = start(rig.work(repair=True))
    rig.clock.advance(600)
    result_of(done)
    assert rig.said[-1].endswith("took longer than 600 seconds")
    assert files_in(rig.storage) == FLIPPED


def test_an_origin_with_another_history(rig):
    """What is there under this name now is not what was stored."""
    put(rig.storage, FLIPPED)
    go_mod = whole()[Kind.MOD]
    other = module_zip(M, {"go.mod": go_mod, "m.go": b"package evil\n"})
    rig.origin.files[M][Kind.ZIP] = other
    assert kept(rig) == (
        f"what can be had now is not it: its zip has the hash {h1_of({Kind.ZIP: other})}, and known is {h1_of(whole())}"
    )


def test_an_origin_that_sends_nonsense(rig):
    """What was fetched must be right itself."""
    put(rig.storage, FLIPPED)
    rig.origin.files[M][Kind.ZIP] = b"<html>"
    assert kept(rig).startswith("what can be had now is not it: this is not a zip")


@pytest.mark.parametrize("recorded", [b"", b"\0\0\0", b"nonsense", None])
def test_no_hash_is_known(rig, recorded):
    """Then nothing says that what the origin has is the same; unless the checksum database does."""
    files = dict(FLIPPED)
    del files[Kind.ZIPHASH]
    put(rig.storage, files if recorded is None else {**files, Kind.ZIPHASH: recorded})
    assert kept(rig) == "what can be had now is not it: no hash of it is known"
    rig.database.knows(whole())
    assert rig.check(repair=True)["replaced"] == 1
    assert files_in(rig.storage) == whole()


def test_a_record_that_is_wrong(rig):
    """The zip is right and its record is not: the database decides, and without it nothing is done."""
    put(rig.storage, damaged(ziphash=OTHER.encode()))
    assert kept(rig).endswith(f"and known is {OTHER}")
    rig.database.knows(whole())
    assert rig.check(repair=True)["replaced"] == 1
    assert files_in(rig.storage) == whole()


def test_sums(rig):
    """What fits together and is not what everybody else was given is wrong, and is replaced by what is."""
    wrong = damaged(zip=module_zip(M, {"go.mod": whole()[Kind.MOD], "m.go": b"package evil\n"}))
    wrong[Kind.ZIPHASH] = h1_of(wrong).encode()
    put(rig.storage, wrong)
    rig.database.knows(whole())
    assert rig.check() == {"complete": 1}
    assert rig.check(sums=True) == {"complete": 1, "wrong": 1}
    assert rig.check(sums=True, repair=True)["replaced"] == 1
    assert files_in(rig.storage) == whole()


def test_a_database_that_is_away(rig):
    """What cannot be verified is a fault where it was to be; nothing is replaced without its word."""
    put(rig.storage, FLIPPED)
    rig.database.failure = UpstreamFailed("it is away")
    assert rig.check(sums=True) == {"could not be checked": 1}
    assert rig.tally.faults == 1
    assert kept(rig) == "it cannot be had again: it is away"


def test_a_go_mod_alone(rig):
    """Versions without a zip are counted; of their go.mod only the database can say whether it is right."""
    put(rig.storage, {Kind.MOD: b"module example.com/other\n"})
    assert rig.check() == {"without a zip": 1}
    assert rig.tally.faults == 0
    rig.database.knows(whole())
    assert rig.check(sums=True, repair=True) == {"without a zip": 1, "wrong": 1, "replaced": 1}
    assert files_in(rig.storage) == {Kind.MOD: whole()[Kind.MOD]}


def test_a_go_mod_that_nothing_speaks_for(rig):
    """An .info is wrong, and the origin has another go.mod too: then that stays as well."""
    put(rig.storage, {Kind.MOD: b"module example.com/other\n", Kind.INFO: b""})
    assert kept(rig).endswith("its go.mod is another one, and nothing says which is right")


def test_incomplete(rig):
    """A version that lacks something beside its zip is named; it may become complete at any time."""
    put(rig.storage, without(Kind.INFO, Kind.MOD))
    assert rig.check() == {"incomplete": 1}
    assert (rig.said, rig.tally.faults) == ([f"{M}: incomplete: there is no .info and no .mod"], 0)


def test_hashes_are_recorded(rig):
    """A zip that Athens stored has none: it gets one when the store is repaired."""
    put(rig.storage, without(Kind.ZIPHASH))
    assert rig.check() == {"complete": 1, "zips without a recorded hash": 1}
    assert rig.tally.faults == 0
    assert rig.check(repair=True)["hashes recorded"] == 1
    assert files_in(rig.storage) == whole()
    assert rig.check() == {"complete": 1}


def test_no_hash_is_recorded_of_what_is_wrong(rig):
    """It would make it right for ever."""
    put(rig.storage, without(Kind.ZIPHASH))
    rig.database.records[M] = f"{M.path} {M.version} {OTHER}\n"
    rig.origin.failure = NotFound("gone")
    kept(rig, sums=True)


def test_deleted_in_the_meantime(rig):
    """What is no longer there is neither right nor wrong."""
    assert rig.check(repair=True) == {}
    assert rig.tally.faults == 0


class Failing:
    """A store in which something fails when it is replaced."""

    def __init__(self, storage, **failing):
        self.storage = storage
        self.failing = failing

    def __getattr__(self, name):
        return self.failing.get(name) or getattr(self.storage, name)


async def fail(*_):
    raise StorageFailed("the disk is full")


def test_a_quarantine_that_cannot_be_written(rig):
    """Nothing is deleted of which there is no copy."""
    put(rig.storage, FLIPPED)
    (rig.place / "quarantine").write_bytes(b"a file is in the way")
    assert rig.check(repair=True)["kept as they are"] == 1
    assert "could not be put into quarantine" in rig.said[-1]
    assert files_in(rig.storage) == FLIPPED


def test_storing_fails(rig):
    """That is said, and both are to be had: the wrong one from quarantine, the right one from its origin."""
    put(rig.storage, FLIPPED)
    assert rig.check(repair=True, storage=Failing(rig.storage, put=fail))["kept as they are"] == 1
    assert rig.said[-1].endswith("it is in quarantine, and the right one could not be stored: the disk is full")
    assert rig.quarantined() == {kind.value: data for kind, data in FLIPPED.items()}


def test_a_daemon_was_quicker(rig):
    """Between deleting and storing somebody asked for it: then what the daemon has fetched stays."""
    put(rig.storage, FLIPPED)
    info = b'{"Version":"v1.2.3"}'

    async def delete(version):
        await rig.storage.delete(version)
        await rig.storage.put(version, Kind.INFO, BytesBlob(info))

    assert rig.check(repair=True, storage=Failing(rig.storage, delete=delete))["kept as they are"] == 1
    assert "it was stored anew meanwhile" in rig.said[-1]
    assert files_in(rig.storage)[Kind.INFO] == info


def test_a_version_becomes_whole(rig):
    """Where the .info was missing too it is fetched along."""
    put(rig.storage, {**FLIPPED, Kind.INFO: b""})
    assert rig.check(repair=True)["replaced"] == 1
    assert files_in(rig.storage).keys() >= WHOLE
