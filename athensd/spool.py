"""Directories for work in progress, and what a crash left of them.

Each process holds a directory of its own under ``parent`` with a lock (flock) on it for as long as it lives.  The
kernel drops the lock when the process dies, however it dies; so whoever starts next can tell leftovers from work.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


class Spool:
    """One process's room for unfinished files."""

    def __init__(self, parent: Path) -> None:
        """Make ``parent``, sweep what dead processes left in it, and take a directory of our own.

        Raises ``OSError`` when ``parent`` cannot be made or written, or is another user's.
        """
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if parent.stat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it belongs to another user")
        with locked(parent):
            _sweep(parent)
            self._room = _free_name(parent)
            self._room.mkdir(mode=0o700)
            self._lock = os.open(self._room, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._names = count()

    def new_path(self) -> Path:
        """A path that nobody else gets, for a file or directory that goes when this process ends, if not before."""
        return self._room / str(next(self._names))

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A path for a directory, to be made by whoever has something to put there; in the end it is removed whole."""
        path = self.new_path()
        try:
            yield path
        finally:
            if path.exists():
                shutil.rmtree(path, ignore_errors=True)

    def owns(self, path: Path) -> bool:
        """Whether a file is unfinished work of this process, so that it may be linked instead of copied."""
        return path.is_relative_to(self._room)

    def close(self) -> None:
        """Remove everything."""
        with locked(self._room.parent):
            shutil.rmtree(self._room, ignore_errors=True)
            os.close(self._lock)


def take_place(parent: Path) -> Path:
    """A directory in ``parent`` that is this process's as long as it lives, and has what an earlier one left there.

    Raises ``OSError`` when it cannot be made or written.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in count():
        place = parent / str(number)
        place.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return place  # the descriptor stays open, and with it the lock
    raise AssertionError("there are always more numbers")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, waiting for it; so taking a place, leaving it and sweeping exclude each other."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free_name(parent: Path) -> Path:
    return next(path for number in count() if not (path := parent / f"{os.getpid()}-{number}").exists())


def _sweep(parent: Path) -> None:
    """Remove the directories that no living process holds."""
    for path in parent.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
