"""What a bundle is: a tar file, every byte of which follows from the manifest at its end.

    golang.org/x/text/@v/v0.3.0.mod, .info, .ziphash, .zip    as in the download protocol
    sumdb/sum.golang.org/latest, lookup/..., tile/...         as at /sumdb/: one tree head, and what proves all with it
    athensd-bundle                                            the manifest, which is a signed note

The manifest has a line for each file before it, in their order: the SHA-256, the length, the name.  So it says where
each file begins, and what is in the blocks between files; nothing in a bundle need be believed but the signature.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from athensd.errors import InvalidPath, VerificationFailed
from athensd.gomod.escape import escape_path, escape_version, unescape_path, unescape_version
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import Kind

BLOCK = tarfile.BLOCKSIZE
MANIFEST = "athensd-bundle"
SUMS = "sumdb/"
_FIRST = "athensd bundle 1\n"
_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,15}) (?P<name>[!-~]+)")
_FILE = re.compile(r"(?P<path>.+)/@v/(?P<version>[^/]+)\.(?P<kind>info|mod|ziphash|zip)")


@frozen
class Entry:
    """A file in a bundle: its name, its length in bytes, the hexadecimal SHA-256 of them."""

    name: str
    size: int
    sha256: str

    @property
    def line(self) -> str:
        """What the manifest has of it."""
        return f"{self.sha256} {self.size} {self.name}\n"

    @property
    def space(self) -> int:
        """How many bytes it takes in the bundle."""
        return len(header(self.name, self.size)) + self.size + len(padding(self.size))


def header(name: str, size: int) -> bytes:
    """What is before a file in a bundle."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What is behind a file of this length."""
    return bytes(-size % BLOCK)


def ending(note: bytes) -> bytes:
    """What is behind the last file: the manifest, signed, and the end of every tar file."""
    return header(MANIFEST, len(note)) + note + padding(len(note)) + bytes(2 * BLOCK)


def manifest_text(entries: Iterable[Entry]) -> str:
    """The text that is signed."""
    return _FIRST + "".join(entry.line for entry in entries)


def parse_manifest(text: str) -> list[Entry]:
    """Read what was signed.  Raises ``VerificationFailed`` when this athensd cannot make sense of it."""
    if not text.startswith(_FIRST):
        raise VerificationFailed("it is a bundle of another kind, perhaps of a newer athensd")
    entries = list(parse_lines(text.removeprefix(_FIRST)))
    if len({entry.name for entry in entries}) < len(entries):
        raise VerificationFailed("a name is twice in its manifest")
    return entries


def parse_lines(text: str) -> Iterator[Entry]:
    """The files that these lines name.  Raises ``VerificationFailed`` at one that is none."""
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if not found:
            raise VerificationFailed("its manifest is malformed")
        yield Entry(found["name"], int(found["size"]), found["sha256"])


def file_name(version: ModuleVersion, kind: Kind) -> str:
    """The name of a module's file.  Raises ``InvalidPath`` if it can have none."""
    return f"{escape_path(version.path)}/@v/{escape_version(version.version)}.{kind.value}"


def parse_file_name(name: str) -> tuple[ModuleVersion, Kind]:
    """The same, read.  Raises ``VerificationFailed``."""
    found = _FILE.fullmatch(name)
    try:
        if found:
            version = ModuleVersion(unescape_path(found["path"]), unescape_version(found["version"]))
            if is_canonical_for(version.path, version.version):
                return version, Kind(found["kind"])
    except InvalidPath:
        pass
    raise VerificationFailed(f"no module has a file called {name}")


def database_name(entries: Sequence[Entry]) -> str:
    """The name of the checksum database whose answers are there; empty when none are.

    Raises ``VerificationFailed`` when they are not those of one database.
    """
    names = [entry.name for entry in entries if entry.name.startswith(SUMS)]
    heads = [name.removeprefix(SUMS).removesuffix("/latest") for name in names if name.endswith("/latest")]
    if names and (len(heads) != 1 or not all(name.startswith(f"{SUMS}{heads[0]}/") for name in names)):
        raise VerificationFailed("its checksum answers are not those of one database")
    return heads[0] if heads else ""
