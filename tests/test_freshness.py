"""What may change, and how long it is believed."""

from __future__ import annotations

import gc
import weakref

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from athensd.errors import Forbidden, Gone, InvalidPath, NotFound, Overloaded, TimedOut, UpstreamFailed
from athensd.flight.memory import MemoryFlight
from athensd.freshness import Freshness, file_key, list_key, query_key
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from tests.fakes import result_of, start

M = ModuleVersion("example.com/m", "v1.2.3")
PSEUDO = ModuleVersion("example.com/m", "v0.0.0-20240102030405-abcdef123456")


class Upstream:
    """Answers with what was set last; waits while ``held``."""

    def __init__(self, answer="first"):
        self.answer = answer
        self.asked = 0
        self.held = None

    async def __call__(self):
        self.asked += 1
        if self.held is not None:
            await self.held
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Room:
    """A freshness with a clock that stands still."""

    def __init__(self, **sizes):
        self.clock = Clock()
        self.flight = MemoryFlight()
        self.freshness = Freshness(self.flight, self.clock.seconds, fresh=60, stale=1000, absent=30, **sizes)

    def get(self, upstream, key="key"):
        return result_of(self.freshness.get(key, upstream))


@pytest.fixture
def room():
    return Room()


@pytest.mark.parametrize(
    ("age", "value", "state", "asked"),
    [
        (0, "first", "hit", 1),
        (59.9, "first", "hit", 1),
        (60, "first", "stale", 2),
        (999.9, "first", "stale", 2),
        (1000, "second", "miss", 2),
        (1e9, "second", "miss", 2),
    ],
)
def test_ages(room, age, value, state, asked):
    """An answer is fresh, then stale, then gone; only what is gone makes the asker wait."""
    upstream = Upstream()
    assert (room.get(upstream).state, room.get(upstream).age) == ("miss", 0)
    upstream.answer = "second"
    room.clock.advance(age)
    remembered = room.get(upstream)
    assert (remembered.value, remembered.state) == (value, state)
    assert remembered.age == (0 if state == "miss" else age)
    assert upstream.asked == asked


def test_one_refresh_for_many(room):
    """Fifty who get a stale answer get it at once, and cause one refresh; after it the new answer is fresh."""
    upstream = Upstream()
    room.get(upstream)
    room.clock.advance(100)
    upstream.held, upstream.answer = Deferred(), "second"
    assert [room.get(upstream).value for _ in range(50)] == ["first"] * 50
    assert upstream.asked == 2
    upstream.held.callback(None)
    assert (room.get(upstream).value, room.get(upstream).state) == ("second", "hit")
    assert upstream.asked == 2


@pytest.mark.parametrize("error", [UpstreamFailed("away"), TimedOut("slow"), Overloaded("busy"), Forbidden("no")])
def test_failed_refresh(room, error):
    """A refresh that fails changes nothing, is told of at info level, and is tried again by the next asker."""
    upstream = Upstream()
    room.get(upstream)
    room.clock.advance(100)
    upstream.answer = error
    with capture_logs() as logs:
        assert [room.get(upstream).value for _ in range(3)] == ["first"] * 3
    assert upstream.asked == 4
    assert {line["log_level"] for line in logs} == {"info"}
    room.clock.advance(900)
    with pytest.raises(type(error)):
        room.get(upstream)


def test_refresh_that_fails_unforeseen(room):
    """A fault of our own in a refresh is logged with its traceback, and the stale answer stays."""
    upstream = Upstream()
    room.get(upstream)
    room.clock.advance(100)
    upstream.answer = ZeroDivisionError()
    with capture_logs() as logs:
        assert room.get(upstream).value == "first"
    assert [(line["log_level"], line["exc_info"]) for line in logs] == [("error", True)]


def test_refresh_at_the_end_of_the_process(room):
    """A refresh that is given up when the process ends is no fault."""
    upstream = Upstream()
    room.get(upstream)
    room.clock.advance(100)
    upstream.held = Deferred()
    room.get(upstream)
    with capture_logs() as logs:
        room.flight.stop()
    assert {line["log_level"] for line in logs} == {"info"}


