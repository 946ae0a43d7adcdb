"""Leases of the processes on one machine: files in a directory that they share, with locks (flock) on them.

The kernel drops the lock of a process that dies, at once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from athensd.errors import StorageFailed
from athensd.interfaces import ILeases


@frozen
class _Held:
    holder: str
    descriptor: int
    expiry: IDelayedCall


@implementer(ILeases)
class FileLeases:
    """A file in ``directory``, which must be on a local disk, for each lease that is held."""

    def __init__(self, directory: Path, clock: IReactorTime) -> None:
        """Raises ``OSError`` when the directory cannot be made or read."""
        self._directory = directory
        self._clock = clock
        self._held: dict[str, _Held] = {}
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)

    async def take(self, key: str, holder: str, seconds: float) -> bool:
        held = self._held.get(key)
        if held is not None:
            if held.holder == holder:
                held.expiry.reset(seconds)
            return held.holder == holder
        with _words():
            descriptor = _locked(self._path(key))
        if descriptor is not None:
            self._held[key] = _Held(holder, descriptor, self._clock.callLater(seconds, self._drop, key))
        return descriptor is not None

    async def give_back(self, key: str, holder: str) -> None:
        held = self._held.get(key)
        if held is not None and held.holder == holder:
            held.expiry.cancel()
            with _words():
                self._drop(key)

    def _drop(self, key: str) -> None:
        _remove(self._path(key), self._held.pop(key).descriptor)

    def _path(self, key: str) -> Path:
        return self._directory / f"{sha256(key.encode()).hexdigest()[:40]}.lock"


def _locked(path: Path) -> int | None:
    """A descriptor of the file with the lock on it, unless another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed the file since it was opened: then this lock is seen by nobody.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(path: Path, descriptor: int) -> None:
    """Remove a file while its lock is held, so that nobody's is removed but our own."""
    try:
        path.unlink(missing_ok=True)
    finally:
        # A child that was just made may have a copy of the descriptor: closing ours would not end the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    """Remove the files of the dead."""
    for path in directory.glob("*.lock"):
        descriptor = _locked(path)
        if descriptor is not None:
            _remove(path, descriptor)


@contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"the lock files cannot be used: {error.strerror}") from error
