"""A store within a bound, over a disk, with an origin that may have lost something."""

from __future__ import annotations

import os
import time

import pytest
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from athensd.blob import BytesBlob, read_all
from athensd.errors import NoRoom, NotFound, StorageFailed, UpstreamFailed
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import ICatalog, IStorage, Kind
from athensd.retention.bounded import HOUR, MINUTE, PATIENCE, BoundedStorage
from athensd.retention.reasons import Reasons, parse_pins
from athensd.spool import Spool
from athensd.storage.disk import DiskStorage
from tests.fakes import TIME, FakeOrigin, at_once, result_of, start
from tests.storage.contract import StorageContract, files_below

INFO = '{{"Version": "{}", "Time": "{}"}}'
SMALL = 200
"""More than the files of a version have beside its zip."""


def v(number: int, path: str = "example.com/m") -> ModuleVersion:
    return ModuleVersion(path, f"v1.{number}.0")


class Disk(DiskStorage):
    """A disk that can be told to fail."""

    failure = None

    async def evict(self, version):
        if self.failure:
            raise self.failure
        await super().evict(version)


class World:
    """What each start of athensd shares: a disk, an origin and the time."""

    def __init__(self, tmp_path, in_thread=at_once, clock=None):
        self.root = tmp_path / "store"
        self.in_thread = in_thread
        self.disk = Disk(self.root, Spool(tmp_path / "spool"), in_thread)
        self.origin = FakeOrigin()
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(time.time())  # as files have it
        self.changed = []
        self.fetched = True

    def started(self, max_bytes, pins=(), private=frozenset()):
        reasons = Reasons(self.disk, self.origin, parse_pins(pins), private, lambda version: self.fetched, self.clock)
        return BoundedStorage(
            self.disk,
            reasons,
            clock=self.clock,
            flight=MemoryFlight(),
            in_thread=self.in_thread,
            max_bytes=max_bytes,
            changed=self.changed.append,
        )

    def fetch(self, storage, version, size=1000):
        """Store a version, as the stash does."""
        self.publish(version)
        self.clock.advance(1)
        for kind, data in (
            (Kind.INFO, INFO.format(version.version, TIME).encode()),
            (Kind.MOD, b"module m\n"),
            (Kind.ZIPHASH, b"h1:" + version.version.encode()),
            (Kind.ZIP, os.urandom(size)),
        ):
            result_of(storage.put(version, kind, BytesBlob(data)))

    def publish(self, version):
        self.origin.queries[version.path, version.version] = version.version

    def zips(self):
        return {path.stem for path in files_below(self.root) if path.suffix == ".zip"}

    def bytes(self):
        return sum(path.stat().st_size for path in files_below(self.root))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


