"""Module zips: is this one legal, and what is its ``h1:`` hash?

The rules are those of ``golang.org/x/mod/zip`` (``CheckZip``), of ``golang.org/x/mod/sumdb/dirhash`` (``Hash1``) and,
for reading a member, of Go's ``archive/zip``.  The standard library reads the directory of the zip; the members are
read here, for theirs is the work: in the order in which they lie in the file, by pieces, and no further than their
declared size.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from io import BufferedReader, RawIOBase
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.gomod.path import file_path_fault, quoted
from athensd.gomod.version import ModuleVersion

MAX_ZIP = 500 << 20
MAX_GO_MOD = 16 << 20
MAX_LICENSE = 16 << 20

_READ_AHEAD = 1 << 20
_PIECE = 256 << 10
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_HAS_DESCRIPTOR = 0x8
_UTF8_NAME = 0x800


@frozen
class CheckedZip:
    """What a legal module zip is known by: its hash, and its ``go.mod`` if it has one."""

    h1: str
    go_mod: bytes | None


@frozen
class _Member:
    """One entry of a zip, under the name that Go reads: its bytes as UTF-8, whatever the flag says."""

    name: str
    entry: ZipInfo

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/")


def h1_of_mod(data: bytes) -> str:
    """The ``h1:`` hash of a ``go.mod`` file."""
    return _h1([("go.mod", hashlib.sha256(data).hexdigest())])


def check_zip(file: BinaryIO, version: ModuleVersion) -> CheckedZip:
    """Read a seekable zip once, check all that Go checks, and hash it.  It blocks: call it in a thread.

    Raises ``VerificationFailed``, naming the member and the rule, when the go command would refuse the zip.
    """
    if file.seek(0, 2) > MAX_ZIP:
        raise VerificationFailed(f"the zip of {version} is larger than {MAX_ZIP} bytes")
    buffered = BufferedReader(
        cast("RawIOBase", file), _READ_AHEAD
    )  # The directory and small members cost no call each.
    try:
        members = _members(buffered, version)
        _check_members(members, f"{version}/")
        return _hash_members(buffered, members, f"{version}/go.mod")
    finally:
        buffered.detach()


def _members(file: BinaryIO, version: ModuleVersion) -> list[_Member]:
    try:
        with ZipFile(file) as directory:
            return [_Member(_name(entry), entry) for entry in directory.infolist()]
    except (BadZipFile, NotImplementedError, ValueError, struct.error) as fault:
        raise VerificationFailed(f"the zip of {version} cannot be read: {fault}") from None


def _name(entry: ZipInfo) -> str:
    raw = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8_NAME else "cp437")
    return raw.decode(errors="surrogateescape")


def _check_members(members: list[_Member], prefix: str) -> None:
    seen: dict[str, tuple[str, bool]] = {}
    left = MAX_ZIP
    for member in members:
        if not member.name.startswith(prefix):
            raise _refusal(member.name, f"path does not have prefix {quoted(prefix)}")
        name = member.name.removeprefix(prefix)
        if not name:
            continue
        bare = name.removesuffix("/")
        fault = file_path_fault(bare) or _collision(bare, member.is_directory, seen)
        if fault is None and not member.is_directory:
            left -= member.entry.file_size
            fault = _file_fault(name, member.entry.file_size, left)
        if fault is not None:
            raise _refusal(member.name, fault)


def _collision(name: str, is_directory: bool, seen: dict[str, tuple[str, bool]]) -> str | None:
    """Add the name and the directories above it to those seen; say with what it collides, if with anything."""
    while name:
        known, was_directory = seen.get(simple_fold(name), ("", False))
        if not known:
            seen[simple_fold(name)] = (name, is_directory)
        elif known != name:
            return f"case-insensitive file name collision: {quoted(known)} and {quoted(name)}"
        elif was_directory != is_directory:
            return f"entry {quoted(name)} is both a file and a directory"
        elif is_directory:
            return None
        else:
            return f"multiple entries for file {quoted(name)}"
        name, is_directory = name.rpartition("/")[0], True
    return None


def _file_fault(name: str, size: int, left: int) -> str | None:
    base = name.rpartition("/")[2]
    if base.lower() == "go.mod" and base != name:
        return "go.mod file not in module root directory"
    if base.lower() == "go.mod" and name != "go.mod":
        return "go.mod files must have lowercase names"
    if left < 0:
        return f"total uncompressed size of module contents too large (max size is {MAX_ZIP} bytes)"
    limit = {"go.mod": MAX_GO_MOD, "LICENSE": MAX_LICENSE}.get(name, size)
    return f"{name} file too large (max size is {limit} bytes)" if size > limit else None


def simple_fold(text: str) -> str:
    """The text with each character replaced by the one that stands for all its cases, one for one as in Go."""
    return text.lower() if text.isascii() else "".join(map(_fold_character, text))


def _fold_character(char: str) -> str:
    folded = char.casefold()
    if len(folded) > 1:  # Full case folding, as of the German sharp s; Go has only the simple one.
        folded = char.lower()
    return folded if len(folded) == 1 else char


def _hash_members(file: BinaryIO, members: list[_Member], go_mod_name: str) -> CheckedZip:
    digests = []
    go_mod = None
    for member in sorted(members, key=lambda member: member.entry.header_offset):
        digest = hashlib.sha256()
        kept = bytearray()
        for piece in _content(file, member):
            digest.update(piece)
            if member.name == go_mod_name:
                kept += piece
        if member.name == go_mod_name:
            go_mod = bytes(kept)
        digests.append((member.name, digest.hexdigest()))
    return CheckedZip(_h1(digests), go_mod)


def _content(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    """The content of a member by pieces; raises ``VerificationFailed`` at its end at the latest if it is not right."""
    body = _body_offset(file, member)
    left = member.entry.file_size
    if member.is_directory:
        if left:
            raise _refusal(member.name, "a directory with content")
        return
    crc = 0
    for piece in _pieces(file, member):
        left -= len(piece)
        if left < 0:
            raise _refusal(member.name, "content is larger than its declared size")
        crc = zlib.crc32(piece, crc)
        yield piece
    if left:
        raise _refusal(member.name, "content is smaller than its declared size")
    _check_crc(file, member, body + member.entry.compress_size, crc)


def _body_offset(file: BinaryIO, member: _Member) -> int:
    """Go to where the content of a member begins, behind its local header, whose name and sizes count for nothing."""
    if member.entry.header_offset < 0:
        raise _refusal(member.name, "its header lies outside the zip")
    file.seek(member.entry.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise _refusal(member.name, "it has no local header")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    return file.seek(name_length + extra_length, 1)


def _pieces(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    packed = _packed_pieces(file, member)
    if member.entry.compress_type == ZIP_STORED:
        return packed
    if member.entry.compress_type == ZIP_DEFLATED:
        return _inflated(packed, member)
    raise _refusal(member.name, f"compression method {member.entry.compress_type} is not supported")


def _packed_pieces(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    left = member.entry.compress_size
    while left > 0:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise _refusal(member.name, "content is cut off")
        left -= len(piece)
        yield piece


def _inflated(packed: Iterator[bytes], member: _Member) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            waiting = piece
            while not inflater.eof:
                inflated = inflater.decompress(waiting, _PIECE)
                yield inflated
                waiting = inflater.unconsumed_tail
                if not waiting and len(inflated) < _PIECE:
                    break
    except zlib.error as fault:
        raise _refusal(member.name, f"content cannot be inflated: {fault}") from None
    if not inflater.eof:
        raise _refusal(member.name, "content is cut off")


def _check_crc(file: BinaryIO, member: _Member, end: int, crc: int) -> None:
    """Compare checksums as Go does: a descriptor behind the content counts; without one, zero stands for unknown."""
    declared = member.entry.CRC
    if member.entry.flag_bits & _HAS_DESCRIPTOR:
        file.seek(end)
        descriptor = file.read(16).removeprefix(_DESCRIPTOR_SIGNATURE)
        if len(descriptor) < 12 or descriptor[:4] != declared.to_bytes(4, "little"):
            raise _refusal(member.name, "checksum error")
    elif not declared:
        return
    if crc != declared:
        raise _refusal(member.name, "checksum error")


def _h1(digests: Iterable[tuple[str, str]]) -> str:
    """``dirhash.Hash1``, given the name and the hexadecimal SHA-256 of each file."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests))
    return "h1:" + b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def _refusal(name: str, rule: str) -> VerificationFailed:
    return VerificationFailed(f"zip member {quoted(name)}: {rule}")
