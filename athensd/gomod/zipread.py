"""Reading zips just as Go's ``archive/zip`` does, so that athensd keeps no zip that the go command cannot open.

Python's ``zipfile`` will not do: it believes other fields than Go where fields disagree (the number of members, the
end of the directory, names in local headers), and inflates what it was not asked for.  The format is PKWARE's APPNOTE;
which of its rules matter is Go's choice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.gomod.path import quoted

try:  # the extra [fast]: it inflates twice as fast
    from zlib_ng import zlib_ng as zlib
except ImportError:
    import zlib  # type: ignore[no-redef]

_ZlibError: Any = zlib.error  # mypy takes one of the two for a value

_PIECE = 64 << 10
_STORED, _DEFLATED = 0, 8
_HAS_DESCRIPTOR = 0x8
_ZIP64_EXTRA = 1
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_LONGEST_END = 65 << 10

_LOCAL = struct.Struct("<4s22xHH")
_ENTRY = struct.Struct("<4s4xHH4xIIIHHH8xI")
_END = struct.Struct("<4s6xHIIH")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4s28xQQQ")
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_DESCRIPTOR_SIZE = 16
_TOO_FAR = 1 << 40  # Longer than any zip that is read here, and not too far to seek to.


@frozen
class Member:
    """One entry of the directory.  Sizes are in bytes, packed and as declared for the content; the name is UTF-8."""

    name: str
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/")


def refusal(name: str, rule: str) -> VerificationFailed:
    """The error for a member that breaks a rule."""
    return VerificationFailed(f"zip member {quoted(name)}: {rule}")


def read_directory(file: BinaryIO, length: int) -> list[Member]:
    """The members of a zip of this length in the order of its directory.

    Raises ``VerificationFailed`` when there is no directory, or it is not what its end says.
    """
    count, start, shift = _find_directory(file, length)
    file.seek(start)
    members = []
    while (member := _read_entry(file, shift)) is not None:
        members.append(member)
    if len(members) & _FULL_16 != count & _FULL_16:
        raise VerificationFailed(f"the zip has {len(members)} members where its directory says {count}")
    return members


def content(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The content of a member by pieces; raises ``VerificationFailed`` at its end at the latest if it is not right.

    No piece is given out that goes beyond the declared size.
    """
    start = _content_start(file, member)
    if member.is_directory:
        if member.size:
            raise refusal(member.name, "a directory with content")
        return
    left, crc = member.size, 0
    for piece in _unpacked(file, member):
        left -= len(piece)
        if left < 0:
            raise refusal(member.name, "content is larger than its declared size")
        crc = zlib.crc32(piece, crc)
        yield piece
    if left:
        raise refusal(member.name, "content is smaller than its declared size")
    _check_crc(file, member, start + member.packed, crc)