class TestBounded(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return World(tmp_path, deferToThread, reactor).started(1 << 30)


def test_interfaces(world):
    """It is what the store behind it is."""
    assert IStorage.providedBy(world.started(1)) and ICatalog.providedBy(world.started(1))


def test_least_recently_used_go_first(world, steps):
    """Room is made before something is stored; what was used stays, and every version stays listed."""
    storage = world.started(4 * (1000 + SMALL))
    for number in range(4):
        world.fetch(storage, v(number))
    result_of(storage.open(v(0), Kind.ZIP))
    for number in range(4, 6):
        world.fetch(storage, v(number))
        assert world.bytes() <= 4 * (1000 + SMALL)
    assert world.zips() == {"v1.0.0", "v1.3.0", "v1.4.0", "v1.5.0"}
    assert world.changed == ["example.com/m"] * 2
    assert len(result_of(storage.versions("example.com/m"))) == 6
    assert len(result_of(storage.page("", 100)).versions) == 6
    assert storage.size == world.bytes()
    assert result_of(read_all(result_of(storage.open(v(1), Kind.ZIPHASH)))) == b"h1:v1.1.0"
    with pytest.raises(NotFound):
        result_of(storage.open(v(1), Kind.ZIP))
    assert {step.facts["version"] for step in steps.named("storage.evict")} == {"v1.1.0", "v1.2.0"}


def test_what_was_evicted_can_be_put_again(world):
    """It is as any other zip then."""
    storage = world.started(1500)
    world.fetch(storage, v(0))
    world.fetch(storage, v(1))
    assert world.zips() == {"v1.1.0"}
    world.fetch(storage, v(0))
    assert world.zips() == {"v1.0.0"}
    assert sorted(result_of(storage.versions("example.com/m"))) == ["v1.0.0", "v1.1.0"]
    result_of(storage.delete(v(0)))
    assert result_of(storage.versions("example.com/m")) == ["v1.1.0"]
    result_of(storage.delete(v(1)))
    assert files_below(world.root) == []
    assert storage.size == 0


def test_pinned_and_private_stay(world):
    """Neither is even asked about; without room nothing is stored, and that is said once."""
    storage = world.started(2500, ["example.com/pinned", "example.com/one@v1.1.0"], {"example.com/private"})
    pinned, private = v(0, "example.com/pinned"), v(0, "example.com/private")
    world.fetch(storage, pinned)
    world.fetch(storage, private)
    before = files_below(world.root)
    with capture_logs() as logs:
        for number in range(2):
            with pytest.raises(NoRoom):
                result_of(storage.put(v(number), Kind.ZIP, BytesBlob(bytes(1000))))
    assert [line["log_level"] for line in logs] == ["warning"]
    assert files_below(world.root) == before
    assert world.origin.asked == []
    assert storage.size == world.bytes()


def lost(world, version):
    del world.origin.queries[version.path, version.version]


def not_fetched(world, version):
    world.fetched = False


def without_a_hash(world, version):
    next(path for path in files_below(world.root) if path.name == f"{version.version}.ziphash").unlink()


def without_an_info(world, version):
    next(path for path in files_below(world.root) if path.name == f"{version.version}.info").unlink()


def another_time(world, version):
    path = next(path for path in files_below(world.root) if path.name == f"{version.version}.info")
    path.write_text(INFO.format(version.version, "2023-01-01T00:00:00Z"))


@pytest.mark.parametrize("happens", [lost, not_fetched, without_a_hash, without_an_info, another_time])
def test_what_cannot_be_had_again_stays(world, happens):
    """And is asked about once in an hour at most."""
    storage = world.started(1500)
    world.fetch(storage, v(0))
    happens(world, v(0))
    asked = len(world.origin.asked)
    for _ in range(3):
        with pytest.raises(NoRoom):
            result_of(storage.put(v(1), Kind.ZIP, BytesBlob(bytes(1000))))
    assert world.zips() == {"v1.0.0"}
    assert len(world.origin.asked) - asked <= 1


def test_it_can_be_had_again_later(world):
    """Then it may go."""
    storage = world.started(1500)
    world.fetch(storage, v(0))
    lost(world, v(0))
    with pytest.raises(NoRoom):
        result_of(storage.put(v(1), Kind.ZIP, BytesBlob(bytes(1000))))
    world.publish(v(0))
    world.clock.advance(HOUR)
    world.fetch(storage, v(1))
    assert world.zips() == {"v1.1.0"}


def test_an_origin_that_is_away(world):
    """It is not asked about everything there is, and soon again."""
    storage = world.started(40_000)
    for number in range(30):
        world.fetch(storage, v(number))
    world.origin.failure = UpstreamFailed("it is away")
    with pytest.raises(NoRoom):
        result_of(storage.put(v(99), Kind.ZIP, BytesBlob(bytes(20_000))))
    assert len(world.origin.asked) < 10
    assert len(world.zips()) == 30
    world.origin.failure = None
    world.clock.advance(MINUTE)
    world.fetch(storage, v(99), 20_000)
    assert "v1.99.0" in world.zips()
    assert "v1.0.0" not in world.zips()


def test_waiting_for_room(world):
    """Who stores something waits until there is room, in his turn, and not for ever."""
    storage = world.started(3000)
    for number in range(2):
        world.fetch(storage, v(number))
    world.origin.hold()
    first = start(storage.put(v(2), Kind.ZIP, BytesBlob(bytes(1500))))
    second = start(storage.put(v(3), Kind.ZIP, BytesBlob(bytes(100))))
    left = start(storage.put(v(4), Kind.ZIP, BytesBlob(bytes(100))))
    left.addErrback(lambda _: None)
    left.cancel()
    assert not first.called and not second.called
    world.origin.release()
    assert first.called and second.called
    assert {"v1.2.0", "v1.3.0"} <= world.zips()
    assert world.bytes() <= 3000
    world.origin.hold()
    late = start(storage.put(v(5), Kind.ZIP, BytesBlob(bytes(2500))))
    world.clock.advance(PATIENCE)
    with pytest.raises(NoRoom):
        result_of(late)
    world.origin.release()
    assert storage.size == world.bytes()


def test_used_while_its_origin_was_asked(world):
    """Then it stays, and another one goes."""
    storage = world.started(3000)
    for number in range(2):
        world.fetch(storage, v(number))
    world.origin.hold()
    putting = start(storage.put(v(2), Kind.ZIP, BytesBlob(bytes(1000))))
    world.clock.advance(1)
    result_of(storage.open(v(0), Kind.ZIP))
    world.origin.release()
    assert putting.called
    assert world.zips() == {"v1.0.0", "v1.2.0"}


def test_on_its_way_out(world):
    """While a thread removes a zip it is not there any more, and who puts it again waits for that."""
    storage = world.started(2000)
    world.fetch(storage, v(0))
    removing = Deferred()

    async def in_thread(function, *arguments):
        if function.__name__ == "_evict":
            await removing
        return function(*arguments)

    world.disk._in_thread = in_thread
    file = result_of(storage.open(v(0), Kind.ZIP)).file()
    putting = start(storage.put(v(1), Kind.ZIP, BytesBlob(bytes(1800))))
    with pytest.raises(NotFound):
        result_of(storage.open(v(0), Kind.ZIP))
    again = start(storage.put(v(0), Kind.ZIP, BytesBlob(bytes(10))))
    assert not putting.called and not again.called
    removing.callback(None)
    assert putting.called and again.called
    assert world.zips() == {"v1.0.0", "v1.1.0"}
    with file:
        assert len(file.read()) == 1000


def test_larger_than_the_bound(world):
    """Nothing goes for what would not have room then either."""
    storage = world.started(1500)
    world.fetch(storage, v(0))
    with pytest.raises(NoRoom):
        result_of(storage.put(v(1), Kind.ZIP, BytesBlob(bytes(1501))))
    assert world.zips() == {"v1.0.0"}


def test_a_failed_disk(world):
    """What cannot be removed still counts, and is a line in the log."""
    storage = world.started(1500)
    world.fetch(storage, v(0))
    world.disk.failure = StorageFailed("read-only")
    with capture_logs() as logs, pytest.raises(NoRoom):
        result_of(storage.put(v(1), Kind.ZIP, BytesBlob(bytes(1000))))
    assert next(line["event"] for line in logs if line["log_level"] == "warning") == "not evicted"
    assert storage.size == world.bytes()


def test_a_new_start(world):
    """What is there is counted, in the order of use as it was recorded at the end; what is too much goes."""
    storage = world.started(10_000)
    for number in range(5):
        world.fetch(storage, v(number))
    world.clock.advance(100)
    result_of(storage.open(v(0), Kind.ZIP))
    result_of(storage.stop())
    again = world.started(2 * (1000 + SMALL))
    again.start()
    assert world.zips() == {"v1.0.0"}
    assert again.size == world.bytes()
    result_of(again.stop())


def test_the_end(world):
    """Nothing more is evicted then."""
    storage = world.started(3000)
    for number in range(2):
        world.fetch(storage, v(number))
    world.origin.hold()
    putting = start(storage.put(v(2), Kind.ZIP, BytesBlob(bytes(2700))))
    result_of(storage.stop())
    world.origin.release()
    with pytest.raises(NoRoom):
        result_of(putting)
    assert world.zips() == {"v1.0.0", "v1.1.0"}


def test_uses_are_recorded_each_hour(world):
    """So a crash forgets no more; what others have stored meanwhile counts from then on too."""
    storage = world.started(10_000)
    storage.start()
    world.fetch(storage, v(0))
    result_of(storage.open(v(0), Kind.ZIP))
    when = world.clock.seconds()
    result_of(world.disk.put(v(1), Kind.ZIP, BytesBlob(bytes(3000))))
    world.clock.advance(HOUR)
    [zip] = [path for path in files_below(world.root) if path.name == "v1.0.0.zip"]
    assert zip.stat().st_mtime == when
    assert storage.size == world.bytes()
    result_of(storage.stop())


@ensureDeferred
async def test_real_threads(tmp_path):
    """Many at once never have more stored than may be, and all that was put is there or had no room."""
    world = World(tmp_path, deferToThread, reactor)
    storage = world.started(20_000)
    for number in range(60):
        world.publish(v(number))

    async def fetch(number):
        for kind, data in ((Kind.INFO, INFO.format(v(number).version, TIME).encode()), (Kind.MOD, b"module m\n")):
            await storage.put(v(number), kind, BytesBlob(data))
        await storage.put(v(number), Kind.ZIPHASH, BytesBlob(b"h1:"))
        await storage.put(v(number), Kind.ZIP, BytesBlob(bytes(1000)))
        assert storage.size <= 20_000

    async def fetch_some(at):
        for number in range(at, 60, 6):
            await fetch(number)

    for begun in [start(fetch_some(at)) for at in range(6)]:
        await begun
    assert len(await storage.versions("example.com/m")) == 60
    assert len(world.zips()) > 5
