"""A bundle that is there: its manifest, and its files.  All of it but the blobs blocks: call it in a thread."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from attrs import frozen

from athensd.blob import CHUNK
from athensd.bundle.manifest import (
    BLOCK,
    MANIFEST,
    SUMS,
    Entry,
    ending,
    header,
    padding,
    parse_file_name,
    parse_manifest,
)
from athensd.errors import VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.sumdb.note import Verifier, open_note

LONGEST = 256 << 20
"""The longest manifest, in bytes: of some million files."""


@frozen
class Slice:
    """A part of an open file, as a blob."""

    descriptor: int
    start: int
    length: int

    def file(self) -> BinaryIO | None:
        return None  # no file has just these bytes

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        for piece in self.pieces(start, stop):
            yield piece

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The same where one may wait."""
        at, end = self.start + start, self.start + (self.length if stop is None else stop)
        while at < end:
            piece = os.pread(self.descriptor, min(CHUNK, end - at), at)
            if not piece:
                raise OSError(errno.EIO, "the file is shorter than it was")
            at += len(piece)
            yield piece


class Bundle:
    """The bundle at ``path``, from ``with`` to the end of it; its manifest is one that ``verifier``'s key has signed.

    ``entries`` are its files.  Of their bytes nothing is known yet: ``check`` each of them before any is used.
    """

    def __init__(self, path: Path, verifier: Verifier) -> None:
        """Raises ``OSError``, and ``VerificationFailed`` when it is not such a bundle."""
        self._file = os.open(path, os.O_RDONLY)
        try:
            self.entries = _entries(self._file, verifier)
        except BaseException:
            os.close(self._file)
            raise
        spaces = (entry.space for entry in self.entries)
        self._starts = dict(zip(self.entries, accumulate(spaces, initial=0), strict=False))
        self._by_name = {entry.name: entry for entry in self.entries}

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)

    def versions(self) -> Mapping[ModuleVersion, Mapping[Kind, Entry]]:
        """The files of each version, in the order of the bundle.  Raises ``VerificationFailed``."""
        found: dict[ModuleVersion, dict[Kind, Entry]] = defaultdict(dict)
        for entry in self.entries:
            if not entry.name.startswith(SUMS):
                version, kind = parse_file_name(entry.name)
                found[version][kind] = entry
        return found

    def check(self, entry: Entry) -> None:
        """Raise ``VerificationFailed`` unless the file, and what is around it, is what was signed."""
        check_entry(self._file, entry, self._starts[entry])

    def find(self, name: str) -> Entry | None:
        """The file with this name."""
        return self._by_name.get(name)

    def blob(self, entry: Entry) -> Slice:
        """The bytes of a file."""
        return _content(self._file, entry, self._starts[entry])

    def read(self, entry: Entry) -> bytes:
        """The bytes of a small file, checked once more: a medium may have others the second time it is read."""
        data = b"".join(self.blob(entry).pieces())
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise VerificationFailed(f"{entry.name} is not what was signed")
        return data


def check_entry(descriptor: int, entry: Entry, start: int) -> None:
    """Raise ``VerificationFailed`` unless this file is there, whole, between its header and its padding."""
    before, behind = header(entry.name, entry.size), padding(entry.size)
    content = _content(descriptor, entry, start)
    digest = hashlib.sha256()
    try:
        for piece in content.pieces():
            digest.update(piece)
    except OSError as error:
        raise VerificationFailed(f"{entry.name} cannot be read: {error.strerror}") from error
    around = (os.pread(descriptor, len(before), start), os.pread(descriptor, len(behind), content.start + entry.size))
    if digest.hexdigest() != entry.sha256 or around != (before, behind):
        raise VerificationFailed(f"{entry.name} is not what was signed")


def _content(descriptor: int, entry: Entry, start: int) -> Slice:
    return Slice(descriptor, start + len(header(entry.name, entry.size)), entry.size)


def _entries(descriptor: int, verifier: Verifier) -> list[Entry]:
    place, note = _last(descriptor)
    entries = parse_manifest(open_note(note, verifier))
    if (end := sum(entry.space for entry in entries)) != place:
        raise VerificationFailed(f"its files have {place} bytes, and {end} were signed")
    return entries


def _last(descriptor: int) -> tuple[int, bytes]:
    """Where the end of a bundle begins, and the note in it.  Raises ``VerificationFailed``."""
    length = os.fstat(descriptor).st_size
    mark = MANIFEST.encode() + b"\0"
    for place in range(length - BLOCK, max(-1, length - LONGEST), -BLOCK):
        # A note has no zero byte, so this is nothing that is in it.
        if os.pread(descriptor, len(mark), place) == mark:
            end = os.pread(descriptor, length - place, place)
            note = end[BLOCK:].rstrip(b"\0")
            if end != ending(note):
                raise VerificationFailed("its end is damaged")
            return place, note
    raise VerificationFailed("it is no bundle of athensd, or its end is missing")
