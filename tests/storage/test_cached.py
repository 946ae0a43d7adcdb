"""Copies on the local disk of what another datastore has."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from athensd.blob import BytesBlob, FileBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import ICatalog, IStorage, Kind
from athensd.spool import Spool
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout
from athensd.storage.cached import HOUR, CachedStorage, Ledger
from athensd.storage.layout import file_name
from athensd.storage.memory import MemoryStorage
from athensd.storage.nothing import NoStorage
from tests.fakes import at_once, result_of, start
from tests.storage.contract import BrokenBlob, M, StorageContract, files_below
from tests.storage.test_bucket import minio_bucket, server  # noqa: F401 - fixtures

N = ModuleVersion("example.com/n", "v1.0.0")
DIES_BEFORE_IT_PUBLISHES = "import sys; from tests.storage.test_cached import die; die(sys.argv[1])"


class Remote(MemoryStorage):
    """A store elsewhere: ``opened`` is every file that it was asked for; ``failure`` is raised while it is set."""

    def __init__(self, spool):
        super().__init__(spool)
        self.opened = []
        self.failure = None
        self.held = None

    def hold(self):
        """Keep those who ask waiting."""
        self.held = Deferred()

    def release(self):
        held, self.held = self.held, None
        held.callback(None)

    async def open(self, version, kind):
        self.opened.append(file_name(version, kind))
        if self.held:
            await self.held
        self._fail()
        return await super().open(version, kind)

    async def put(self, version, kind, blob):
        self._fail()
        await super().put(version, kind, blob)

    async def versions(self, path):
        self._fail()
        return await super().versions(path)

    async def check(self):
        self._fail()

    def _fail(self):
        if self.failure:
            raise self.failure


class World:
    """One remote store and what each start of athensd shares: a directory, and the time."""

    def __init__(self, tmp_path, max_bytes=1000):
        self.tmp_path = tmp_path
        self.max_bytes = max_bytes
        self.remote = Remote(Spool(tmp_path / "remote"))
        self.root = tmp_path / "cache"
        self.spool = Spool(tmp_path / "spool")
        self.clock = Clock()
        self.clock.advance(1e9)

    def started(self, in_thread=at_once, **more):
        return CachedStorage(
            self.remote,
            **{
                "root": self.root,
                "spool": self.spool,
                "flight": MemoryFlight(),
                "in_thread": in_thread,
                "clock": self.clock,
                "max_bytes": self.max_bytes,
                **more,
            },
        )

    def store(self, version, kind, data):
        """Put something into the remote store, as another instance does."""
        result_of(self.remote.put(version, kind, BytesBlob(data)))

    def names(self):
        """The files that are really kept."""
        return {str(path.relative_to(self.root)) for path in files_below(self.root)}

    def bytes(self):
        return sum(path.stat().st_size for path in files_below(self.root))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def cached(world):
    return world.started()


def read(storage, version=M, kind=Kind.ZIP):
    return result_of(read_all(result_of(storage.open(version, kind))))


def v(number):
    return ModuleVersion("example.com/m", f"v1.{number}.0")


class TestCached(StorageContract):
    @pytest.fixture(params=[1 << 30, 0, 3000], ids=["large", "none", "small"])
    def storage(self, tmp_path, request):
        return World(tmp_path, request.param).started(deferToThread)


class TestMinio(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path, minio_bucket):  # noqa: F811
        world = World(tmp_path, 1 << 30)
        world.remote = BucketStorage(minio_bucket, DownloadLayout())
        return world.started(deferToThread, clock=reactor)


def test_catalog_if_the_remote_has_one(world):
    """It is a catalog when the store behind it is one, and not otherwise."""
    assert ICatalog.providedBy(world.started())
    world.remote = NoStorage()
    assert IStorage.providedBy(world.started())
    assert not ICatalog.providedBy(world.started())


@pytest.mark.parametrize("kind", Kind)
def test_read_once(world, cached, kind, steps):
    """A file is read from the remote once, as one step, and from then on from its local copy."""
    world.store(M, kind, b"bytes")
    for _ in range(3):
        assert read(cached, M, kind) == b"bytes"
    assert world.remote.opened == [file_name(M, kind)]
    assert world.names() == {file_name(M, kind)}
    [step] = steps.named("storage.remote")
    assert step.facts == {"kind": kind.value, "module": M.path, "version": M.version, "bytes": 5}
    assert (cached.misses, cached.hits, cached.size) == (1, 2, 5)


def test_zips_are_sent_from_the_file(world, cached):
    """A zip is a local file from the first time on, so that the kernel can send it."""
    world.store(M, Kind.ZIP, b"bytes")
    for _ in range(2):
        with result_of(cached.open(M, Kind.ZIP)).file() as file:
            assert file.name == str(world.root / file_name(M, Kind.ZIP))


@pytest.mark.parametrize("kind", Kind)
def test_what_is_put_is_kept(world, cached, kind):
    """What was put needs not be read from the remote."""
    result_of(cached.put(M, kind, BytesBlob(b"bytes")))
    assert read(cached, M, kind) == read(world.remote, M, kind) == b"bytes"
    assert (cached.misses, cached.size) == (0, 5)


def test_no_second_copy_of_a_zip(world, cached):
    """An unfinished file of ours is linked and not copied."""
    path = world.spool.new_path()
    path.write_bytes(b"bytes")
    result_of(cached.put(M, Kind.ZIP, FileBlob(path, 5)))
    assert (world.root / file_name(M, Kind.ZIP)).samefile(path)


def test_the_remote_decides_who_was_first(world, cached):
    """What the remote does not take is not kept."""
    world.store(M, Kind.ZIP, b"first")
    with pytest.raises(Conflict):
        result_of(cached.put(M, Kind.ZIP, BytesBlob(b"other")))
    with pytest.raises(StorageFailed):
        result_of(cached.put(N, Kind.ZIP, BrokenBlob()))
    assert world.names() == set()
    assert read(cached) == b"first"


@ensureDeferred
async def test_one_download_for_many(world):
    """Twenty who ask for a cold file at once cost one read of the remote; who leaves does not end it."""
    cached = world.started(deferToThread)
    await world.remote.put(M, Kind.ZIP, BytesBlob(bytes(500)))
    world.remote.hold()
    asking = [start(cached.open(M, Kind.ZIP)) for _ in range(20)]
    asking[0].addErrback(lambda left: None)
    asking[0].cancel()
    world.remote.release()
    blobs = await gatherResults(asking[1:])
    assert [len(await read_all(blob)) for blob in blobs] == [500] * 19
    assert world.remote.opened == [file_name(M, Kind.ZIP)]


def test_dead_remote(world, cached):
    """What is kept is served while the remote is away; all else is said to have failed, and so is the store itself."""
    world.store(M, Kind.ZIP, b"bytes")
    read(cached)
    world.remote.failure = StorageFailed("the bucket is away")
    assert read(cached) == b"bytes"
    assert read(world.started()) == b"bytes"
    for ask in (
        lambda: cached.open(M, Kind.INFO),
        lambda: cached.put(M, Kind.INFO, BytesBlob(b"{}")),
        lambda: cached.versions(M.path),
        lambda: cached.check(),
    ):
        with pytest.raises(StorageFailed, match="the bucket is away"):
            result_of(ask())


def test_broken_download(world, cached):
    """Of a download that breaks off nothing is kept, and it is made anew."""
    for blob in (BrokenBlob(), ShorterBlob(b"short")):
        world.remote._files[M] = {Kind.ZIP: blob}
        with pytest.raises((StorageFailed, OSError)):
            read(cached)
        assert world.names() == set()
        assert files_below(world.tmp_path / "spool") == []
        assert cached.size == 0
    world.remote._files[M] = {Kind.ZIP: BytesBlob(b"whole")}
    assert read(cached) == b"whole"


class ShorterBlob(BytesBlob):
    """A blob that is shorter than it says."""

    @property
    def length(self):
        return len(self.data) + 1


def test_no_hash_is_remembered(world, cached):
    """That there is no hash beside a zip, as in what Athens stored, is asked once; a hash that comes later is seen."""
    world.store(M, Kind.ZIP, b"bytes")
    for _ in range(3):
        read(cached)
        with pytest.raises(NotFound):
            read(cached, M, Kind.ZIPHASH)
    assert world.remote.opened == [file_name(M, kind) for kind in (Kind.ZIP, Kind.ZIPHASH)]
    world.remote.failure = StorageFailed("the bucket is away")
    with pytest.raises(NotFound):
        read(cached, M, Kind.ZIPHASH)
    world.remote.failure = None
    result_of(cached.put(M, Kind.ZIPHASH, BytesBlob(b"h1:")))
    (world.root / file_name(M, Kind.ZIPHASH)).unlink()
    assert read(cached, M, Kind.ZIPHASH) == b"h1:"


def test_no_hash_is_forgotten_with_the_zip(world, cached):
    """When the copy of the zip goes, its hash is asked for anew."""
    world.store(M, Kind.ZIP, b"bytes")
    read(cached)
    with pytest.raises(NotFound):
        read(cached, M, Kind.ZIPHASH)
    result_of(cached.put(N, Kind.ZIP, BytesBlob(bytes(1000))))
    world.store(M, Kind.ZIPHASH, b"h1:")
    assert read(cached, M, Kind.ZIPHASH) == b"h1:"


@pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD, Kind.ZIP])
def test_absence_is_not_remembered(world, cached, kind):
    """A file that was not there is found as soon as another instance has stored it."""
    with pytest.raises(NotFound):
        read(cached, M, kind)
    world.store(M, kind, b"bytes")
    assert read(cached, M, kind) == b"bytes"


def test_deleted(world, cached):
    """Deleting removes the copies too, also when the remote has nothing any more."""
    for kind in Kind:
        result_of(cached.put(M, kind, BytesBlob(b"bytes")))
    result_of(cached.put(N, Kind.MOD, BytesBlob(b"bytes")))
    result_of(cached.delete(M))
    assert world.names() == {file_name(N, Kind.MOD)}
    assert cached.size == 5
    result_of(world.remote.delete(N))
    with pytest.raises(NotFound):
        result_of(cached.delete(N))
    with pytest.raises(NotFound):
        read(cached, N, Kind.MOD)


def test_deleted_elsewhere(world, cached):
    """Whoever hears that another has deleted a version has no copy of it any more."""
    for kind in Kind:
        result_of(cached.put(M, kind, BytesBlob(b"bytes")))
    result_of(world.remote.delete(M))
    result_of(cached.forget(M))
    assert world.names() == set()
    assert cached.size == 0
    with pytest.raises(NotFound):
        read(cached, M, Kind.MOD)


def test_deleted_while_it_is_read(world):
    """A download that was under way when its version was deleted leaves no copy."""
    publishing = Deferred()

    async def in_thread(function, *arguments):
        if function.__name__ == "_publish":
            await publishing
        return function(*arguments)

    cached = world.started(in_thread)
    world.store(M, Kind.ZIP, b"bytes")
    asked = start(cached.open(M, Kind.ZIP))
    result_of(cached.delete(M))
    publishing.callback(None)
    assert result_of(read_all(result_of(asked))) == b"bytes"
    assert world.names() == set()
    assert cached.size == 0


def test_stored_anew_elsewhere(world, cached):
    """What another instance deletes lives on as a copy here, until the version is put anew with other bytes."""
    result_of(cached.put(M, Kind.ZIP, BytesBlob(b"first")))
    result_of(world.remote.delete(M))
    assert read(cached) == b"first"
    result_of(cached.put(M, Kind.ZIP, BytesBlob(b"the second")))
    assert read(cached) == b"the second"
    assert cached.size == 10


def test_damaged(world, cached):
    """A copy that has lost bytes is noticed by its length and fetched again."""
    result_of(cached.put(M, Kind.ZIP, BytesBlob(b"bytes")))
    (world.root / file_name(M, Kind.ZIP)).write_bytes(b"byt")
    assert read(cached) == b"bytes"
    assert cached.size == 5


class TestBound:
    """Never more than ``max_bytes``, and what was used least recently goes first."""

    def test_exact(self, world, cached):
        """A file for which there is just room is added; one byte more costs the oldest."""
        for number in range(9):
            result_of(cached.put(v(number), Kind.ZIP, BytesBlob(bytes(100))))
        result_of(cached.put(v(9), Kind.ZIP, BytesBlob(bytes(99))))
        assert (cached.size, cached.evicted) == (999, 0)
        result_of(cached.put(v(9), Kind.MOD, BytesBlob(bytes(1))))
        assert (cached.size, cached.evicted) == (1000, 0)
        result_of(cached.put(v(9), Kind.INFO, BytesBlob(bytes(1))))
        assert (cached.size, cached.evicted, world.bytes()) == (901, 1, 901)
        assert file_name(v(0), Kind.ZIP) not in world.names()

    def test_used_last_stays(self, world, cached):
        """A hit is a use."""
        for number in range(10):
            result_of(cached.put(v(number), Kind.ZIP, BytesBlob(bytes(100))))
        for number in (0, 3):
            read(cached, v(number))
        result_of(cached.put(N, Kind.ZIP, BytesBlob(bytes(750))))
        assert world.names() == {file_name(each, Kind.ZIP) for each in (v(0), v(3), N)}

    @pytest.mark.parametrize("kind", [Kind.ZIP, Kind.MOD])
    def test_larger_than_all(self, world, cached, kind):
        """What is larger than the bound is passed through, and costs nothing of what is kept."""
        result_of(cached.put(M, Kind.INFO, BytesBlob(bytes(900))))
        world.store(N, kind, bytes(1001))
        for _ in range(2):
            assert len(read(cached, N, kind)) == 1001
        result_of(cached.put(M, kind, BytesBlob(bytes(1001))))
        assert world.names() == {file_name(M, Kind.INFO)}
        assert cached.size == 900

    @ensureDeferred
    async def test_many_downloads_at_once(self, world):
        """Room is made before a download begins, so many at once do not exceed the bound together."""
        cached = world.started(deferToThread)
        for number in range(40):
            await world.remote.put(v(number), Kind.ZIP, BytesBlob(bytes(90 + number)))
        largest = 0

        async def one(number):
            nonlocal largest
            blob = await cached.open(v(number), Kind.ZIP)
            largest = max(largest, cached.size, world.bytes())
            assert len(await read_all(blob)) == 90 + number

        await gatherResults([start(one(number)) for number in range(40)])
        assert 800 < largest <= 1000
        assert cached.size == world.bytes()

    def test_no_room_while_others_come(self, world, cached):
        """When all room is promised to downloads under way, the next one is passed through."""
        world.store(M, Kind.ZIP, bytes(600))
        world.store(N, Kind.ZIP, bytes(600))
        slow = world.started(lambda function, *arguments: waiting)
        waiting = Deferred()
        slow._counted = True
        first = start(slow.open(M, Kind.ZIP))
        assert len(read(slow, N)) == 600
        assert slow.size == 600
        waiting.callback(True)
        result_of(first)

    def test_evicted_while_it_is_served(self, world, cached):
        """Who has opened a file can read it, whether he has begun to or not."""
        data = random.Random(1).randbytes(900)
        world.store(M, Kind.ZIP, data)
        begun, late, later = (result_of(cached.open(M, Kind.ZIP)) for _ in range(3))
        with begun.file() as file:
            result_of(cached.put(N, Kind.ZIP, BytesBlob(bytes(900))))
            assert world.names() == {file_name(N, Kind.ZIP)}
            assert file.read() == data
        assert late.file() is None
        assert result_of(read_all(late)) == data
        assert b"".join(result_of(pieces_of(later, 10, 20))) == data[10:20]

    def test_nothing_is_left_of_it(self, world, cached):
        """The directories of a module of which nothing is kept any more are gone."""
        result_of(cached.put(ModuleVersion("example.com/a/b/c", "v1.0.0"), Kind.ZIP, BytesBlob(bytes(900))))
        result_of(cached.put(M, Kind.ZIP, BytesBlob(bytes(900))))
        assert [path.name for path in (world.root / "example.com").iterdir()] == ["m"]

    def test_hits_wait_for_nothing(self, world):
        """While files are removed, in a thread, other files are read."""
        cached = world.started()
        for version in (M, N):
            result_of(cached.put(version, Kind.ZIP, BytesBlob(bytes(400))))
        waiting = Deferred()
        cached._in_thread = lambda function, *arguments: waiting
        putting = start(cached.put(v(7), Kind.ZIP, BytesBlob(bytes(400))))
        assert len(read(cached, N)) == 400
        assert not putting.called
        putting.addErrback(lambda left: None)
        putting.cancel()
        assert cached.size == 400


async def pieces_of(blob, start, stop):
    return [piece async for piece in blob.chunks(start, stop)]


class TestRestart:
    def test_accounts_survive(self, world):
        """After a restart what is there counts, in the order in which it was used last, to the hour."""
        cached = world.started()
        for number in range(10):
            result_of(cached.put(v(number), Kind.ZIP, BytesBlob(bytes(100))))
            read(cached, v(number))
            world.clock.advance(HOUR)
        read(cached, v(0))
        again = world.started()
        assert len(read(again, v(3))) == 100
        result_of(again.put(N, Kind.ZIP, BytesBlob(bytes(750))))
        assert world.names() == {file_name(each, Kind.ZIP) for each in (v(0), v(3), N)}
        assert (again.size, again.evicted) == (950, 8)

    def test_order_within_an_hour(self, world):
        """Files that were stored one after the other are in that order after a restart, whatever their names are."""
        cached = world.started()
        for number in range(10):
            result_of(cached.put(v(number), Kind.ZIP, BytesBlob(bytes(100))))
            os.utime(world.root / file_name(v(number), Kind.ZIP), (1e9, 1e9 + 10 * (number * 7 % 10)))
        result_of(world.started().put(N, Kind.ZIP, BytesBlob(bytes(300))))
        assert {v(number) for number in range(10) if file_name(v(number), Kind.ZIP) not in world.names()} == {
            v(0),
            v(3),
            v(6),
        }

    def test_use_is_recorded_once_an_hour(self, world, monkeypatch):
        """Hits cost a write to the disk once an hour for each file."""
        recorded = []
        utime = os.utime
        monkeypatch.setattr(os, "utime", lambda path, times: (recorded.append((path.name, times)), utime(path, times)))
        cached = world.started()
        result_of(cached.put(M, Kind.ZIP, BytesBlob(b"bytes")))
        for _ in range(121):
            read(cached)
            world.clock.advance(60)
        assert [name for name, _ in recorded] == ["v1.2.3.zip"] * 3
        assert {times[1] // HOUR for _, times in recorded} == {1e9 // HOUR, 1e9 // HOUR + 1, 1e9 // HOUR + 2}

    def test_a_lower_bound(self, world):
        """With a lower bound than before, what is too much is removed with the first miss."""
        cached = world.started()
        for number in range(10):
            result_of(cached.put(v(number), Kind.ZIP, BytesBlob(bytes(100))))
            read(cached, v(number))
            world.clock.advance(HOUR)
        again = world.started(max_bytes=250)
        with pytest.raises(NotFound):
            read(again, N)
        world.store(N, Kind.MOD, b"")
        read(again, N, Kind.MOD)
        assert world.names() == {file_name(v(8), Kind.ZIP), file_name(v(9), Kind.ZIP), file_name(N, Kind.MOD)}

    def test_only_its_own_files(self, world):
        """What is no file of a version is neither counted nor removed."""
        for name in ("README", "example.com/m/@v/list", "lost+found/x.zip"):
            (world.root / name).parent.mkdir(parents=True, exist_ok=True)
            (world.root / name).write_bytes(bytes(5000))
        cached = world.started()
        result_of(cached.put(M, Kind.ZIP, BytesBlob(bytes(1000))))
        assert (cached.size, cached.evicted) == (1000, 0)
        assert len(world.names()) == 4

    def test_killed_before_it_is_published(self, world):
        """Of a process that is killed between download and publishing nothing is left after the next start."""
        died = subprocess.run([sys.executable, "-c", DIES_BEFORE_IT_PUBLISHES, world.tmp_path / "other"], timeout=60)
        assert died.returncode == -9
        assert [path.stat().st_size for path in files_below(world.tmp_path / "other/spool")] == [500]
        after = World(world.tmp_path / "other")
        assert files_below(after.tmp_path / "spool") == []
        assert after.names() == set()
        after.store(M, Kind.ZIP, b"bytes")
        assert read(after.started()) == b"bytes"


def die(directory):
    """Run by a process of its own: the download is there, and then it is killed."""
    from pathlib import Path

    world = World(Path(directory))
    world.store(M, Kind.ZIP, bytes(500))
    cached = world.started(lambda function, *arguments: os.kill(os.getpid(), 9))
    cached._counted = True
    result_of(cached.open(M, Kind.ZIP))


class TestLocalDisk:
    """What goes wrong with copies does not fail what the remote can answer."""

    @pytest.mark.parametrize("kind", [Kind.ZIP, Kind.MOD])
    def test_no_copy_can_be_kept(self, world, cached, kind):
        """Where nothing can be written, or something else is in the way, files come from the remote all the same."""
        world.root.write_text("this is no directory")
        world.store(M, kind, b"bytes")
        for _ in range(2):
            assert read(cached, M, kind) == b"bytes"
        result_of(cached.put(N, kind, BytesBlob(b"other")))
        assert cached.size == 0
        assert files_below(world.tmp_path / "spool") == []

    def test_no_copy_can_be_made(self, world, cached):
        """A spool that is full or gone leaves the remote to be read."""
        world.store(M, Kind.ZIP, b"bytes")
        world.spool.close()
        assert read(cached) == b"bytes"
        assert cached.size == 0

    def test_no_copy_can_be_read(self, world, cached, monkeypatch):
        """A copy that cannot be read is as good as none."""
        world.store(M, Kind.MOD, b"bytes")
        read(cached, M, Kind.MOD)

        async def broken(version, kind):
            raise StorageFailed("Input/output error")

        monkeypatch.setattr(cached._disk, "open", broken)
        assert read(cached, M, Kind.MOD) == b"bytes"


FILES = [(v(number), kind) for number in range(3) for kind in (Kind.MOD, Kind.ZIP, Kind.ZIPHASH)]
SIZES = {file: 40 + 70 * at for at, file in enumerate(FILES)}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["put", "store", "open", "delete", "purge"]), st.sampled_from(FILES)),
            st.tuples(st.sampled_from(["restart", "fail", "mend", "wait"]), st.none()),
        ),
        max_size=40,
    )
)
def test_whatever_happens(tmp_path_factory, events):
    """After any events the bytes read are those stored, the bound holds, and the accounts agree with the disk."""
    world = World(tmp_path_factory.mktemp("world"))
    cached = world.started()
    stored, copied = set(), set()
    for event, file in events:
        data = bytes(SIZES[file]) if file else b""
        if event == "restart":
            cached = world.started()
        elif event in {"fail", "mend"}:
            world.remote.failure = StorageFailed("away") if event == "fail" else None
        elif event == "wait":
            world.clock.advance(HOUR)
        elif event in {"delete", "purge"}:
            version = file[0]
            with suppress(NotFound):
                result_of((cached if event == "delete" else world.remote).delete(version))
            stored = {each for each in stored if each[0] != version}
            if event == "delete":
                copied = {each for each in copied if each[0] != version}
        elif event == "open":
            try:
                assert read(cached, *file) == data
            except NotFound:
                assert file not in stored
            except StorageFailed:
                assert world.remote.failure
            else:
                assert file in stored | copied
                copied.add(file)
        else:
            with suppress(StorageFailed):
                result_of((cached if event == "put" else world.remote).put(*file, BytesBlob(data)))
                stored.add(file)
                if event == "put":
                    copied.add(file)
        assert world.bytes() <= world.max_bytes
        assert world.names() <= {file_name(*each) for each in copied}
        if cached._counted:
            assert cached.size == world.bytes()


class TestLedger:
    @given(
        st.integers(0, 50),
        st.lists(st.tuples(st.sampled_from(["keep", "use", "drop"]), st.integers(0, 9), st.integers(0, 30))),
    )
    def test_model(self, limit, events):
        """It holds what a list of names in their order of use would, and never more than the limit."""
        ledger, model = Ledger(limit), []
        for event, number, size in events:
            name = str(number)
            known = [each for each in model if each[0] == name]
            if event == "keep":
                going = ledger.promise(size)
                assert (going is None) == (size > limit)
                if going is None:
                    continue
                while size + sum(length for _, length in model) > limit:
                    assert going.pop(0) == model.pop(0)[0]
                assert going == []
                model = [each for each in model if each[0] != name] + [(name, size)]
                ledger.keep(name, size)
                ledger.settle(size)
            else:
                model = [each for each in model if each[0] != name] + (known if event == "use" else [])
                (ledger.use if event == "use" else ledger.drop)(name)
            assert [(each, ledger.length(each)) for each, _ in model] == model
            assert ledger.kept == sum(length for _, length in model) <= limit
            assert ledger.promised == 0