def _find_directory(file: BinaryIO, length: int) -> tuple[int, int, int]:
    """How many members the directory has, where it starts, and what to add to the offsets in it."""
    file.seek(max(0, length - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    if at < 0:
        raise VerificationFailed("this is not a zip: it has no directory")
    _, count, size, offset, comment = _END.unpack_from(tail, at)
    end = length - len(tail) + at
    if at + _END.size + comment > len(tail):
        raise VerificationFailed("the zip is cut off within its comment")
    if _FULL_16 in (count, size) or offset == _FULL_32:  # 16 bits of a 32-bit size: so it says in Go.
        end, count, size, offset = _find_end_64(file, end) or (end, count, size, offset)
    shift = end - size - offset
    if not 0 <= shift + offset < length:
        raise VerificationFailed("the directory of the zip lies outside of it")
    if shift > 0 and _is_entry(file, offset):
        shift = 0
    return count, shift + offset, shift


def _find_end_64(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """The same for large zips: where the directory ends, its count, size and offset; ``None`` for a zip of old."""
    if end < _LOCATOR_64.size:
        return None
    signature, disk, at, disks = _LOCATOR_64.unpack(_read_at(file, end - _LOCATOR_64.size, _LOCATOR_64.size))
    if signature != b"PK\x06\x07" or disk != 0 or disks != 1 or at >> 63:
        return None
    signature, count, size, offset = _END_64.unpack(_read_at(file, at, _END_64.size))
    if signature != b"PK\x06\x06":
        raise VerificationFailed("the zip has no directory where it says")
    return at, count, size, offset


def _is_entry(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    try:
        return _read_entry(file, 0) is not None
    except VerificationFailed:
        return False


def _read_entry(file: BinaryIO, shift: int) -> Member | None:
    """The entry of the directory at which the file stands, ``None`` when what is there is none."""
    header = file.read(_ENTRY.size)
    if not header:
        raise VerificationFailed("the zip is cut off within its directory")
    if len(header) < _ENTRY.size or not header.startswith(b"PK\x01\x02"):
        return None
    _, flags, method, crc, packed, size, *lengths, offset = _ENTRY.unpack(header)
    rest = file.read(sum(lengths))
    if not rest and any(lengths):
        raise VerificationFailed("the zip is cut off within its directory")
    numbers = _large(rest[lengths[0] : lengths[0] + lengths[1]], size, packed, offset)
    if len(rest) < sum(lengths) or numbers is None:
        return None
    size, packed, offset = numbers
    name = rest[: lengths[0]].decode(errors="surrogateescape")
    return Member(name, method, flags, crc, packed, size, offset + shift)


def _large(extra: bytes, *numbers: int) -> tuple[int, ...] | None:
    """The numbers, those that are full taken from the zip64 field; ``None`` when it does not hold them."""
    found = list(numbers)
    wanting = [at for at, number in enumerate(numbers) if number == _FULL_32]
    while wanting and len(extra) >= 4:
        tag, length = struct.unpack_from("<HH", extra)
        if len(extra) < 4 + length:
            break
        if tag == _ZIP64_EXTRA:
            if length < 8 * len(wanting):
                return None
            for at, number in zip(wanting, struct.unpack_from(f"<{len(wanting)}Q", extra, 4), strict=True):
                found[at] = number
            wanting = []
        extra = extra[4 + length :]
    return None if set(wanting) - {0} else tuple(found)


def _content_start(file: BinaryIO, member: Member) -> int:
    """Go to where the content of a member starts: behind its local header, of which nothing else is believed."""
    header = _read_at(file, member.offset, _LOCAL.size)
    signature, name_length, extra_length = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04":
        raise refusal(member.name, "it has no local header")
    return file.seek(name_length + extra_length, 1)


def _unpacked(file: BinaryIO, member: Member) -> Iterator[bytes]:
    packed = _packed(file, member)
    if member.method == _STORED:
        return packed
    if member.method == _DEFLATED:
        return _inflated(packed, member)
    raise refusal(member.name, f"compression method {member.method} is not supported")


def _packed(file: BinaryIO, member: Member) -> Iterator[bytes]:
    left = member.packed
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def _inflated(packed: Iterator[bytes], member: Member) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            yield from _inflate(inflater, piece)
            if inflater.eof:
                return
    except _ZlibError as fault:
        raise refusal(member.name, f"content cannot be inflated ({fault})") from None
    raise refusal(member.name, "content is cut off")


def _inflate(inflater: Any, piece: bytes) -> Iterator[bytes]:
    """All that comes out of one piece; a full piece of output means that there may be more."""
    inflated = inflater.decompress(piece, _PIECE)
    yield inflated
    while len(inflated) == _PIECE or inflater.unconsumed_tail:
        inflated = inflater.decompress(inflater.unconsumed_tail, _PIECE)
        yield inflated


def _check_crc(file: BinaryIO, member: Member, end: int, crc: int) -> None:
    """Compare checksums as Go does: a descriptor behind the content must agree; without one, zero means unknown."""
    if member.flags & _HAS_DESCRIPTOR:
        descriptor = _read_at(file, end, _DESCRIPTOR_SIZE).removeprefix(_DESCRIPTOR_SIGNATURE)
        if descriptor[:4] != crc.to_bytes(4, "little"):
            raise refusal(member.name, "checksum error")
    elif not member.crc:
        return
    if crc != member.crc:
        raise refusal(member.name, "checksum error")


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """Exactly so many bytes from there."""
    if 0 <= offset < _TOO_FAR:
        file.seek(offset)
        data = file.read(length)
        if len(data) == length:
            return data
    raise VerificationFailed("the zip points outside of itself")
