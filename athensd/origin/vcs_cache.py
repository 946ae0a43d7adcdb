"""Clones of repositories: shared by the go commands of all processes that use one directory, and kept within a bound.

go names a clone by a hash.  Beside it ``<hash>.info`` says of what it is, and ``<hash>.lock`` is held by go, but for
parts of a command only.  So whoever runs a command holds a lock of ours as long as it runs: that of the repository
where it is known, else that of ``any``.  The time of the lock file is when the repository was last used.  All locks
are flock(2): the kernel drops them when their process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Lock

import structlog
from attrs import frozen

log = structlog.get_logger()

EVICTED = "evicted-"
_CLONE = re.compile(r"/cache/vcs/([0-9a-f]{64})\b")


@frozen
class Clone:
    """One repository in the cache: its bytes on disk, and the time (ns) of its last use."""

    name: str
    size: int
    used: int


class VcsCache:
    """The clones in ``directory``, of ``limit`` bytes at most once the commands that use them are over.

    ``None`` is no limit.  ``settle`` and ``drop`` work on files for a while and are meant for a thread.
    """

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        """Make the directory, and remove what an eviction that was cut short has left."""
        self.directory = directory.absolute()
        self._limit = limit
        self._measured: dict[str, Clone] = {}
        self._urls: dict[str, str] = {}
        self._settling = Lock()
        self._numbers = count()
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.glob(f"{EVICTED}*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def held(self, url: str | None) -> Iterator[None]:
        """In this block nothing is evicted that a command on this repository, ``None``: on any one, may use."""
        with _open(self._lock(url)) as lock:
            # Whoever evicts holds this for a rename, so we do not wait to speak of.
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._touch(url)
            try:
                yield
            finally:
                self._touch(url)

    def used(self, url: str) -> None:
        """A command that began with ``held(None)`` turned out to be about this repository."""
        self._lock(url).touch()

    def settle(self) -> None:
        """Measure what was used since the last time; over the limit, evict what was not used for the longest time."""
        if self._limit is None or not self._settling.acquire(blocking=False):
            return
        try:
            clones = self._clones()
            excess = sum(clone.size for clone in clones) - self._limit
            evicted = self._evict(clones, excess) if excess > 0 else []
        finally:
            self._settling.release()
        for path in evicted:
            shutil.rmtree(path, ignore_errors=True)

    def drop(self, text: str, url: str | None) -> bool:
        """Remove the clone that go's complaint names, or that of ``url``; whether there is one.

        One that another go command holds is left to that command.
        """
        names = set(_CLONE.findall(text))
        names |= {name for name in self._names() if url and self._url(name) == url}
        for name in names:
            with ExitStack() as locks:
                if _taken(locks, self.directory / f"{name}.lock"):
                    shutil.rmtree(self._set_aside(name), ignore_errors=True)
        return bool(names)

    def _clones(self) -> list[Clone]:
        self._measured = {name: self._measure(name) for name in self._names()}
        return list(self._measured.values())

    def _measure(self, name: str) -> Clone:
        """Its size as it is remembered, unless it was used since."""
        known = self._measured.get(name)
        used = _time(self._lock(self._url(name))) or _time(self.directory / f"{name}.info")
        if known is not None and known.used == used:
            return known
        return Clone(name, _size(self.directory / name), used)

    def _evict(self, clones: Sequence[Clone], excess: int) -> list[Path]:
        """Take clones out of use, oldest first, until the excess is gone; what is to be removed."""
        evicted = []
        with ExitStack() as gate:
            if not _taken(gate, self._lock(None)):
                return []  # somebody may use any of them: the next command that ends brings us here again
            for clone in sorted(clones, key=lambda clone: clone.used):
                if excess <= 0:
                    break
                with ExitStack() as locks:
                    paths = (self._lock(self._url(clone.name)), self.directory / f"{clone.name}.lock")
                    if all(_taken(locks, path) for path in paths):
                        log.info("evicting a clone", repository=self._url(clone.name), bytes=clone.size)
                        evicted.append(self._set_aside(clone.name))
                        self._measured.pop(clone.name, None)
                        excess -= clone.size
        return evicted

    def _set_aside(self, name: str) -> Path:
        """Move a clone to where go does not see it, in one step."""
        aside = self.directory / f"{EVICTED}{os.getpid()}-{next(self._numbers)}"
        with suppress(FileNotFoundError):
            (self.directory / name).rename(aside)
        (self.directory / f"{name}.info").unlink(missing_ok=True)
        return aside

    def _names(self) -> list[str]:
        return [name.removesuffix(".info") for name in os.listdir(self.directory) if name.endswith(".info")]

    def _url(self, name: str) -> str:
        """What go hashed to get the name, without the kind of repository, as in ``git3:https://...``."""
        if name not in self._urls:
            try:
                text = (self.directory / f"{name}.info").read_text()
            except OSError:
                return ""
            self._urls[name] = text.partition(":")[2].strip()
        return self._urls[name]

    def _lock(self, url: str | None) -> Path:
        name = "any" if url is None else sha256(url.encode()).hexdigest()
        return self.directory / f"{name}.use"

    def _touch(self, url: str | None) -> None:
        os.utime(self._lock(url))


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """A file to lock, made where there is none; its lock goes with the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(locks: ExitStack, path: Path) -> bool:
    """Whether the file could be locked at once, for nobody else; it stays locked as long as ``locks``."""
    try:
        fcntl.flock(locks.enter_context(_open(path)), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _size(directory: Path) -> int:
    """The bytes on disk; what vanishes meanwhile counts as nothing."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name), follow_symlinks=False).st_blocks * 512  # noqa: PTH116, PTH118 - a third of pathlib's time
    return total
