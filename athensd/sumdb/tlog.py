"""The log behind a checksum database: a tree of hashes, of which each version begins with the version before it.

The rules are those of ``golang.org/x/mod/sumdb/tlog`` and RFC 6962.  The hashes of complete subtrees are numbered in
the order in which they become known: such a number is a *stored hash index*.  Functions that calculate take a mapping
from these to hashes, and each has one beside it that tells which of them it will look up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.sumdb.note import decode_base64

HASH_SIZE = 32
EMPTY_HASH = hashlib.sha256().digest()
_TREE = re.compile(r"go\.sum database tree\n([0-9]+)\n([^\n]*)\n")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")

Hashes = Mapping[int, bytes]


@frozen
class Tree:
    """A tree of ``size`` records, and its hash."""

    size: int
    hash: bytes


def parse_tree(text: str) -> Tree:
    """Read the text of a database's signed note; further lines are for readers of the future.

    Raises ``VerificationFailed`` when it describes no tree.
    """
    found = _TREE.match(text)
    size = parse_number(found[1]) if found else None
    tree_hash = decode_base64(found[2]) if found else None
    if size is None or tree_hash is None or len(tree_hash) != HASH_SIZE:
        raise VerificationFailed("malformed tree note")
    return Tree(size, tree_hash)


def parse_number(text: str) -> int | None:
    """A number of records as databases write it, below 2**63; ``None`` for other text."""
    number = int(text) if _NUMBER.fullmatch(text) else 1 << 63
    return number if number < 1 << 63 else None


def record_hash(data: bytes) -> bytes:
    """The hash of a record, a leaf of the tree."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def stored_hash_index(level: int, n: int) -> int:
    """The stored hash index of the ``n``-th complete subtree of ``2**level`` records.

    For level 0 this is also how many hashes a tree of ``n`` records has stored.
    """
    last = ((n + 1) << level) - 1  # The record that completes the subtree.
    return 2 * last - last.bit_count() + level


def split_stored_hash_index(index: int) -> tuple[int, int]:
    """The level and the number of the subtree with this stored hash index."""
    last = index // 2
    while (following := stored_hash_index(0, last + 1)) <= index:
        last += 1
    level = index - stored_hash_index(0, last)
    assert index < following
    return level, last >> level


def tree_hash_indexes(size: int) -> list[int]:
    """What ``tree_hash`` looks up."""
    return _range_indexes(0, size)


def tree_hash(size: int, hashes: Hashes) -> bytes:
    """The hash that a tree of ``size`` records has."""
    return _range_hash(0, size, hashes) if size else EMPTY_HASH


def record_proof_indexes(size: int, n: int) -> list[int]:
    """What ``record_proof`` looks up."""
    return [index for part in _record_proof_ranges(size, n) for index in _range_indexes(*part)]


def record_proof(size: int, n: int, hashes: Hashes) -> list[bytes]:
    """The proof that a tree of ``size`` records has a record ``n`` (``tlog.ProveRecord``).

    Raises ``ValueError`` unless ``0 <= n < size``.
    """
    return [_range_hash(*part, hashes) for part in _record_proof_ranges(size, n)]


def check_record_proof(proof: Sequence[bytes], tree: Tree, n: int, leaf: bytes) -> None:
    """Raise ``VerificationFailed`` unless this proves that record ``n`` of the tree has the hash ``leaf``."""
    if not 0 <= n < tree.size:
        raise VerificationFailed("tlog: invalid inputs in CheckRecord")
    ranges = _record_proof_ranges(tree.size, n)
    if len(proof) != len(ranges):
        raise _proof_failed()
    found = leaf
    for (low, _), beside in zip(ranges, proof, strict=True):
        found = node_hash(beside, found) if low < n else node_hash(found, beside)
    if found != tree.hash:
        raise _proof_failed()


def tree_proof_indexes(size: int, older: int) -> list[int]:
    """What ``tree_proof`` looks up."""
    return [index for part in _tree_proof_ranges(size, older) for index in _range_indexes(*part)]


def tree_proof(size: int, older: int, hashes: Hashes) -> list[bytes]:
    """The proof that a tree of ``size`` records begins with the tree of ``older`` records (``tlog.ProveTree``).

    Raises ``ValueError`` unless ``0 < older <= size``.
    """
    return [_range_hash(*part, hashes) for part in _tree_proof_ranges(size, older)]


def check_tree_proof(proof: Sequence[bytes], tree: Tree, older: Tree) -> None:
    """Raise ``VerificationFailed`` unless this proves that the tree begins with the ``older`` one."""
    if not 0 < older.size <= tree.size:
        raise VerificationFailed("tlog: invalid inputs in CheckTree")
    ranges = _tree_proof_ranges(tree.size, older.size)
    if len(proof) != len(ranges):
        raise _proof_failed()
    was = now = older.hash
    for (_, high), given in zip(ranges, proof, strict=True):
        if high == older.size:
            was = now = given
        elif high < older.size:
            was, now = node_hash(given, was), node_hash(given, now)
        else:
            now = node_hash(now, given)
    if (was, now) != (older.hash, tree.hash):
        raise _proof_failed()


_Range = tuple[int, int]  # Records, from the first up to but without the second.


def _record_proof_ranges(size: int, n: int) -> list[_Range]:
    """The subtrees whose hashes are a record's proof: those beside its way up to the root, lowest first."""
    if not 0 <= n < size:
        raise ValueError("tlog: invalid inputs in ProveRecord")
    return _descend(size, n, n)[1]


def _tree_proof_ranges(size: int, older: int) -> list[_Range]:
    """The subtrees whose hashes are a tree's proof: the last one of the older tree, and those beside its way up."""
    if not 0 < older <= size:
        raise ValueError("tlog: invalid inputs in ProveTree")
    last, beside = _descend(size, older - 1, 0)
    # Whoever checks knows the last one's hash when it is the whole of the older tree.
    return beside if last == (0, older) else [last, *beside]


def _descend(size: int, n: int, lowest: int) -> tuple[_Range, list[_Range]]:
    """Go from the root down to the subtree that ends with record ``n`` and has none before record ``lowest``.

    Returns this one and those that were left to the side, the lowest first.
    """
    low, high, beside = 0, size, list[_Range]()
    while high != n + 1 or low < lowest:
        middle = low + (1 << ((high - low - 1).bit_length() - 1))  # The left side is the largest power of two.
        if n < middle:
            beside.append((middle, high))
            high = middle
        else:
            beside.append((low, middle))
            low = middle
    return (low, high), beside[::-1]


def _range_indexes(low: int, high: int) -> list[int]:
    """The stored hashes that the hash of a subtree is made of, from left to right, as it may be incomplete."""
    indexes = []
    while low < high:
        level = (high - low).bit_length() - 1
        indexes.append(stored_hash_index(level, low >> level))
        low += 1 << level
    return indexes


def _range_hash(low: int, high: int, hashes: Hashes) -> bytes:
    *left, found = [hashes[index] for index in _range_indexes(low, high)]
    for beside in reversed(left):
        found = node_hash(beside, found)
    return found


def _proof_failed() -> VerificationFailed:
    return VerificationFailed("invalid transparency proof")
