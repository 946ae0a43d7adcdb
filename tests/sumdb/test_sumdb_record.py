"""What a database says of one version."""

from __future__ import annotations

import pytest

from athensd.errors import InvalidPath, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.sumdb.record import (
    Record,
    check_included,
    check_sum,
    go_sum_lines,
    inclusion_indexes,
    lookup_path,
    parse_lookup,
)
from athensd.sumdb.tlog import Tree, stored_hash_index, tree_hash
from tests.rig.sumdb import Database

VERSION = ModuleVersion("example.com/m", "v1.2.3")
LINES = ["example.com/m v1.2.3 h1:zip=", "example.com/m v1.2.3/go.mod h1:mod="]
RECORD = Record(7, "".join(f"{line}\n" for line in LINES))


def test_a_lookup_has_its_own_path() -> None:
    """Path and version are escaped; what can have no record is refused."""
    version = ModuleVersion("github.com/BurntSushi/toml", "v1.0.0-RC1")
    assert lookup_path(version) == "lookup/github.com/!burnt!sushi/toml@v1.0.0-!r!c1"
    with pytest.raises(InvalidPath):
        lookup_path(ModuleVersion("github.com/a//b", "v1.0.0"))


def test_a_lookup_is_read() -> None:
    """The answer of a database is its record, and behind it the signed head just as it is."""
    log = Database()
    log.fill(7)
    log.add(VERSION.path, VERSION.version, "h1:zip=", "h1:mod=")
    answer = log.lookup(VERSION.path, VERSION.version)
    assert answer is not None
    assert parse_lookup(answer) == (RECORD, log.head())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>\n\n</html>",
        b"7",
        b"7\n",
        b"7\na",
        b"7\na\n",
        b"x\na\n\n",
        b"-1\na\n\n",
        b"07\na\n\n",
        b"\na\n\n",
        b"9223372036854775808\na\n\n",
        b"7\na\tb\n\n",
        b"7\na\r\n\r\n",
        b"7\n\xff\n\n",
        b"\xff\na\n\n",
    ],
)
def test_other_answers_are_refused(data: bytes) -> None:
    """What is no record is refused with Go's words."""
    with pytest.raises(VerificationFailed, match=r"^malformed record data$"):
        parse_lookup(data)


def test_a_record_is_in_its_tree() -> None:
    """The hash at the record's place must be the record's; a tree that ends before it does not have it."""
    log = Database()
    log.fill(7)
    log.add_text(RECORD.text)
    tree = Tree(8, tree_hash(8, log.hashes))
    assert inclusion_indexes(RECORD, tree) == [stored_hash_index(0, 7)]
    check_included(RECORD, tree, log.hashes)
    for text in (RECORD.text.replace("zip", "zap"), RECORD.text + "\n"):
        with pytest.raises(VerificationFailed, match=r"^cannot authenticate record data in server response$"):
            check_included(Record(7, text), tree, log.hashes)
    assert inclusion_indexes(Record(8, ""), tree) == []
    with pytest.raises(VerificationFailed, match=r"^cannot validate record 8 in tree of size 8$"):
        check_included(Record(8, ""), tree, log.hashes)


def test_lines_for_go_sum() -> None:
    """The lines are those of this version, of its zip or of its go.mod."""
    assert go_sum_lines(RECORD, VERSION) == LINES[:1]
    assert go_sum_lines(RECORD, VERSION, go_mod=True) == LINES[1:]
    assert go_sum_lines(RECORD, ModuleVersion("example.com/m", "v1.2")) == []


@pytest.mark.parametrize(("go_mod", "h1"), [(False, "h1:zip="), (True, "h1:mod=")])
def test_the_right_sum_passes(go_mod: bool, h1: str) -> None:
    """What was fetched is what the database knows; sums of other kinds beside it do not matter."""
    check_sum(RECORD, VERSION, h1, "sum.example.test", go_mod=go_mod)
    more = Record(7, "".join(f"{line.replace('h1:', 'h9:')}\n" for line in LINES) + RECORD.text)
    check_sum(more, VERSION, h1, "sum.example.test", go_mod=go_mod)


@pytest.mark.parametrize(("go_mod", "noun", "known"), [(False, "module", "h1:zip="), (True, "go.mod", "h1:mod=")])
def test_a_wrong_sum_is_told_in_words_of_go(go_mod: bool, noun: str, known: str) -> None:
    """A mismatch names the version, both sums and the database, and fits what the go command shows of an error."""
    with pytest.raises(VerificationFailed) as caught:
        check_sum(RECORD, VERSION, "h1:else=", "sum.example.test", go_mod=go_mod)
    lines = str(caught.value).split("\n")
    assert lines[:4] == [
        f"example.com/m@v1.2.3: verifying {noun}: checksum mismatch",
        "\tdownloaded: h1:else=",
        f"\tsum.example.test: {known}",
        "SECURITY ERROR",
    ]
    assert len(lines) <= 8
    assert all(lines)


@pytest.mark.parametrize("text", ["", "example.com/m v1.2.3 h9:x=\n", "example.com/m2 v1.2.3 h1:zip=\n", "else\n"])
def test_a_missing_sum_is_a_fault_too(text: str) -> None:
    """A record that does not have the version's sum does not vouch for it."""
    with pytest.raises(VerificationFailed, match=r"verifying module: checksum missing from sumdb response") as caught:
        check_sum(Record(7, text), VERSION, "h1:zip=", "sum.example.test")
    assert "SECURITY ERROR" in str(caught.value)
    assert len(str(caught.value).split("\n")) <= 8


def test_the_sum_is_the_rest_of_the_line() -> None:
    """A line with more behind the sum has another sum."""
    record = Record(7, "example.com/m v1.2.3 h1:other= h1:zip=\n")
    with pytest.raises(VerificationFailed, match="checksum mismatch"):
        check_sum(record, VERSION, "h1:zip=", "sum.example.test")
