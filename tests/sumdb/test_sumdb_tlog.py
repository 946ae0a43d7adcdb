"""Trees of records and their proofs."""

from __future__ import annotations

import random

import pytest

from athensd.errors import VerificationFailed
from athensd.sumdb.tlog import (
    EMPTY_HASH,
    Tree,
    check_record_proof,
    check_tree_proof,
    parse_number,
    parse_tree,
    record_hash,
    record_proof,
    record_proof_indexes,
    split_stored_hash_index,
    stored_hash_index,
    tree_hash,
    tree_hash_indexes,
    tree_proof,
    tree_proof_indexes,
)
from tests.rig.sumdb import Database

# The trees with which Certificate Transparency (RFC 6962) is tested: the records, and the hash of the first n of them.
RECORDS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
TREES = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.fixture(scope="module")
def log() -> Database:
    """A log whose records are the first forty numbers."""
    log = Database()
    for number in range(40):
        log.add_text(str(number))
    return log


def trees(log: Database) -> list[Tree]:
    """The trees of the log, from the empty one on."""
    return [Tree(size, tree_hash(size, log.hashes)) for size in range(len(log.records) + 1)]


def test_trees_of_certificate_transparency() -> None:
    """The trees that other implementations are tested with have the same hashes here."""
    log = Database()
    for text in RECORDS:
        log.add_text(bytes.fromhex(text).decode())
    assert [tree.hash.hex() for tree in trees(log)] == TREES
    assert EMPTY_HASH.hex() == TREES[0]


def test_stored_hashes_are_numbered_without_gaps(log: Database) -> None:
    """The hashes of all complete subtrees have the numbers from 0 on, and a number says which subtree it is."""
    count = stored_hash_index(0, len(log.records))
    assert sorted(log.hashes) == list(range(count))
    assert all(stored_hash_index(*split_stored_hash_index(index)) == index for index in range(count))
    assert split_stored_hash_index(stored_hash_index(5, 2**50)) == (5, 2**50)


def test_every_proof_is_accepted(log: Database) -> None:
    """Each record of each tree, and each tree within each later one, is proven by the hashes that were asked for."""
    for tree in trees(log):
        for n in range(tree.size):
            hashes = {index: log.hashes[index] for index in record_proof_indexes(tree.size, n)}
            check_record_proof(record_proof(tree.size, n, hashes), tree, n, record_hash(str(n).encode()))
        for older in trees(log)[1 : tree.size + 1]:
            hashes = {index: log.hashes[index] for index in tree_proof_indexes(tree.size, older.size)}
            check_tree_proof(tree_proof(tree.size, older.size, hashes), tree, older)


def test_a_wrong_proof_is_refused(log: Database) -> None:
    """A proof that is too long, too short, changed in a bit, or of something else, proves nothing."""
    rng = random.Random(1)
    tree, older, leaf = trees(log)[37], trees(log)[21], record_hash(b"20")
    for good, check in [
        (record_proof(37, 20, log.hashes), lambda proof: check_record_proof(proof, tree, 20, leaf)),
        (tree_proof(37, 21, log.hashes), lambda proof: check_tree_proof(proof, tree, older)),
    ]:
        changed = [[*good[:at], rng.randbytes(32), *good[at + 1 :]] for at in range(len(good))]
        for proof in ([], good[1:], good[:-1], [*good, good[-1]], good[::-1], *changed):
            with pytest.raises(VerificationFailed, match=r"^invalid transparency proof$"):
                check(proof)
        check(good)
    with pytest.raises(VerificationFailed, match=r"^invalid transparency proof$"):
        check_tree_proof(tree_proof(37, 21, log.hashes), tree, Tree(21, EMPTY_HASH))


def test_a_proof_of_what_cannot_be_is_refused(log: Database) -> None:
    """A tree has no record beyond its end, and no tree began before the first record."""
    tree = trees(log)[5]
    for n in (-1, 5):
        with pytest.raises(VerificationFailed, match="invalid inputs in CheckRecord"):
            check_record_proof([], tree, n, EMPTY_HASH)
        with pytest.raises(ValueError, match="invalid inputs in ProveRecord"):
            record_proof(5, n, log.hashes)
    for older in (0, 6):
        with pytest.raises(VerificationFailed, match="invalid inputs in CheckTree"):
            check_tree_proof([], tree, trees(log)[older])
        with pytest.raises(ValueError, match="invalid inputs in ProveTree"):
            tree_proof(5, older, log.hashes)


def test_few_hashes_make_a_tree() -> None:
    """Of a tree of a hundred million records, at most 27 hashes are looked up."""
    assert len(tree_hash_indexes(99_999_999)) <= 27


@pytest.mark.parametrize("more", ["", "for readers of the future\n"])
def test_a_description_of_a_tree_is_read(log: Database, more: str) -> None:
    """A signed text has the size and the hash, and perhaps more lines."""
    assert parse_tree(log.tree_text(33) + more) == trees(log)[33]


@pytest.mark.parametrize("text", ["", "go.sum database tree\n", "go.sum database tree v2\n1\nx\n", "tree\n1\nx\n"])
def test_other_texts_describe_no_tree(text: str) -> None:
    """A signed text of another kind is refused."""
    with pytest.raises(VerificationFailed, match=r"^malformed tree note$"):
        parse_tree(text)


@pytest.mark.parametrize(
    "change",
    [("33\n", "033\n"), ("33\n", "-1\n"), ("=\n", "\n"), ("=\n", "A\n"), ("=\n", "="), ("33\n", "9" * 19 + "\n")],
)
def test_damaged_descriptions_are_refused(log: Database, change: tuple[str, str]) -> None:
    """A size in another form or too large, and a hash that is no hash, are refused."""
    with pytest.raises(VerificationFailed, match=r"^malformed tree note$"):
        parse_tree(log.tree_text(33).replace(*change))


def test_numbers() -> None:
    """Numbers are decimal, in their shortest form, and below 2**63."""
    assert [parse_number(text) for text in ("0", "7", str(2**63 - 1))] == [0, 7, 2**63 - 1]
    assert {parse_number(text) for text in ("", "00", "+1", "-1", "1_0", "\u0663", str(2**63), "9" * 5000)} == {None}
