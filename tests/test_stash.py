"""A miss: fetch, verify, store."""

from __future__ import annotations

import gc
import json
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, DeferredList
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from athensd.blob import BytesBlob, read_all
from athensd.errors import (
    Mismatch,
    NoRoom,
    NotFound,
    Overloaded,
    StorageFailed,
    TimedOut,
    UpstreamFailed,
    VerificationFailed,
)
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.index.memory import MemoryIndex
from athensd.interfaces import WHOLE, Kind
from athensd.origin.bounded import BoundedOrigin
from athensd.spool import Spool
from athensd.stash import Stash
from athensd.storage.memory import MemoryStorage
from tests.fakes import FakeOrigin, FakeSums, Steps, at_once, module_files, module_zip, result_of, start
from tests.storage.contract import files_below

M = ModuleVersion("example.com/m", "v1.2.3")
OTHER = ModuleVersion("example.com/m", "v1.2.4")
BEGINNING = datetime.min.replace(tzinfo=UTC)


class FailingIndex(MemoryIndex):
    """An index whose server is away."""

    async def add(self, version):
        raise UpstreamFailed("the index server is away")


class Room:
    """A stash and all that is around it."""

    def __init__(self, tmp_path, *, index=None, origin=None):
        self.spool = Spool(tmp_path)
        self.storage = MemoryStorage(self.spool)
        self.origin = FakeOrigin(M)
        self.index = index or MemoryIndex()
        self.flight = MemoryFlight()
        self.clock = Clock()
        self.published = []
        self.sums = FakeSums()
        self.wrong_ones = []
        self.stash = Stash(
            storage=self.storage,
            origin=origin(self.origin) if origin else self.origin,
            index=self.index,
            flight=self.flight,
            spool=self.spool,
            clock=self.clock,
            in_thread=at_once,
            published=self.published.append,
            sums=self.sums,
            timeout=300,
            set_aside=self.set_aside,
        )

    async def set_aside(self, version, blob):
        self.wrong_ones.append((version, await read_all(blob)))

    def ask(self, kind=Kind.ZIP, version=M):
        """Somebody who asks, and gets all bytes of the file."""

        async def read():
            return await read_all(await self.stash.fetch(version, kind))

        return start(read())

    def put(self, kind, data, version=M):
        result_of(self.storage.put(version, kind, BytesBlob(data)))

    def stored(self, version=M):
        """Which files are to be seen."""
        return {kind for kind in Kind if self.has(version, kind)}

    def has(self, version, kind):
        try:
            result_of(self.storage.open(version, kind))
        except NotFound:
            return False
        return True

    def indexed(self):
        return [line.version for line in result_of(self.index.since(BEGINNING, 100))]


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


@pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD])
def test_one_file(room, kind):
    """A small file is fetched, stored and given, and nothing else is asked for."""
    assert result_of(room.ask(kind)) == room.origin.files[M][kind]
    assert room.stored() == {kind}
    assert room.origin.asked == [("fetch", M, kind)]
    assert room.published == [M]
    assert room.indexed() == []


def test_second_time(room):
    """What is stored is not fetched again, even when the asker did not know."""
    first = result_of(room.ask(Kind.MOD))
    assert result_of(room.ask(Kind.MOD)) == first
    assert room.origin.fetched() == [Kind.MOD]


def test_pinned_build(room):
    """A build that asks for go.mod and zip only leaves a complete version: its .info is fetched in the background."""
    result_of(room.ask(Kind.MOD))
    room.origin.hold()
    zip_asker = room.ask(Kind.ZIP)
    room.origin.release_first()
    assert result_of(zip_asker) == room.origin.files[M][Kind.ZIP], "who wants the zip does not wait for the .info"
    assert room.stored() == {Kind.MOD, Kind.ZIP, Kind.ZIPHASH}
    assert room.indexed() == []
    room.origin.release()
    assert room.origin.fetched() == [Kind.MOD, Kind.ZIP, Kind.INFO]
    assert room.stored() == set(Kind)
    assert room.indexed() == [M]


def test_zip_alone(room):
    """A zip that is asked for first brings the version's other files after it, each once."""
    result_of(room.ask(Kind.ZIP))
    assert sorted(kind.value for kind in room.origin.fetched()) == ["info", "mod", "zip"]
    assert room.stored() == set(Kind)
    assert room.indexed() == [M]


def test_zip_without_go_mod(room):
    """A zip of old has no go.mod to compare; the one that Go makes up is fetched all the same."""
    room.origin.files[M][Kind.ZIP] = module_zip(M, {"m.go": b"package m\n"})
    result_of(room.ask(Kind.ZIP))
    assert room.stored() == set(Kind)
    assert room.indexed() == [M]


