"""Module zips to test with: those that are right, and those that are wrong in one way each."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence

import pytest

PREFIX = "example.com/m@v1.2.3/"
DEFLATED_BODY = b"package a\n" * 300


def make_zip(
    members: Mapping[str, bytes] | Sequence[tuple[str, bytes]],
    prefix: str = PREFIX,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A zip of these members in this order, each name behind the prefix."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # Some names are there twice, on purpose.
        for name, data in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(zipfile.ZipInfo(prefix + name), data, method)  # A ZipInfo has no time of today.
    return out.getvalue()


def patched(data: bytes, signature: bytes, offset: int, layout: str, value: int) -> bytes:
    """The zip with one field of the last header with this signature set to this value."""
    at = data.rindex(signature) + offset
    return data[:at] + struct.pack(layout, value) + data[at + struct.calcsize(layout) :]


def _endless() -> bytes:
    """A zip that puts the checksum of its member 2**64 bytes behind it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = zipfile.ZipInfo(PREFIX + "a")
        member.compress_type = zipfile.ZIP_DEFLATED
        member.extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
        archive.writestr(member, b"x")
    endless = patched(out.getvalue(), b"PK\x01\x02", 20, "<I", 0xFFFFFFFF)
    return patched(endless, b"PK\x01\x02", 8, "<H", 8)


def _hostile() -> dict[str, tuple[bytes, str]]:
    named = {
        "prefix of another version": ({"go.mod": b""}, "example.com/m@v1.2.4/", "does not have prefix"),
        "no prefix": ({"go.mod": b""}, "", "does not have prefix"),
        "dot dot": ({"../x": b""}, PREFIX, "invalid path element"),
        "dot": ({"./x": b""}, PREFIX, "invalid path element"),
        "double slash": ({"a//x": b""}, PREFIX, "double slash"),
        "absolute": ({"/etc/x": b""}, PREFIX, "empty path element"),
        "backslash": ({"a\\x": b""}, PREFIX, "invalid char"),
        "colon": ({"a:x": b""}, PREFIX, "invalid char"),
        "newline": ({"a\nx": b""}, PREFIX, "invalid char"),
        "Windows device": ({"a/Com1.txt": b""}, PREFIX, "disallowed as path element component on Windows"),
        "trailing dot": ({"a./x": b""}, PREFIX, "trailing dot"),
        "symbol": ({"a\u2600": b""}, PREFIX, "invalid char"),
        "case": ({"a": b"", "A": b""}, PREFIX, "case-insensitive file name collision"),
        "case of a directory": ({"a/x": b"", "A/y": b""}, PREFIX, "case-insensitive file name collision"),
        "case beyond ASCII": ({"\u00e9": b"", "\u00c9": b""}, PREFIX, "case-insensitive file name collision"),
        "Kelvin sign": ({"k": b"", "\u212a": b""}, PREFIX, "case-insensitive file name collision"),
        "file and directory": ({"a": b"", "a/x": b""}, PREFIX, "both a file and a directory"),
        "directory and file": ({"a/x": b"", "a": b""}, PREFIX, "both a file and a directory"),
        "the same file twice": ([("a", b"1"), ("a", b"2")], PREFIX, "multiple entries for file"),
        "nested go.mod": ({"a/go.mod": b""}, PREFIX, "not in module root"),
        "nested Go.Mod": ({"a/Go.Mod": b""}, PREFIX, "not in module root"),
        "GO.MOD": ({"GO.MOD": b""}, PREFIX, "lowercase"),
        "directory with content": ({"a/": b"x"}, PREFIX, "directory with content"),
        "large go.mod": ({"go.mod": bytes((16 << 20) + 1)}, PREFIX, "go.mod file too large"),
        "large LICENSE": ({"LICENSE": bytes((16 << 20) + 1)}, PREFIX, "LICENSE file too large"),
    }
    one = make_zip({"a": DEFLATED_BODY})
    stored = make_zip({"a": b"abcdef"}, method=zipfile.ZIP_STORED)
    size = len(DEFLATED_BODY)
    broken = {
        "declares too little": (patched(one, b"PK\x01\x02", 24, "<I", size - 1), "larger than its declared size"),
        "declares too much": (patched(one, b"PK\x01\x02", 24, "<I", size + 1), "smaller than its declared size"),
        "declares 4 GB": (patched(one, b"PK\x01\x02", 24, "<I", 0xFFFFFFF0), "total uncompressed size"),
        "wrong checksum": (patched(one, b"PK\x01\x02", 16, "<I", 12345), "checksum"),
        "stored, wrong byte": (stored.replace(b"abcdef", b"abcdeF"), "checksum"),
        "stored, packed size differs": (patched(stored, b"PK\x01\x02", 20, "<I", 5), "smaller than its declared size"),
        "unknown method": (patched(one, b"PK\x01\x02", 10, "<H", 12), "compression method 12"),
        "cut deflate stream": (patched(one, b"PK\x01\x02", 20, "<I", 10), "cut off"),
        "no local header": (patched(one, b"PK\x03\x04", 0, "<I", 0), "no local header"),
        "not inflatable": (patched(one, b"PK\x03\x04", 30 + len(PREFIX) + 1, "<I", 0xFFFFFFFF), "cannot be inflated"),
        "name is not UTF-8": (one.replace(b"v1.2.3/a", b"v1.2.3/\xff"), "invalid UTF-8"),
        "endless": (_endless(), "points outside of itself"),
        "cut": (one[:-30], "has no directory"),
        "empty file": (b"", "has no directory"),
        "no zip": (b"<html>not found</html>" * 10, "has no directory"),
    }
    made = {name: (make_zip(members, prefix), rule) for name, (members, prefix, rule) in named.items()}
    return made | broken


