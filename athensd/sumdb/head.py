"""Tree heads: what a database has signed about its tree, and whether two of them tell the same story."""

from __future__ import annotations

from base64 import b64encode

from attrs import frozen

from athensd.errors import VerificationFailed
from athensd.sumdb.note import Verifier, open_note
from athensd.sumdb.tlog import (
    EMPTY_HASH,
    Hashes,
    Tree,
    parse_tree,
    tree_hash,
    tree_hash_indexes,
    tree_proof,
    tree_proof_indexes,
)


@frozen
class Head:
    """A tree, and the signed note that says so: as ``/latest`` and the end of each lookup have it."""

    tree: Tree
    message: bytes


NO_HEAD = Head(Tree(0, EMPTY_HASH), b"")


def open_head(message: bytes, verifier: Verifier) -> Head:
    """Read a signed tree head.  Raises ``VerificationFailed`` unless the verifier's key signed it."""
    try:
        return Head(parse_tree(open_note(message, verifier)), message)
    except VerificationFailed as fault:
        raise VerificationFailed(f"reading tree note: {fault}") from None


def timeline_indexes(older: Head, newer: Head) -> list[int]:
    """What ``check_timeline`` looks up in the newer tree; they take no more tiles than its hash does.

    Raises ``ValueError`` when ``older`` is the larger one.
    """
    size = older.tree.size
    return tree_hash_indexes(size) + (tree_proof_indexes(newer.tree.size, size) if size else [])


def check_timeline(older: Head, newer: Head, hashes: Hashes) -> None:
    """Return when the newer tree, whose proven hashes are given, begins with the older one.

    Else raise ``VerificationFailed``: the database, or somebody with its key, tells different people different
    things.  The text is Go's and has all that is needed to prove it.
    """
    size = older.tree.size
    found = tree_hash(size, hashes)
    if found == older.tree.hash:
        return
    proof = tree_proof(newer.tree.size, size, hashes) if size else []
    lines = "".join(f"\n\t{b64encode(beside).decode()}" for beside in [found, *proof])
    raise VerificationFailed(
        "SECURITY ERROR\ngo.sum database server misbehavior detected!\n\n"
        f"old database:\n\t{_indented(older)}\nnew database:\n\t{_indented(newer)}\n"
        f"proof of misbehavior:{lines}"
    )


def _indented(head: Head) -> str:
    return head.message.decode().replace("\n", "\n\t")
