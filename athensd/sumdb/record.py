"""Records: what a database says of one module version, as it answers a lookup."""

from __future__ import annotations

import re

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.tlog import Hashes, Tree, parse_number, record_hash, stored_hash_index

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

# Go's words, but for the empty lines: of an error the go command shows eight lines, and none behind an empty one.
_MISMATCH = """
SECURITY ERROR
This download does NOT match the one reported by the checksum server.
The bits may have been replaced on the origin server, or an attacker may
have intercepted the download attempt.
For more information, see 'go help module-auth'."""
_ABSENT = """
SECURITY ERROR
This download does NOT match one reported by the checksum server.
The checksum server has provided checksums, but the checksums do
not contain an entry for the download.
The checksum server may be malfunctioning, or an attacker may have
intercepted the checksum request.
The download cannot be verified."""


@frozen
class Record:
    """The record that stands at ``number`` in the log; its text is lines of ``go.sum``."""

    number: int
    text: str


def lookup_path(version: ModuleVersion) -> str:
    """Where a database has the record of this version, below its URL.  Raises ``InvalidPath`` if it can have none."""
    return f"lookup/{escape_path(version.path)}@{escape_version(version.version)}"


def parse_lookup(data: bytes) -> tuple[Record, bytes]:
    """Read the answer to a lookup: the record, and the signed tree head behind it, of which nothing is known yet.

    Raises ``VerificationFailed`` when it is no such answer.
    """
    first, _, rest = data.partition(b"\n")
    content, blank, message = rest.partition(b"\n\n")
    try:
        number, text = parse_number(first.decode()), content.decode() + "\n"
    except UnicodeDecodeError:
        raise _malformed() from None
    if number is None or not blank or _CONTROL.search(text):
        raise _malformed()
    return Record(number, text), message


def lookup_text(record: Record) -> bytes:
    """The record as the answer to a lookup begins with it; a signed tree head follows."""
    return f"{record.number}\n{record.text}\n".encode()


def inclusion_indexes(record: Record, tree: Tree) -> list[int]:
    """What ``check_included`` looks up: nothing, when the tree ends before the record."""
    return [stored_hash_index(0, record.number)] if record.number < tree.size else []


def check_included(record: Record, tree: Tree, hashes: Hashes) -> None:
    """Raise ``VerificationFailed`` unless the tree, whose proven hashes are given, has this record at its place."""
    if record.number >= tree.size:
        raise VerificationFailed(f"cannot validate record {record.number} in tree of size {tree.size}")
    if hashes[stored_hash_index(0, record.number)] != record_hash(record.text.encode()):
        raise VerificationFailed("cannot authenticate record data in server response")


def go_sum_lines(record: Record, version: ModuleVersion, *, go_mod: bool = False) -> list[str]:
    """The lines that a ``go.sum`` has for the zip of the version, or for its ``go.mod``."""
    prefix = f"{version.path} {_of(version, go_mod)} "
    return [line for line in record.text.split("\n") if line.startswith(prefix)]


def check_sum(record: Record, version: ModuleVersion, h1: str, database: str, *, go_mod: bool = False) -> None:
    """Return when the record has this ``h1:`` for the zip of the version, or for its ``go.mod``.

    Else raise ``VerificationFailed`` with Go's words, in which ``database`` is the name that the record comes from.
    """
    noun = "go.mod" if go_mod else "module"
    for line in go_sum_lines(record, version, go_mod=go_mod):
        found = line.split(" ", 2)[2]
        if found == h1:
            return
        if found.startswith("h1:"):
            sums = f"\tdownloaded: {h1}\n\t{database}: {found}"
            raise VerificationFailed(f"{version}: verifying {noun}: checksum mismatch\n{sums}{_MISMATCH}")
    raise VerificationFailed(f"{version}: verifying {noun}: checksum missing from sumdb response{_ABSENT}")


def _of(version: ModuleVersion, go_mod: bool) -> str:
    return f"{version.version}/go.mod" if go_mod else version.version


def _malformed() -> VerificationFailed:
    return VerificationFailed("malformed record data")