@pytest.mark.parametrize("kind", sorted(WHOLE, key=lambda kind: kind.value))
def test_origin_that_brings_all(room, kind):
    """All that comes along with a file is stored, and one fetch makes the version complete."""
    room.origin.brings = WHOLE
    assert result_of(room.ask(kind)) == room.origin.files[M][kind]
    assert room.origin.asked == [("fetch", M, kind)]
    assert room.stored() == set(Kind)
    assert room.indexed() == room.published == [M]


def test_hash_of_the_zip(room, tmp_path):
    """The h1 hash is kept beside the zip."""
    data = result_of(room.ask(Kind.ZIP))
    (tmp_path / "zip").write_bytes(data)
    with (tmp_path / "zip").open("rb") as file:
        wanted = check_zip(file, M).h1
    assert result_of(read_all(result_of(room.storage.open(M, Kind.ZIPHASH)))).decode() == wanted


@pytest.mark.parametrize("leavers", [0, 1, 49, 50])
def test_many_askers_of_a_cold_zip(room, leavers):
    """Fifty askers at once cost one fetch and get the same bytes, though the first ones leave; the fetch goes on."""
    room.origin.brings = WHOLE
    room.origin.hold()
    askers = [room.ask() for _ in range(50)]
    for asker in askers[:leavers]:
        asker.cancel()
        with pytest.raises(CancelledError):
            result_of(asker)
    assert room.origin.cancelled == 0
    room.origin.release()
    assert [result_of(asker) for asker in askers[leavers:]] == [room.origin.files[M][Kind.ZIP]] * (50 - leavers)
    assert room.origin.asked == [("fetch", M, Kind.ZIP)]
    assert room.stored() == set(Kind)


def test_failure_is_everybodys_and_not_remembered(room):
    """Who asked together gets the same failure; who asks later asks the origin anew."""
    room.origin.hold()
    askers = [room.ask() for _ in range(3)]
    room.origin.failure = UpstreamFailed("the host is away")
    room.origin.release()
    for asker in askers:
        with pytest.raises(UpstreamFailed, match="the host is away"):
            result_of(asker)
    assert len(room.origin.asked) == 1
    room.origin.failure = None
    result_of(room.ask())
    assert room.stored() == set(Kind)


def test_bounded(tmp_path):
    """So many fetches run at a time, so many more wait their turn, and one more is told to ask again later."""
    room = Room(tmp_path, origin=lambda origin: BoundedOrigin(origin, "upstream.test", at_once=2, queue=3))
    versions = [ModuleVersion("example.com/m", f"v1.0.{number}") for number in range(6)]
    room.origin.files = {version: module_files(version) for version in versions}
    room.origin.hold()
    askers = [room.ask(Kind.MOD, version) for version in versions]
    assert len(room.origin.asked) == 2
    with pytest.raises(Overloaded) as caught:
        result_of(askers[5])
    assert caught.value.retry_after > 0
    room.origin.release()
    for asker, version in zip(askers[:5], versions[:5], strict=True):
        assert result_of(asker) == room.origin.files[version][Kind.MOD]
    result_of(room.ask(Kind.MOD, versions[5]))


def test_too_slow(room):
    """At its deadline a fetch is ended, its askers are told, and nothing of it is stored or left over."""
    room.origin.brings = WHOLE
    room.origin.hold()
    askers = [room.ask(), room.ask()]
    room.clock.advance(299)
    assert not askers[0].called
    room.clock.advance(1)
    for asker in askers:
        with pytest.raises(TimedOut, match=r"fetching example.com/m@v1.2.3 took longer than 300 seconds"):
            result_of(asker)
    assert room.origin.cancelled == 1
    room.origin.release()
    assert room.stored() == set()
    assert room.published == []
    assert room.clock.getDelayedCalls() == []


GO_MOD = module_files(M)[Kind.MOD]
BAD = {
    "zip of another version": {Kind.ZIP: module_zip(OTHER, {"go.mod": GO_MOD})},
    "zip of another module": {Kind.ZIP: module_zip(ModuleVersion("example.com/x", "v1.2.3"), {"go.mod": GO_MOD})},
    "no zip": {Kind.ZIP: b"<html>not found</html>"},
    "zip cut off": {Kind.ZIP: module_files(M)[Kind.ZIP][:-10]},
    "empty zip file": {Kind.ZIP: b""},
    "another go.mod in the zip": {Kind.ZIP: module_zip(M, {"go.mod": b"module example.com/evil\n"})},
    "another go.mod beside the zip": {Kind.MOD: b"module example.com/evil\n"},
    "info of another version": {Kind.INFO: json.dumps({"Version": "v1.2.4"}).encode()},
    "info that is none": {Kind.INFO: b"<html>"},
    "info without a version": {Kind.INFO: b"{}"},
}