def test_refresh_that_finds_nothing(room):
    """ "Not there" is an answer: it takes the place of a stale one."""
    upstream = Upstream()
    room.get(upstream)
    room.clock.advance(100)
    upstream.answer = NotFound("deleted")
    assert room.get(upstream).value == "first"
    with pytest.raises(NotFound, match="deleted"):
        room.get(upstream)


@pytest.mark.parametrize("word", [NotFound, Gone, InvalidPath])
def test_absent(room, word):
    """ "Not there" is believed for a while and says that it was remembered; then it is asked for again."""
    upstream = Upstream(word("example.com/m: no such module"))
    with pytest.raises(word) as caught:
        room.get(upstream)
    assert not caught.value.cached
    for seconds in (0, 29.9):
        room.clock.advance(seconds)
        with pytest.raises(word, match=r"^example\.com/m: no such module$") as caught:
            room.get(upstream)
        assert caught.value.cached
        assert type(caught.value) is word
    assert upstream.asked == 1
    room.clock.advance(0.1)
    upstream.answer = "there"
    assert room.get(upstream).value == "there"


@pytest.mark.parametrize("error", [UpstreamFailed("away"), TimedOut("slow"), Overloaded("busy"), Forbidden("no")])
def test_could_not_find_out(room, error):
    """What is not an answer is not remembered."""
    upstream = Upstream(error)
    for _ in range(2):
        with pytest.raises(type(error)):
            room.get(upstream)
    assert upstream.asked == 2
    assert room.freshness.peek("key") is None


def test_askers_together(room):
    """Those who miss together ask once; the first one's leaving costs the others nothing."""
    upstream = Upstream()
    upstream.held = Deferred()
    askers = [start(room.freshness.get("key", upstream)) for _ in range(3)]
    askers[0].cancel()
    with pytest.raises(CancelledError):
        result_of(askers[0])
    upstream.held.callback(None)
    assert [result_of(asker).value for asker in askers[1:]] == ["first", "first"]
    assert upstream.asked == 1


def test_unless_absent(room):
    """Only "not there" is remembered of a file, and only for so long; the file itself is asked for each time."""
    upstream = Upstream(NotFound("no such version"))
    for cached in (False, True, True):
        with pytest.raises(NotFound, match="no such version") as caught:
            result_of(room.freshness.unless_absent("key", upstream))
        assert caught.value.cached is cached
    assert upstream.asked == 1
    room.clock.advance(30)
    upstream.answer = "there"
    assert [result_of(room.freshness.unless_absent("key", upstream)) for _ in range(2)] == ["there"] * 2
    assert upstream.asked == 3


@pytest.mark.parametrize("verb", ["get", "unless_absent"])
def test_the_last_word(room, verb):
    """While asking fails, "not there" stays the answer as long as a stale one does; it is asked again each time."""
    upstream = Upstream(NotFound("no such version"))
    ask = getattr(room.freshness, verb)
    with pytest.raises(NotFound):
        result_of(ask("key", upstream))
    upstream.answer = TimedOut("away")
    for at, word in ((30, NotFound), (999.9, NotFound), (1000, TimedOut)):
        room.clock.pump([at - room.clock.seconds()])
        with pytest.raises(word) as caught:
            result_of(ask("key", upstream))
        assert getattr(caught.value, "cached", False) is (word is NotFound)
    assert upstream.asked == 4
    upstream.answer = Forbidden("no longer")
    with pytest.raises(Forbidden):
        result_of(ask("key", upstream))


def test_peek(room):
    """Whoever may not ask gets what is remembered, however old, but never "not there"."""
    upstream = Upstream()
    assert room.freshness.peek("key") is None
    room.get(upstream)
    room.clock.advance(5000)
    peeked = room.freshness.peek("key")
    assert (peeked.value, peeked.age) == ("first", 5000)
    with pytest.raises(NotFound):
        room.get(Upstream(NotFound("no")), key="other")
    assert room.freshness.peek("other") is None
    assert upstream.asked == 1