class _Pipe(io.BytesIO):
    """A file that cannot seek; zipfile then writes checksums behind the members."""

    def seek(self, *_where: int) -> int:
        raise OSError


def _streamed() -> bytes:
    out = _Pipe()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(PREFIX + "a"), b"x" * 1000, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(PREFIX + "b/c"), b"y" * 1000, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _large_sizes() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open(zipfile.ZipInfo(PREFIX + "a"), "w", force_zip64=True) as member:
            member.write(b"x" * 1000)
    return out.getvalue()


def _large_directory() -> bytes:
    """A zip whose directory has the end that large zips have, and an offset that is only there."""
    data = make_zip({"a": b"x", "b": b"y"})
    end = data.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<II", data, end + 12)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    return data[:end] + record + locator + patched(data[end:], b"PK\x05\x06", 16, "<I", 0xFFFFFFFF)


LEGAL = {
    "usual": make_zip({"go.mod": b"module example.com/m\n", "a/b.go": b"package a\n" * 50}),
    "with directories": make_zip({"": b"", "a/": b"", "a/b/": b"", "a/b/c": b"x"}),
    "stored": make_zip({"go.mod": b"", "a": b"xyz"}, method=zipfile.ZIP_STORED),
    "streamed": _streamed(),
    "large sizes": _large_sizes(),
    "large directory": _large_directory(),
    "behind other bytes": b"#!/bin/sh\n" + make_zip({"a": b"xyz"}),
    "empty": make_zip({}),
}
HOSTILE = _hostile()


@pytest.fixture
def zip_of() -> Callable[..., bytes]:
    """The function that makes zips."""
    return make_zip


@pytest.fixture(params=LEGAL)
def legal_zip(request: pytest.FixtureRequest) -> bytes:
    """One legal zip of example.com/m@v1.2.3."""
    return LEGAL[request.param]


@pytest.fixture
def legal_zips() -> Mapping[str, bytes]:
    """All legal zips of example.com/m@v1.2.3 by name."""
    return LEGAL


@pytest.fixture(params=HOSTILE)
def hostile_zip(request: pytest.FixtureRequest) -> tuple[bytes, str]:
    """One illegal zip of example.com/m@v1.2.3 and a part of the reason to refuse it."""
    return HOSTILE[request.param]


@pytest.fixture
def hostile_zips() -> Mapping[str, bytes]:
    """All illegal zips of example.com/m@v1.2.3 by name."""
    return {name: data for name, (data, _) in HOSTILE.items()}