@pytest.mark.parametrize("bad", BAD)
def test_nothing_of_what_is_not_right(room, bad):
    """When one of the files that came together is not what it says it is, none of them is to be seen."""
    room.origin.files[M] |= BAD[bad]
    room.origin.brings = WHOLE
    with pytest.raises(VerificationFailed):
        result_of(room.ask(Kind.ZIP))
    assert room.stored() == set()
    assert room.published == room.indexed() == []


def test_zip_unlike_the_stored_go_mod(room):
    """The go.mod that was served decides, though the origin now sends another one with the zip."""
    room.put(Kind.MOD, b"module example.com/first\n")
    room.origin.brings = WHOLE
    with pytest.raises(VerificationFailed, match=r"go\.mod in the zip differs"):
        result_of(room.ask(Kind.ZIP))
    assert room.stored() == {Kind.MOD}


def test_first_bytes_stay(room):
    """Where another instance was first its bytes are the ones that are served, and that is no error."""
    room.origin.brings = WHOLE
    first = module_zip(M, {"go.mod": GO_MOD, "m.go": b"package m\n"}, method=0)
    room.origin.hold()
    asker = room.ask(Kind.ZIP)
    room.put(Kind.ZIP, first)
    with capture_logs() as logs:
        room.origin.release()
    assert result_of(asker) == first
    assert room.stored() == set(Kind)
    assert [line["log_level"] for line in logs if line["event"] == "kept the first"] == ["warning"]


def test_index_failure(tmp_path):
    """An index that fails costs its line and a message, never the module."""
    room = Room(tmp_path, index=FailingIndex())
    room.origin.brings = WHOLE
    with capture_logs() as logs:
        assert result_of(room.ask()) == room.origin.files[M][Kind.ZIP]
    assert room.stored() == set(Kind)
    assert [line["log_level"] for line in logs if line["event"] == "index failed"] == ["error"]


def test_storage_failure(room, monkeypatch):
    """A store that cannot be written is the failure of the fetch."""

    async def put(version, kind, blob):
        raise StorageFailed("the disk is full")

    monkeypatch.setattr(room.storage, "put", put)
    with pytest.raises(StorageFailed, match="the disk is full"):
        result_of(room.ask(Kind.MOD))
    assert room.published == []


def test_info_that_cannot_be_had(room):
    """A zip is given though its .info fails in the background; the version stays incomplete, which is told once."""
    result_of(room.ask(Kind.MOD))
    room.origin.files[M][Kind.INFO] = b"<html>"
    with capture_logs() as logs:
        result_of(room.ask(Kind.ZIP))
    assert room.stored() == set(Kind) - {Kind.INFO}
    assert room.indexed() == []
    assert [line["module"] for line in logs if line["event"] == "version stays incomplete"] == [M.path]


def test_one_line_a_fetch(room):
    """The log has one line for each fetch: what, how it ended, how many bytes, how long."""
    with capture_logs() as logs:
        result_of(room.ask(Kind.MOD))
        with pytest.raises(NotFound):
            result_of(room.ask(Kind.MOD, OTHER))
    lines = [line for line in logs if line["event"] == "fetch"]
    assert [(line["version"], line["kind"], line["bytes"]) for line in lines] == [
        ("v1.2.3", "mod", len(GO_MOD)),
        ("v1.2.4", "mod", 0),
    ]
    assert lines[0]["outcome"] == "fetched"
    assert lines[1]["outcome"] == "NotFound: example.com/m@v1.2.4: unknown revision"


def test_steps_of_a_fetch(room, steps: Steps):
    """What takes its time is told: the fetch with its size, the check of the zip, the line of the index."""
    result_of(room.ask(Kind.ZIP))
    fetch = next(step for step in steps.named("fetch") if step.facts["kind"] == "zip")
    about = {"module": M.path, "version": M.version}
    size = len(room.origin.files[M][Kind.ZIP])
    assert fetch.facts == {"kind": "zip", "bytes": size, **about}
    assert [step.facts for step in steps.named("verify")] == [{"bytes": size, **about}]
    assert [step.facts for step in steps.named("index.add")] == [about]
    assert [(step.apart, step.facts) for step in steps.named("complete")] == [(True, about)]


