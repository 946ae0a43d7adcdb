"""Module zips: is this one legal, and what is its ``h1:`` hash?

The rules are those of ``golang.org/x/mod/zip`` (``CheckZip``) and of ``golang.org/x/mod/sumdb/dirhash`` (``Hash1``).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from io import BufferedReader, RawIOBase
from typing import BinaryIO, cast

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.gomod.path import file_path_fault, quoted
from athensd.gomod.version import ModuleVersion
from athensd.gomod.zipread import Member, content, read_directory, refusal

MAX_ZIP = 500 << 20
MAX_GO_MOD = 16 << 20
MAX_LICENSE = 16 << 20
_READ_AHEAD = 256 << 10


@frozen
class CheckedZip:
    """What a legal module zip is known by: its hash, and its ``go.mod`` if it has one."""

    h1: str
    go_mod: bytes | None


def h1_of_mod(data: bytes) -> str:
    """The ``h1:`` hash of a ``go.mod`` file."""
    return _h1([("go.mod", hashlib.sha256(data).hexdigest())])


def check_zip(file: BinaryIO, version: ModuleVersion) -> CheckedZip:
    """Read a seekable zip once, check all that Go checks, and hash it.  It blocks: call it in a thread.

    Raises ``VerificationFailed``, naming the member and the rule, when the go command would refuse the zip.  The file
    stays open; where it stands afterwards is not defined.
    """
    length = file.seek(0, 2)
    if length > MAX_ZIP:
        raise VerificationFailed(f"the zip of {version} is larger than {MAX_ZIP} bytes")
    buffered = BufferedReader(cast("RawIOBase", file), _READ_AHEAD)
    try:
        members = read_directory(buffered, length)
        _check_members(members, f"{version}/")
        return _hash_members(buffered, members, f"{version}/go.mod")
    finally:
        buffered.detach()


def simple_fold(text: str) -> str:
    """The text with each character replaced by the one that stands for all its cases, one for one as in Go."""
    return text.lower() if text.isascii() else "".join(map(_fold_character, text))


def _check_members(members: Iterable[Member], prefix: str) -> None:
    seen: dict[str, tuple[str, bool]] = {}
    left = MAX_ZIP
    for member in members:
        if not member.name.startswith(prefix):
            raise refusal(member.name, f"path does not have prefix {quoted(prefix)}")
        name = member.name.removeprefix(prefix)
        if not name:
            continue
        bare = name.removesuffix("/")
        fault = file_path_fault(bare) or _collision(bare, member.is_directory, seen)
        if fault is None and not member.is_directory:
            left -= member.size
            fault = _file_fault(name, member.size, left)
        if fault is not None:
            raise refusal(member.name, fault)


def _collision(name: str, is_directory: bool, seen: dict[str, tuple[str, bool]]) -> str | None:
    """Add the name and the directories above it to those seen; say with what it collides, if with anything."""
    while name:
        key = simple_fold(name)
        if key not in seen:
            seen[key] = (name, is_directory)
        elif seen[key] == (name, True) and is_directory:
            return None  # The directories above it were seen with it.
        else:
            return _clash(name, is_directory, *seen[key])
        name, is_directory = name.rpartition("/")[0], True
    return None


def _clash(name: str, is_directory: bool, known: str, was_directory: bool) -> str:
    if name != known:
        return f"case-insensitive file name collision: {quoted(known)} and {quoted(name)}"
    if is_directory != was_directory:
        return f"entry {quoted(name)} is both a file and a directory"
    return f"multiple entries for file {quoted(name)}"


def _file_fault(name: str, size: int, left: int) -> str | None:
    """Why a file of this name and size is not legal, with so many bytes left for all; ``None`` when it is."""
    base = name.rpartition("/")[2]
    if base.lower() == "go.mod" and base != name:
        return "go.mod file not in module root directory"
    if base.lower() == "go.mod" and name != "go.mod":
        return "go.mod files must have lowercase names"
    if left < 0:
        return f"total uncompressed size of module contents too large (max size is {MAX_ZIP} bytes)"
    limit = {"go.mod": MAX_GO_MOD, "LICENSE": MAX_LICENSE}.get(name, size)
    return f"{name} file too large (max size is {limit} bytes)" if size > limit else None


def _hash_members(file: BinaryIO, members: list[Member], go_mod_name: str) -> CheckedZip:
    digests = []
    go_mod = None
    for member in sorted(members, key=lambda member: member.offset):
        digest = hashlib.sha256()
        kept = []
        for piece in content(file, member):
            digest.update(piece)
            if member.name == go_mod_name:
                kept.append(piece)
        if member.name == go_mod_name:
            go_mod = b"".join(kept)
        digests.append((member.name, digest.hexdigest()))
    return CheckedZip(_h1(digests), go_mod)


def _h1(digests: Iterable[tuple[str, str]]) -> str:
    """``dirhash.Hash1``, given the name and the hexadecimal SHA-256 of each file."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests))
    return "h1:" + b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def _fold_character(char: str) -> str:
    folded = char.casefold()
    if len(folded) > 1:  # Full case folding, as of the German sharp s; Go has only the simple one.
        folded = char.lower()
    return folded if len(folded) == 1 else char
