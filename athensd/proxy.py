"""The five verbs of the download protocol: list, latest, info, mod, zip (``go help goproxy``).

Everything here works on checked values.  What is stored is served without asking anybody; what is not goes through
the stash; what may change goes through the freshness.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Protocol, TypeVar, cast

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from athensd.blob import BytesBlob, read_all
from athensd.errors import AthensError, InvalidPath, NotFound, StorageFailed, UpstreamFailed
from athensd.freshness import Freshness, Remembered, file_key, list_key, query_key
from athensd.gomod.info import Info, parse_info, render_info
from athensd.gomod.listing import Listed, is_prefix_query, latest_of, match_prefix, render_list
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import Blob, IOrigin, IStorage, Kind
from athensd.stash import Fetches
from athensd.waiting import within

T = TypeVar("T")
NOT_VERSIONS = frozenset({"latest", "upgrade", "patch"})
"""Queries of the go command's own that it never sends (``@latest`` is an endpoint of its own)."""


@frozen
class Answer:
    """What to send, how it was come by (``hit``, ``miss``, ``stale``), and for how long it holds.

    ``age`` is that of a changeable answer in seconds, or ``None`` for bytes that never change; for ``holds`` seconds
    more the answer would be the same.
    """

    blob: Blob
    state: str
    age: float | None = None
    etag: str = ""
    holds: float = 0.0


@frozen
class _Known:
    """The versions of a module as of now, and the list that says so."""

    versions: frozenset[str]
    text: bytes

    @classmethod
    def of(cls, versions: Iterable[str]) -> _Known:
        all_versions = frozenset(versions)
        return cls(all_versions, render_list(all_versions).encode())


class Verbs(Protocol):
    """What the web asks for; see ``Proxy``."""

    async def list(self, path: str, *, stored_only: bool = False) -> Answer: ...
    async def latest(self, path: str, *, stored_only: bool = False) -> Answer: ...
    async def info(self, path: str, query: str, *, stored_only: bool = False) -> Answer: ...
    async def mod(self, path: str, query: str, *, stored_only: bool = False) -> Answer: ...
    async def zip(self, path: str, query: str, *, stored_only: bool = False) -> Answer: ...


class Network(Enum):
    """What is asked of others: whatever is needed; what the store cannot answer when asking fails; nothing."""

    STRICT = "strict"
    FALLBACK = "fallback"
    OFFLINE = "offline"