def test_line_of_an_unforeseen_failure(room):
    """A fetch that fails in a way that nobody foresaw is not called a success."""
    room.origin.failure = ZeroDivisionError()
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        result_of(room.ask(Kind.MOD))
    assert [line["outcome"] for line in logs if line["event"] == "fetch"] == ["failed"]


def test_spool_is_left_empty(room, tmp_path):
    """Whatever comes of a fetch, its directory is gone afterwards."""
    for bad in (None, *BAD):
        version = ModuleVersion("example.com/m", f"v1.0.{list(BAD).index(bad) if bad else 99}")
        room.origin.files[version] = module_files(version) | (BAD[bad] if bad else {})
        room.origin.brings = WHOLE
        DeferredList([room.ask(Kind.ZIP, version)], consumeErrors=True)
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and path.parent != tmp_path] == []


def test_end_of_the_process(room):
    """When all work is given up at the end, the background fetch of an .info ends without a word of an error."""
    result_of(room.ask(Kind.MOD))
    room.origin.hold()
    asker = room.ask(Kind.ZIP)
    room.origin.release_first()
    result_of(asker)
    with capturedLogs() as events:
        room.flight.stop()
        gc.collect()
    assert room.origin.cancelled == 1
    assert [event for event in events if event["log_level"] > LogLevel.info] == []


def test_sums_are_checked(room):
    """Of each zip and go.mod before it is stored, and asking about them begins before the download."""
    result_of(room.ask(Kind.ZIP))
    files = room.origin.files[M]
    h1 = result_of(read_all(result_of(room.storage.open(M, Kind.ZIPHASH)))).decode()
    assert (M, h1, False) in room.sums.checked
    assert (M, h1_of_mod(files[Kind.MOD]), True) in room.sums.checked
    assert room.sums.prefetched == [M, M]


@pytest.mark.parametrize("kind", [Kind.MOD, Kind.ZIP])
def test_a_wrong_sum(room, kind):
    """Nothing of what is not as everybody else has it is stored."""
    room.sums.wrong.add(M)
    with pytest.raises(Mismatch):
        result_of(room.ask(kind))
    assert room.stored() == set()


def test_an_info_has_no_sum(room):
    """Nobody is asked about it."""
    result_of(room.ask(Kind.INFO))
    assert (room.sums.prefetched, room.sums.checked) == ([], [])


def test_a_zip_comes_back_as_it_was(room):
    """A zip that was here once must have the hash that was recorded: another one is refused, and kept elsewhere."""
    result_of(room.ask(Kind.ZIP))
    zip = room.origin.files[M][Kind.ZIP]
    del room.storage._files[M][Kind.ZIP]
    room.origin.files[M][Kind.ZIP] = wrong = module_zip(M, {"go.mod": module_files(M)[Kind.MOD], "m.go": b"another"})
    with capture_logs() as logs, pytest.raises(Mismatch, match="checksum mismatch"):
        result_of(room.ask(Kind.ZIP))
    assert [line["log_level"] for line in logs if line["event"] == "not the zip that was here"] == ["error"]
    assert room.wrong_ones == [(M, wrong)]
    assert room.stored() == set(Kind) - {Kind.ZIP}
    room.origin.files[M][Kind.ZIP] = zip
    assert result_of(room.ask(Kind.ZIP)) == zip


@pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD, Kind.ZIP])
def test_no_room(room, kind, steps):
    """What there is no room for is given to all who ask just now, and is not stored; nothing is left of it."""
    put = room.storage.put

    async def full(version, each, blob):
        if each is kind:
            raise NoRoom("full")
        await put(version, each, blob)

    room.storage.put = full
    room.origin.hold()
    asking = [room.ask(kind) for _ in range(2)]
    room.origin.release()
    assert [result_of(each) for each in asking] == [room.origin.files[M][kind]] * 2
    assert kind not in room.stored()
    assert {step.facts.get("stored") for step in steps.named("fetch") if step.facts["kind"] == kind.value} == {False}
    assert files_below(room.spool._room) == []


def test_evicted_at_once(room):
    """A zip that is gone before its asker sees it is fetched again."""
    gone = []

    def evict(version):
        if Kind.ZIP in room.stored() and not gone:
            gone.append(room.storage._files[version].pop(Kind.ZIP))

    room.stash._published = evict
    assert result_of(room.ask(Kind.ZIP)) == room.origin.files[M][Kind.ZIP]
    assert gone