@pytest.mark.parametrize(
    "key",
    [list_key(M.path), query_key(M.path, "latest"), *(file_key(M, kind) for kind in sorted(WHOLE, key=str))],
)
def test_learned_versions_are_believed(room, key):
    """A version that is found takes away every "not there" about it and its module."""
    upstream = Upstream(NotFound("no"))
    with pytest.raises(NotFound):
        room.get(upstream, key)
    room.freshness.learn(M)
    upstream.answer = "there"
    assert room.get(upstream, key).value == "there"


def test_learning_keeps_the_rest(room):
    """What was found stays, and so does "not there" about other modules, versions and branches."""
    others = [
        list_key("example.com/m/sub"),
        query_key(M.path, "main"),
        file_key(ModuleVersion(M.path, "v1.2.4"), Kind.ZIP),
    ]
    for key in others:
        with pytest.raises(NotFound):
            room.get(Upstream(NotFound("no")), key)
    room.get(Upstream("a list"), list_key(M.path))
    room.freshness.learn(M)
    for key in others:
        with pytest.raises(NotFound):
            room.get(Upstream("there"), key)
    assert room.get(Upstream("other"), list_key(M.path)).state == "hit"


def test_learned(room):
    """Learned versions are kept by module, once each and without pseudo-versions."""
    for version in (M, M, PSEUDO, ModuleVersion("example.com/m", "v1.2.4"), ModuleVersion("example.com/x", "v1.0.0")):
        room.freshness.learn(version)
    assert room.freshness.learned("example.com/m") == {"v1.2.3", "v1.2.4"}
    assert room.freshness.learned("example.com/x") == {"v1.0.0"}
    assert room.freshness.learned("example.com/y") == frozenset()


def test_bounded():
    """Only so many answers are remembered: those that were asked for last."""
    room = Room(size=3)
    for key in ("a", "b", "c"):
        room.get(Upstream(), key)
    room.get(Upstream(), "a")
    room.get(Upstream(), "d")
    assert [room.freshness.peek(key) is not None for key in "abcd"] == [True, False, True, True]
    for number in range(100):
        with pytest.raises(NotFound):
            room.get(Upstream(NotFound("no")), f"absent {number}")
        room.freshness.learn(ModuleVersion(f"example.com/m{number}", "v1.0.0"))
    assert room.freshness.peek("d") is None
    assert [number for number in range(100) if room.freshness.learned(f"example.com/m{number}")] == [97, 98, 99]


class Request:
    """Something large that an asker holds."""


@pytest.mark.parametrize("verb", ["get", "unless_absent"])
def test_memory_holds_no_traceback(room, verb):
    """A remembered "not there" keeps alive nothing of those who asked, neither the first nor the later ones."""
    held = []

    async def handle():
        request = Request()
        held.append(weakref.ref(request))
        await getattr(room.freshness, verb)("key", Upstream(NotFound("no")))

    for _ in range(3):
        with pytest.raises(NotFound):
            result_of(handle())
    gc.collect()
    assert len(held) == 3
    assert [reference() for reference in held] == [None] * 3


def test_keys_do_not_meet(room):
    """No query, however it is chosen, is taken for a file, a list or another query."""
    queries = ["v1.2.3.zip", "v1.2.3.info", "list", " list", "v1.2.3", "latest", "zip", "v1.2.3 zip"]
    keys = [
        list_key(M.path),
        *(file_key(M, kind) for kind in Kind),
        *(query_key(M.path, query) for query in queries),
    ]
    assert len(set(keys)) == len(keys)
    for query in queries[:-3]:
        with pytest.raises(NotFound):
            room.get(Upstream(NotFound("no")), query_key(M.path, query))
    assert result_of(room.freshness.unless_absent(file_key(M, Kind.ZIP), Upstream("zip"))) == "zip"
