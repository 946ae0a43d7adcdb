"""Signed tree heads, and whether they tell one story."""

from __future__ import annotations

import pytest

from athensd.errors import VerificationFailed
from athensd.sumdb.head import NO_HEAD, Head, check_timeline, open_head, timeline_indexes
from athensd.sumdb.note import parse_verifier
from athensd.sumdb.tile import tiles_needed
from athensd.sumdb.tlog import tree_hash_indexes
from tests.rig.sumdb import Database, Signer

VERIFIER = parse_verifier(Signer().verifier_key)


@pytest.fixture(scope="module")
def log() -> Database:
    log = Database()
    log.fill(600)
    return log


def head_of(log: Database, size: int) -> Head:
    return open_head(log.head(size), VERIFIER)


def proven(log: Database, older: Head, newer: Head) -> dict[int, bytes]:
    return {index: log.hashes[index] for index in timeline_indexes(older, newer)}


def test_a_head_is_read_with_its_note(log: Database) -> None:
    """A head has the tree, and the note just as it was signed: that is what is kept."""
    head = head_of(log, 500)
    assert (head.tree.size, head.message) == (500, log.head(500))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"<html>", "malformed note"),
        (Signer(seed=2).sign("go.sum database tree\n"), "note has no verifiable signatures"),
        (Signer().sign("something else\n"), "malformed tree note"),
        (Signer().sign("a\n").replace(b"a\n", b"b\n", 1), "invalid signature for key"),
    ],
)
def test_other_heads_are_refused(message: bytes, reason: str) -> None:
    """What is no signed tree head is refused with Go's words; what was sent is not repeated."""
    with pytest.raises(VerificationFailed, match=f"^reading tree note: {reason}"):
        open_head(message, VERIFIER)


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 600), (256, 257), (599, 600), (600, 600), (300, 512)])
def test_a_log_that_only_grew_is_one_story(log: Database, old: int, new: int) -> None:
    """An older head of the same log is accepted, and so is the same head again."""
    older, newer = head_of(log, old), head_of(log, new)
    check_timeline(older, newer, proven(log, older, newer))


def test_the_first_head_has_nothing_to_agree_with(log: Database) -> None:
    """Where no head has been seen, any is accepted, and no hash is looked up."""
    assert timeline_indexes(NO_HEAD, head_of(log, 600)) == []
    check_timeline(NO_HEAD, head_of(log, 600), {})


@pytest.mark.parametrize(("old", "new"), [(300, 600), (400, 400), (1, 2), (257, 258)])
def test_a_fork_is_reported_with_its_proof(log: Database, old: int, new: int) -> None:
    """Two heads of logs that differ in one record: Go's report, with both notes and the proof of it."""
    fork = log.fork(0, "another text\n")
    older, newer = head_of(log, old), head_of(fork, new)
    with pytest.raises(VerificationFailed) as caught:
        check_timeline(older, newer, proven(fork, older, newer))
    report = str(caught.value)
    assert report.startswith("SECURITY ERROR\ngo.sum database server misbehavior detected!\n\nold database:\n\t")
    for head in (older, newer):
        assert head.message.decode().replace("\n", "\n\t") in report
    assert "\nproof of misbehavior:\n\t" in report


def test_a_timeline_takes_no_tiles_of_its_own(log: Database) -> None:
    """The proof for a report is made of the tiles that the two hashes take."""
    older, newer = head_of(log, 300), head_of(log, 600)
    least = tiles_needed(600, tree_hash_indexes(300))
    assert set(tiles_needed(600, timeline_indexes(older, newer))) == set(least)


def test_the_older_head_comes_first(log: Database) -> None:
    """Heads in the wrong order are refused as a value."""
    with pytest.raises(ValueError, match="invalid inputs"):
        timeline_indexes(head_of(log, 600), head_of(log, 300))
