"""The seams: what each provider promises.

All methods are coroutines that raise the words of ``athensd.errors``; "not there" is ``NotFound``, never ``None``.
Every provider passes the contract tests of its seam (``tests/storage/contract.py`` and its neighbours).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from attrs import frozen
from zope.interface import Interface

from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion

T = TypeVar("T")


class Kind(Enum):
    """The files of a version, named by their suffix in the download protocol and in Go's module cache."""

    INFO = "info"
    MOD = "mod"
    ZIP = "zip"
    ZIPHASH = "ziphash"


WHOLE = frozenset({Kind.INFO, Kind.MOD, Kind.ZIP})
"""The files that make a version complete."""


class Blob(Protocol):
    """Bytes of a known length that are somewhere: in memory, in a local file, on another machine."""

    @property
    def length(self) -> int:
        """How many bytes there are."""

    def file(self) -> BinaryIO | None:
        """The local file that holds just these bytes, opened for reading (the caller closes it); else ``None``."""

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``stop`` (default: the end), a bounded piece at a time."""


class IStorage(Interface):
    """A datastore.  A version is *complete* when its INFO, MOD and ZIP are there."""

    async def open(version: ModuleVersion, kind: Kind) -> Blob:
        """The stored file.  Raises ``NotFound``, or ``StorageFailed`` when that could not be found out."""

    async def put(version: ModuleVersion, kind: Kind, blob: Blob) -> None:
        """Publish a file whole or not at all, durably, and never over another one.

        The first writer wins: putting the same bytes again is no error, other bytes raise ``Conflict`` and change
        nothing.  ``StorageFailed`` when it could not be written; then nothing of it can be seen.
        """

    async def versions(path: str) -> Sequence[str]:
        """The complete versions of exactly this module path, in no particular order; empty when there is none."""

    async def delete(version: ModuleVersion) -> None:
        """Remove all files of a version.  Raises ``NotFound`` when there was none."""

    async def check() -> None:
        """Raise ``StorageFailed`` when the store can be neither read nor written now (for readiness)."""


@frozen
class Page:
    """A part of a catalog: complete versions, and the token that leads on (empty at the end)."""

    versions: Sequence[ModuleVersion]
    next: str


class ICatalog(Interface):
    """An optional power of a storage: to name all that it holds."""

    async def page(token: str, size: int) -> Page:
        """The next ``size`` complete versions after ``token`` (empty: from the start), in a stable order.

        Raises ``InvalidRequest`` for a token that no page gave out.
        """


@frozen
class StoredZip:
    """A zip in a storage, of so many bytes, last ``used`` then (seconds since 1970)."""

    version: ModuleVersion
    length: int
    used: float


@frozen
class Stock:
    """What a storage holds: its zips, the one used least recently first, and how many bytes all its files have."""

    zips: Sequence[StoredZip]
    total: int


class IEvictable(Interface):
    """An optional power of a storage: to let zips go whose versions stay complete.

    What is recorded of them, their ``ZIPHASH`` above all, stays too, and a zip may be put again.
    """

    async def stock() -> Stock:
        """All that is there now.  Raises ``StorageFailed``."""

    async def used(times: Mapping[ModuleVersion, float]) -> None:
        """Remember when these zips were used last (seconds since 1970); those that are gone do not matter."""

    async def evict(version: ModuleVersion) -> None:
        """Remove the zip of a complete version; whoever is reading it reads on.  Raises ``StorageFailed``."""


class StoredBlob(Blob, Protocol):
    """An object of a bucket, as it was when it was opened."""

    @property
    def tag(self) -> str:
        """Another one each time the object is written: its ETag or generation."""


class IBucket(Interface):
    """A flat store of named objects on another machine, with writes that depend on what is there.

    Names are Unicode text and ordered by their UTF-8 bytes.
    """

    async def open(name: str) -> StoredBlob:
        """The object.  Raises ``NotFound``, or ``StorageFailed`` when that could not be found out."""

    async def put(name: str, blob: Blob, content_type: str, *, replacing: str | None = None) -> None:
        """Write an object whole or not at all: a new one, or instead of the one with the tag ``replacing``.

        Raises ``Conflict`` when there is one already, or no longer that one; the store itself decides it.  After
        ``StorageFailed`` it may be there, but then it is whole.
        """

    def names(prefix: str, after: str = "") -> AsyncIterator[str]:
        """The names that begin with ``prefix`` and are greater than ``after``, all of them, in order."""

    async def delete(name: str) -> None:
        """Remove an object; no error when there is none."""

    async def check() -> None:
        """Raise ``StorageFailed`` when the bucket cannot be used now (for readiness)."""


class ILeases(Interface):
    """Locks that more than one process sees, and that end by themselves when their holder dies."""

    async def take(key: str, holder: str, seconds: float) -> bool:
        """Take a lease, or renew it: whether ``holder`` has it for the next ``seconds`` and nobody else does.

        Raises ``StorageFailed`` when that could not be found out.
        """

    async def give_back(key: str, holder: str) -> None:
        """End a lease, if ``holder`` still has it.  Raises ``StorageFailed``."""


class IOrigin(Interface):
    """Where modules come from."""

    async def list(path: str) -> Sequence[Listed]:
        """What the origin lists for a module path, pseudo-versions too if it lists them, in no particular order."""

    async def resolve(path: str, query: str) -> Info:
        """The canonical version that a branch, tag, commit or ``latest`` stands for now."""

    async def fetch(version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        """One file of a canonical version, and with it whatever else of that version came along.

        Large ones are files in the directory ``into``, which the origin makes if need be, and which belongs to the
        caller.  They are as they were sent: verifying is the caller's part.
        """


@frozen
class IndexLine:
    """One complete version and when it became so."""

    version: ModuleVersion
    when: datetime


class IIndex(Interface):
    """The versions in the order in which they became complete.

    No two get the same time, and none appears with an earlier time than one that could be seen: who asks again from the
    time of the last line that he has misses nothing.
    """

    async def add(version: ModuleVersion) -> None:
        """Remember a version as complete now; a second time is no error and changes nothing.

        Raises ``StorageFailed``, or ``Unsupported`` for what this index cannot hold.
        """

    async def since(when: datetime, limit: int) -> Sequence[IndexLine]:
        """At most ``limit`` lines that are not older than ``when``, oldest first.  Raises ``StorageFailed``."""


class IFlight(Interface):
    """Who else is doing this right now?"""

    async def run(key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work`` for this key, done once however many ask while it is under way.

        Whoever asks may leave (be cancelled) at any time: the work goes on.  Its failure is everybody's failure.
        """
