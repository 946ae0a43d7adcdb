"""What may change: lists, ``@latest``, what a branch stands for, and "there is no such thing".

An answer is *fresh* for a minute.  After that it is *stale*: still given at once, while one refresh runs in the
background; so a slow or failing upstream costs nobody anything for a day.  "Not there" is believed for a minute at
most, then asked again; only where that fails is it still the answer, as a go command that looks for a package by all
prefixes of its path cannot go on without it.  "Could not find out" is not remembered at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

import structlog
from attrs import frozen
from twisted.internet.defer import CancelledError

from athensd.errors import AthensError, NotFound, UpstreamFailed
from athensd.gomod.version import ModuleVersion, is_pseudo
from athensd.interfaces import WHOLE, IFlight, Kind
from athensd.steps import aside

T = TypeVar("T")
log = structlog.get_logger()


@frozen
class Remembered(Generic[T]):
    """An answer, its age in seconds, and how it was come by: ``hit``, ``miss`` or ``stale``.

    For ``holds`` seconds more it is given without asking anybody.
    """

    value: T
    age: float
    state: str
    holds: float = 0.0


@frozen
class _Entry:
    value: object
    when: float


class Freshness:
    """Remembers at most ``size`` answers, those asked for last.  Times in seconds, ``now`` is a steady clock."""

    def __init__(
        self,
        flight: IFlight,
        now: Callable[[], float],
        *,
        fresh: float = 60,
        stale: float = 86_400,
        absent: float = 60,
        size: int = 20_000,
        changed: Callable[[str], None] = lambda path: None,
    ) -> None:
        self._flight = flight
        self._now = now
        self._fresh, self._stale, self._absent = fresh, stale, absent
        self._size = size
        self._changed = changed
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._learned: OrderedDict[str, set[str]] = OrderedDict()

    @property
    def size(self) -> int:
        """How many answers are remembered."""
        return len(self._entries)

    async def get(self, key: str, ask: Callable[[], Awaitable[T]]) -> Remembered[T]:
        """The answer for ``key``, from memory or by ``ask``; raises what ``ask`` raises.

        A remembered ``NotFound`` is raised with its ``cached`` set.
        """
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            age = self._now() - entry.when
            if isinstance(entry.value, NotFound):
                if age < self._absent:
                    raise _as_cached(entry.value, self._absent - age)
            elif age < self._fresh:
                return Remembered(cast(T, entry.value), age, "hit", self._fresh - age)
            elif age < self._stale:
                self._refresh(key, ask)
                return Remembered(cast(T, entry.value), age, "stale")
        try:
            return Remembered(await self._flight.run(key, lambda: self._ask(key, ask)), 0.0, "miss")
        except UpstreamFailed as error:
            raise self._last_word(entry, error) from None

    async def unless_absent(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives, which is not remembered; but "not there" is, and while fresh is raised without asking."""
        entry = self._entries.get(key)
        if entry is not None and isinstance(entry.value, NotFound):
            holds = self._absent - (self._now() - entry.when)
            if holds > 0:
                raise _as_cached(entry.value, holds)
        try:
            return await ask()
        except NotFound as error:
            self._remember(key, _as_cached(error))
            raise
        except UpstreamFailed as error:
            raise self._last_word(entry, error) from None

    def peek(self, key: str) -> Remembered[object] | None:
        """What is remembered, however old, and without asking anybody; "not there" does not count."""
        entry = self._entries.get(key)
        if entry is None or isinstance(entry.value, NotFound):
            return None
        return Remembered(entry.value, self._now() - entry.when, "hit")

    def learn(self, version: ModuleVersion) -> None:
        """This version exists: no answer from now on may lack it, and no "not there" about its module is believed."""
        gone = [key for key in self._keys_of(version) if key in self._entries]
        gone = [key for key in gone if isinstance(self._entries[key].value, NotFound)]
        for key in gone:
            del self._entries[key]
        if gone or (not is_pseudo(version.version) and version.version not in self._learned.get(version.path, ())):
            self._changed(version.path)
        if not is_pseudo(version.version):
            self._learned.setdefault(version.path, set()).add(version.version)
            self._learned.move_to_end(version.path)
            _shorten(self._learned, self._size)

    def learned(self, path: str) -> frozenset[str]:
        """The versions of a module that were learned of one by one, without pseudo-versions."""
        return frozenset(self._learned.get(path, ()))

    def _last_word(self, entry: _Entry | None, failure: UpstreamFailed) -> AthensError:
        """What to raise when asking failed: "not there", if that was the answer when it could last be asked."""
        if entry is not None and isinstance(entry.value, NotFound) and self._now() - entry.when < self._stale:
            return _as_cached(entry.value)
        return failure

    def _keys_of(self, version: ModuleVersion) -> list[str]:
        files = [file_key(version, kind) for kind in WHOLE]
        return [list_key(version.path), query_key(version.path, "latest"), *files]

    async def _ask(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            value = await ask()
        except NotFound as error:
            self._remember(key, _as_cached(error))
            raise
        self._remember(key, value)
        return value

    def _remember(self, key: str, value: object) -> None:
        self._entries[key] = _Entry(value, self._now())
        self._entries.move_to_end(key)
        _shorten(self._entries, self._size)

    def _refresh(self, key: str, ask: Callable[[], Awaitable[T]]) -> None:
        aside("refresh", lambda: self._refreshed(key, ask), key=key)

    async def _refreshed(self, key: str, ask: Callable[[], Awaitable[T]]) -> None:
        try:
            await self._flight.run(key, lambda: self._ask(key, ask))
        except (AthensError, CancelledError) as error:
            log.info("refresh failed, the stale answer stays", key=key, error=str(error))
        except Exception:
            log.exception("refresh failed unexpectedly", key=key)


# No path has a blank, so none of these keys can be one of another sort, whatever is asked for as a query.


def list_key(path: str) -> str:
    """The key of a module's list."""
    return f"{path} list"


def query_key(path: str, query: str) -> str:
    """The key of what a branch, a commit or ``latest`` stands for."""
    return f"{path}@{query}"


def file_key(version: ModuleVersion, kind: Kind) -> str:
    """The key of a file that may be absent."""
    return f"{kind.value} {version}"


def _as_cached(error: NotFound, holds: float = 0.0) -> NotFound:
    """A new object, since by its traceback the one that was raised holds all that the asking held."""
    copy = type(error)(*error.args)
    copy.cached, copy.holds = True, holds
    return copy


def _shorten(memory: OrderedDict[str, T], size: int) -> None:
    while len(memory) > size:
        memory.popitem(last=False)
