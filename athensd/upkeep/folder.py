"""Versions in a folder: a module cache of the go command, our own store, or a disk store of Athens.

Go      <escaped path>/@v/<escaped version>.{info,mod,zip,ziphash}      (``go help goproxy``)
Athens  <path>/<version>/{go.mod,source.zip,<version>.info}             (``storage/fs`` of Athens)
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from athensd.blob import FileBlob
from athensd.errors import InvalidPath, NotFound, StorageFailed
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import Blob, Kind

_KIND = {kind.value: kind for kind in Kind}
Files = Mapping[str, Mapping[Kind, str]]
"""The names of files in one directory, by version and kind."""


@frozen
class Layout:
    """How a folder is laid out: what each of its directories holds of which module path."""

    name: str
    files: Callable[[str, Iterable[str]], tuple[str, Files]]


@frozen
class FolderVersion:
    """A version in a folder, perhaps without some of its files."""

    version: ModuleVersion
    files: Mapping[Kind, Path]

    async def open(self, kind: Kind) -> Blob:
        """One of the files.  Raises ``NotFound``, or ``StorageFailed`` when it cannot be read."""
        if kind not in self.files:
            raise NotFound(f"{self.version} {kind.value} is not in the folder")
        try:
            return FileBlob(self.files[kind], self.files[kind].stat().st_size)
        except FileNotFoundError:
            raise NotFound(f"{self.version} {kind.value} is gone") from None
        except OSError as error:
            raise StorageFailed(f"{self.version} {kind.value} cannot be read: {error.strerror}") from error


def go_files(directory: str, names: Iterable[str]) -> tuple[str, Files]:
    """The module path and the files of a directory in Go's layout; other names than Go's are passed over."""
    escaped, _, last = directory.rpartition("/")
    found: dict[str, dict[Kind, str]] = defaultdict(dict)
    path = _unescaped(unescape_path, escaped) if last == "@v" else ""
    for name in names if path else ():
        stem, _, suffix = name.rpartition(".")
        version = _unescaped(unescape_version, stem) if suffix in _KIND else ""
        if version and is_canonical_for(path, version):
            found[version][_KIND[suffix]] = name
    return path, found


def athens_files(directory: str, names: Iterable[str]) -> tuple[str, Files]:
    """The same of a directory in Athens' layout."""
    path, _, version = directory.rpartition("/")
    known = {"go.mod": Kind.MOD, "source.zip": Kind.ZIP, f"{version}.info": Kind.INFO}
    files = {known[name]: name for name in names if name in known}
    # A module may be nested in what looks like a version; and a go.mod alone is some other folder.
    found = files.keys() - {Kind.MOD} and is_canonical_for(path, version)
    return path, {version: files} if found else {}


GO = Layout("a module cache", go_files)
ATHENS = Layout("a disk store of Athens", athens_files)


def layout_of(root: Path) -> tuple[Layout, Path] | None:
    """How a folder is laid out, and where in it that begins; ``None`` when there are no modules in it.

    Of ``GOMODCACHE`` it is the folder of downloads.  It blocks: call it in a thread.
    """
    downloads = root / "cache" / "download"
    if downloads.is_dir():
        return GO, downloads
    for directory, names in _directories(root):
        for layout in (GO, ATHENS):
            if layout.files(directory, names)[1]:
                return layout, root
    return None


def walk(root: Path, layout: Layout) -> Iterator[FolderVersion]:
    """Every version below ``root`` of which there is a file.  It blocks.

    Raises ``StorageFailed`` when a directory cannot be read.
    """
    for directory, names in _directories(root):
        path, found = layout.files(directory, names)
        for version, files in sorted(found.items()):
            yield FolderVersion(
                ModuleVersion(path, version), {kind: root / directory / name for kind, name in files.items()}
            )


def _directories(root: Path) -> Iterator[tuple[str, list[str]]]:
    """The directories in which modules may be, by their names from the root, and the names of the files in each."""
    for place, below, names in os.walk(root, onerror=_unreadable):
        directory = os.path.relpath(place, root)
        # Not our own rooms, nor anything like lost+found: the first element of a module path has a dot.
        below[:] = sorted(name for name in below if name[0] != "." and (directory != "." or "." in name))
        yield directory, names


def _unreadable(error: OSError) -> None:
    raise StorageFailed(f"{error.filename} cannot be read: {error.strerror}") from error


def _unescaped(unescape: Callable[[str], str], escaped: str) -> str:
    try:
        return unescape(escaped)
    except InvalidPath:
        return ""
