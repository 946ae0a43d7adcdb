"""The file of what is revoked: written by ``athensd revoke``, watched by every daemon that has it in its settings."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from athensd.policy.revoked import Revoked, parse_revoked
from athensd.steps import Step

log = structlog.get_logger()
EVERY = 0.5
"""Seconds from one look to the next: whoever revokes something is promised one second."""

# What tells a file from the one that was there before: its inode, its length, and when it was written.
_State = tuple[int, int, int]


def append_line(file: Path, line: str) -> None:
    """Add a line, durably, to a file that others may be writing and reading just now.  Raises ``OSError``."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a+b", buffering=0) as out:
        size = out.seek(0, os.SEEK_END)
        if size:
            out.seek(size - 1)
        ended = not size or out.read(1) == b"\n"
        # In one piece, so that no reader sees a part of it and two writers do not mix.
        left = f"{'' if ended else chr(10)}{line}\n".encode()
        try:
            while left:
                left = left[out.write(left) :]
        except OSError:
            # With a part of a line, as on a full disk, the whole file might make no sense any more.
            out.truncate(size)
            raise
        os.fsync(out.fileno())


class TombstoneWatch:
    """Tells ``changed`` what ``file`` says, whenever that is something else.

    What was revoked stays so while the file cannot be read, makes no sense, is empty, or is gone.
    """

    def __init__(
        self,
        file: Path,
        clock: Any,
        in_thread: Callable[..., Awaitable[Any]],
        changed: Callable[[Revoked], None],
    ) -> None:
        self._file = file
        self._in_thread = in_thread
        self._changed = changed
        self._seen: _State | None = None
        self._problem = ""
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._loop.clock = clock

    def start(self) -> None:
        """Begin with a look at once: what was read before may be old by now."""
        self._loop.start(EVERY)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    async def _look(self) -> None:
        problem = ""
        try:
            state = await self._in_thread(_state_of, self._file)
            if state is None and self._seen is not None:
                problem = "it is gone"
            elif state != self._seen:
                await self._read(state)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        except ValueError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.error("what is revoked stays as it was", file=str(self._file), problems=problem)
        self._problem = problem

    async def _read(self, state: _State | None) -> None:
        text = await self._in_thread(self._file.read_text)
        if self._seen is not None and not text.strip():
            raise ValueError("it is empty")  # as for a moment, when another one is copied over it
        self._seen = state
        with Step("tombstones", {"bytes": len(text)}, apart=True) as this:
            revoked: Revoked = await self._in_thread(parse_revoked, text, str(self._file))
            count = len(list(revoked))
            this.note(revoked=count)
        self._changed(revoked)
        log.info("revoked versions read", revoked=count)


def _state_of(file: Path) -> _State | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
