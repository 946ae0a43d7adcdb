"""A bundle that is being written.  All of it blocks: call it in a thread, and never twice at a time.

Until it is whole it is ``<name>.part``, and beside it ``<name>.part.lines`` has a line for each file that is in it.
Whoever begins anew goes on behind the last of these that can still be read as it was written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from athensd.blob import CHUNK, BytesBlob
from athensd.bundle.manifest import (
    SUMS,
    Entry,
    ending,
    header,
    manifest_text,
    padding,
    parse_file_name,
    parse_lines,
)
from athensd.bundle.reading import LONGEST, check_entry
from athensd.errors import StorageFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob
from athensd.sumdb.signer import Signer


class Writer:
    """Writes the bundle ``path``, from ``with`` to the end of it.

    ``entries`` are the files that are in it so far.  Everything raises ``StorageFailed`` when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Go on where an earlier one stopped, if one did.  The answers of a database are always taken anew."""
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._lines = path.with_name(f"{path.name}.part.lines")
        self.entries: list[Entry] = []
        try:
            if path.exists():
                raise self._is_there()
            self._file = self._part.open("a+b")
            self._take()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # What add could not write, close cannot either.  It was said, and whoever goes on writes it anew.
        with suppress(OSError):
            self._file.close()

    def versions(self) -> list[ModuleVersion]:
        """Those that are in it, in its order."""
        names = (entry.name for entry in self.entries if not entry.name.startswith(SUMS))
        return list(dict.fromkeys(parse_file_name(name)[0] for name in names))

    def add(self, files: Sequence[tuple[str, Blob]]) -> None:
        """Put files into it, those of one version at once; each is in memory or on this machine."""
        try:
            entries = [self._put(name, blob) for name, blob in files]
            self._file.flush()
            with self._lines.open("a") as lines:
                lines.write(_group(entries))
        except OSError as error:
            raise self._failed(error) from error
        self.entries += entries

    def finish(self, signer: Signer) -> int:
        """Sign it and give it its name; how many bytes it has."""
        note = signer.sign(manifest_text(self.entries))
        if len(note) > LONGEST:
            raise StorageFailed("these are more files than a bundle can have; make several, with --module")
        try:
            self._file.write(ending(note))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.rename(self._path)
            self._lines.unlink(missing_ok=True)
            return self._path.stat().st_size
        except OSError as error:
            raise self._failed(error) from error

    def _put(self, name: str, blob: Blob) -> Entry:
        digest, left = hashlib.sha256(), blob.length
        self._file.write(header(name, blob.length))
        for piece in _pieces(blob):
            digest.update(piece)
            self._file.write(piece)
            left -= len(piece)
        if left:
            raise OSError(errno.EIO, f"{name} has not the length that it had")
        self._file.write(padding(blob.length))
        return Entry(name, blob.length, digest.hexdigest())

    def _take(self) -> None:
        """What is there of an earlier one, and the lock of it."""
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageFailed(f"{self._part} is being written by somebody else") from None
        if self._path.exists():
            raise self._is_there()  # by now: then it is this very file
        try:
            written = self._lines.read_text("ascii", "replace")
        except FileNotFoundError:
            written = ""
        kept = list(self._still_right(written))
        self.entries = [entry for entries in kept for entry in entries]
        self._file.truncate(sum(entry.space for entry in self.entries))
        self._lines.write_text("".join(map(_group, kept)))

    def _still_right(self, written: str) -> Iterator[list[Entry]]:
        """What was added each time, as long as it can be read as it was written: after a loss of power it may not."""
        start = 0
        try:
            for text in written.split("\n\n")[:-1]:
                entries = list(parse_lines(text))
                for entry in entries:
                    check_entry(self._file.fileno(), entry, start)
                    start += entry.space
                if not any(entry.name.startswith(SUMS) for entry in entries):
                    yield entries
        except VerificationFailed:
            return

    def _is_there(self) -> StorageFailed:
        return StorageFailed(f"{self._path} is there already, and nothing is replaced")

    def _failed(self, error: OSError) -> StorageFailed:
        return StorageFailed(f"{self._path} cannot be written: {error.strerror}")


def _group(entries: Sequence[Entry]) -> str:
    """What was added at once, with an empty line behind it: without that it may not be all."""
    return "".join(entry.line for entry in entries) + "\n"


def _pieces(blob: Blob) -> Iterator[bytes]:
    if isinstance(blob, BytesBlob):
        yield blob.data
        return
    file = blob.file()
    assert file is not None, "it is on this machine"
    with file:
        while piece := file.read(CHUNK):
            yield piece