class Proxy:
    """``stored_only`` asks for what is here, without fetching anything (``Disable-Module-Fetch``)."""

    def __init__(
        self,
        *,
        storage: IStorage,
        origin: IOrigin,
        stash: Fetches,
        freshness: Freshness,
        clock: IReactorTime,
        timeout: float,
        network: Network = Network.STRICT,
    ) -> None:
        self._storage = storage
        self._origin = origin
        self._stash = stash
        self._freshness = freshness
        self._clock = clock
        self._timeout = timeout
        self._network = network

    async def list(self, path: str, *, stored_only: bool = False) -> Answer:
        """All known versions of a module but pseudo-versions, stored ones and the origin's, in their order."""
        key = list_key(path)
        if self._asks_nobody(stored_only):
            known = cast("Remembered[_Known] | None", self._freshness.peek(key)) or await self._stored_list(path)
        else:
            known = await self._or_stored(
                self._freshness.get(key, lambda: self._merged_list(path)), lambda: self._stored_list(path)
            )
        learned = self._freshness.learned(path)
        text = known.value.text if learned <= known.value.versions else _Known.of(known.value.versions | learned).text
        return Answer(BytesBlob(text), known.state, known.age, holds=known.holds)

    async def latest(self, path: str, *, stored_only: bool = False) -> Answer:
        """The ``.info`` of the version that ``@latest`` stands for."""
        key = query_key(path, "latest")
        if self._asks_nobody(stored_only):
            known = cast("Remembered[Info] | None", self._freshness.peek(key)) or await self._stored_latest(path)
        else:
            known = await self._or_stored(
                self._freshness.get(key, lambda: self._found_latest(path)), lambda: self._stored_latest(path)
            )
        learned = self._freshness.learned(path)
        best = latest_of(Listed(version) for version in {known.value.version, *learned})
        blob: Blob = BytesBlob(render_info(known.value))
        if best is not None and best != known.value.version:
            # Where the .info of the newer version cannot be had, the answer is the one that we have.
            with suppress(AthensError):
                blob = (await self._file(ModuleVersion(path, best), Kind.INFO, stored_only)).blob
        return Answer(blob, known.state, known.age, holds=known.holds)

    async def info(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The ``.info`` of a canonical version, or of that which a branch, tag, commit or prefix stands for now."""
        if is_canonical_for(path, query):
            return await self._file(ModuleVersion(path, query), Kind.INFO, stored_only)
        known = await self._resolved(path, query, stored_only)
        return Answer(BytesBlob(render_info(known.value)), known.state, known.age, holds=known.holds)

    async def mod(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The ``go.mod`` of a version."""
        return await self._versioned(path, query, Kind.MOD, stored_only)

    async def zip(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The module zip of a version."""
        return await self._versioned(path, query, Kind.ZIP, stored_only)

    async def _versioned(self, path: str, query: str, kind: Kind, stored_only: bool) -> Answer:
        if is_canonical_for(path, query):
            return await self._file(ModuleVersion(path, query), kind, stored_only)
        known = await self._resolved(path, query, stored_only)
        answer = await self._file(ModuleVersion(path, known.value.version), kind, stored_only)
        return Answer(answer.blob, answer.state, known.age, answer.etag, known.holds)

    async def _file(self, version: ModuleVersion, kind: Kind, stored_only: bool) -> Answer:
        try:
            return await self._answer(version, kind, await self._storage.open(version, kind), "hit")
        except NotFound:
            if self._asks_nobody(stored_only):
                raise NotFound(f"{version} {kind.value}: not stored here, and fetching was not wanted") from None
        blob = await self._freshness.unless_absent(file_key(version, kind), lambda: self._stash.fetch(version, kind))
        return await self._answer(version, kind, blob, "miss")

    async def _answer(self, version: ModuleVersion, kind: Kind, blob: Blob, state: str) -> Answer:
        return Answer(blob, state, etag=await self._etag(version, blob) if kind is Kind.ZIP else "")

    async def _etag(self, version: ModuleVersion, blob: Blob) -> str:
        """The zip's recorded hash; with its length, since the same files can be packed differently elsewhere."""
        try:
            h1 = await read_all(await self._storage.open(version, Kind.ZIPHASH))
        except (NotFound, StorageFailed):
            return ""  # as of a store that is away, of which there is a copy of the zip here
        return f"{h1.decode('ascii', 'replace').strip()}-{blob.length:x}"

    async def _resolved(self, path: str, query: str, stored_only: bool) -> Remembered[Info]:
        check_query(path, query)
        key = query_key(path, query)
        if self._asks_nobody(stored_only):
            known = cast("Remembered[Info] | None", self._freshness.peek(key))
            return known or await self._stored_match(path, query)
        return await self._or_stored(
            self._freshness.get(key, lambda: self._found(path, query)), lambda: self._stored_match(path, query)
        )

    def _asks_nobody(self, stored_only: bool) -> bool:
        return stored_only or self._network is Network.OFFLINE

    async def _or_stored(self, asked: Awaitable[T], stored: Callable[[], Awaitable[T]]) -> T:
        """What is asked for; where that fails, in fallback, what is stored, and the failure if nothing is."""
        try:
            return await asked
        except UpstreamFailed as failure:
            if self._network is not Network.FALLBACK:
                raise
            try:
                return await stored()
            except NotFound:
                raise failure from None

    async def _found(self, path: str, query: str) -> Info:
        if is_prefix_query(query):
            known = await self._freshness.get(list_key(path), lambda: self._merged_list(path))
            best = match_prefix(query, known.value.versions | self._freshness.learned(path))
            if best is not None:
                return await self._stored_info(path, best, stored_only=False)
        info = await within(self._clock, self._timeout, self._origin.resolve(path, query), f"resolving {path}@{query}")
        if not is_canonical_for(path, info.version):
            raise UpstreamFailed(
                f"{path}@{query}: the origin answers {info.version}, which is no version of this module"
            )
        self._freshness.learn(ModuleVersion(path, info.version))
        return info

    async def _found_latest(self, path: str) -> Info:
        try:
            return await self._found(path, "latest")
        except NotFound as error:
            # The origin is gone; what was stored stays.
            try:
                return (await self._stored_latest(path)).value
            except NotFound:
                raise error from None

    async def _stored_latest(self, path: str) -> Remembered[Info]:
        stored = await self._storage.versions(path)
        best = latest_of(Listed(version) for version in stored)
        if best is None:
            raise NotFound(f"{path}: no version of it is stored here")
        return Remembered(await self._stored_info(path, best, stored_only=True), 0.0, "hit")

    async def _stored_match(self, path: str, query: str) -> Remembered[Info]:
        """What a prefix such as ``v1`` stands for among the stored versions; what a branch is, the store cannot say."""
        best = match_prefix(query, await self._storage.versions(path))
        if best is None:
            raise NotFound(f"{path}@{query}: not known here, and asking was not wanted")
        return Remembered(await self._stored_info(path, best, stored_only=True), 0.0, "hit")

    async def _stored_info(self, path: str, version: str, *, stored_only: bool) -> Info:
        answer = await self._file(ModuleVersion(path, version), Kind.INFO, stored_only)
        return parse_info(await read_all(answer.blob))

    async def _merged_list(self, path: str) -> _Known:
        stored = await self._storage.versions(path)
        try:
            listed = await within(self._clock, self._timeout, self._origin.list(path), f"listing {path}")
        except NotFound:
            if not stored:
                raise
            listed = []
        versions = {each.version for each in listed if is_canonical_for(path, each.version)}
        return _Known.of(versions.union(stored))

    async def _stored_list(self, path: str) -> Remembered[_Known]:
        stored = await self._storage.versions(path)
        if not stored:
            raise NotFound(f"{path}: no version of it is stored here, and asking was not wanted")
        return Remembered(_Known.of(stored), 0.0, "hit")


def check_query(path: str, query: str) -> None:
    """Raise ``InvalidPath`` for what no version control system is to be asked for."""
    if query in NOT_VERSIONS:
        raise InvalidPath(f"{path}@{query}: {query!r} is no version; ask for {path}/@latest")
    if query.startswith("-"):
        raise InvalidPath(f"{path}@{query}: a version cannot begin with '-'")
