"""Stand-ins for the world, small enough to be seen through.

Everything here answers at once unless it is told to wait, so a test of coroutines needs no reactor.
"""

from __future__ import annotations

import io
import json
import resource
import zipfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import Mismatch, NotFound
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.steps import Step

T = TypeVar("T")
TIME = "2024-01-02T03:04:05Z"


def start(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run a coroutine until it waits for something."""
    return Deferred.fromCoroutine(work)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Nobody in this process can write more into any file, as when its disk is full."""
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, bounds[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)


def result_of(work: Coroutine[Any, Any, T] | Deferred[T]) -> T:
    """What came of it; its error is raised, and to be waiting still is an error too."""
    outcomes: list[Any] = []
    (work if isinstance(work, Deferred) else start(work)).addBoth(outcomes.append)
    assert outcomes, "it waits still"
    if isinstance(outcomes[0], Failure):
        outcomes[0].raiseException()
    result: T = outcomes[0]
    return result


class Steps:
    """Remembers every step, as the room it was opened in sees it."""

    def __init__(self) -> None:
        self.open_ones: list[Step] = []
        self.closed_ones: list[Step] = []

    def opened(self, step: Step) -> None:
        self.open_ones.append(step)

    def closed(self, step: Step) -> None:
        self.open_ones.remove(step)
        self.closed_ones.append(step)

    def happened(self, step: Step) -> None:
        self.closed_ones.append(step)

    def named(self, name: str) -> list[Step]:
        """Those of this name that are over."""
        return [step for step in self.closed_ones if step.name == name]


class FakeSums:
    """A checksum database that remembers what it was asked; what is in ``wrong`` it does not let in."""

    def __init__(self) -> None:
        self.prefetched: list[ModuleVersion] = []
        self.checked: list[tuple[ModuleVersion, str, bool]] = []
        self.wrong: set[ModuleVersion] = set()

    def prefetch(self, version: ModuleVersion) -> None:
        self.prefetched.append(version)

    async def check(self, version: ModuleVersion, h1: str, *, go_mod: bool = False) -> None:
        self.checked.append((version, h1, go_mod))
        if version in self.wrong:
            raise Mismatch(f"{version}: checksum mismatch")


async def at_once(function: Callable[..., T], *arguments: Any) -> T:
    """In place of a thread."""
    return function(*arguments)


def module_zip(version: ModuleVersion, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A module zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(f"{version}/{name}", data)
    return out.getvalue()


def module_files(version: ModuleVersion) -> dict[Kind, bytes]:
    """The files of a small and legal version, unlike those of any other."""
    go_mod = f"module {version.path} // {version.version}\n".encode()
    return {
        Kind.INFO: json.dumps({"Version": version.version, "Time": TIME}).encode(),
        Kind.MOD: go_mod,
        Kind.ZIP: module_zip(version, {"go.mod": go_mod, "m.go": b"package m\n"}),
    }


@implementer(IOrigin)
class FakeOrigin:
    """An origin of the modules in ``files``.

    ``asked`` is every question so far.  ``brings`` are the kinds that come along with each fetch.  ``failure`` is
    raised by every answer while it is set.  ``queries`` holds what branches and commits stand for.
    """

    def __init__(self, *versions: ModuleVersion) -> None:
        self.files = {version: module_files(version) for version in versions}
        self.queries: dict[tuple[str, str], str] = {}
        self.brings: frozenset[Kind] = frozenset()
        self.failure: Exception | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.cancelled = 0
        self._held: list[Deferred[None]] | None = None

    def hold(self) -> None:
        """From now on keep those who ask waiting."""
        self._held = []

    def release(self) -> None:
        """Answer all who wait, and again at once."""
        held, self._held = self._held or [], None
        for waiter in held:
            waiter.callback(None)

    def release_first(self) -> None:
        """Answer the one who has waited longest, while the others wait on."""
        assert self._held
        self._held.pop(0).callback(None)

    def fetched(self) -> list[Kind]:
        """Which files were asked for."""
        return [question[2] for question in self.asked if question[0] == "fetch"]

    async def list(self, path: str) -> Sequence[Listed]:
        await self._answer("list", path)
        listed = [Listed(version.version) for version in self.files if version.path == path]
        if not listed:
            raise NotFound(f"{path}: no such module")
        return listed

    async def resolve(self, path: str, query: str) -> Info:
        await self._answer("resolve", path, query)
        if (path, query) not in self.queries:
            raise NotFound(f"{path}@{query}: unknown revision {query}")
        return Info(self.queries[path, query], TIME)

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        await self._answer("fetch", version, kind)
        if version not in self.files:
            raise NotFound(f"{version}: unknown revision")
        into.mkdir(exist_ok=True)
        return {
            each: _in_file(into / each.value, data) if each is Kind.ZIP else BytesBlob(data)
            for each, data in self.files[version].items()
            if each is kind or each in self.brings
        }

    async def _answer(self, *question: Any) -> None:
        self.asked.append(question)
        if self._held is not None:
            waiter: Deferred[None] = Deferred(self._left)
            self._held.append(waiter)
            await waiter
        if self.failure is not None:
            raise self.failure

    def _left(self, waiter: Deferred[None]) -> None:
        self.cancelled += 1
        if self._held is not None:
            self._held.remove(waiter)


def _in_file(path: Path, data: bytes) -> FileBlob:
    path.write_bytes(data)
    return FileBlob(path, len(data))
