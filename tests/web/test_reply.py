"""How errors become HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from athensd import errors
from athensd.web.reply import MAX_BYTES, MAX_LINES, STATUS, error_body, kept_by, status_of


def words(root: type[errors.AthensError] = errors.AthensError) -> Iterator[type[errors.AthensError]]:
    """The vocabulary; a room may have a finer word for itself, which is answered as the one that it is made of."""
    for word in root.__subclasses__():
        if word.__module__ == errors.__name__:
            yield word
            yield from words(word)


@pytest.mark.parametrize("word", sorted(words(), key=lambda word: word.__name__))
def test_every_word_has_a_status(word: type[errors.AthensError]) -> None:
    """Each word is an error or a redirection of HTTP, and none but "not there" may be remembered by others."""
    status, caching = status_of(word("why"))
    assert 300 <= status < 600
    assert (caching != "no-store") == (status in {404, 410}) == issubclass(word, errors.NotFound)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequest(""), 400),
        (errors.NotFound(""), 404),
        (errors.InvalidPath(""), 404),
        (errors.Gone(""), 410),
        (errors.Forbidden(""), 403),
        (errors.Redirected("https://x.test"), 307),
        (errors.Conflict(""), 409),
        (errors.VerificationFailed(""), 502),
        (errors.Mismatch(""), 403),
        (errors.UpstreamFailed(""), 502),
        (errors.TimedOut(""), 504),
        (errors.Overloaded(""), 503),
        (errors.StorageFailed(""), 500),
        (errors.Unsupported(""), 501),
    ],
)
def test_the_statuses(error: errors.AthensError, status: int) -> None:
    """Certain absence is 404 or 410, and every doubt is another status, at which a go command stops."""
    assert status_of(error)[0] == status


def test_the_table_has_no_words_of_its_own() -> None:
    """Every row of the status table is a word of the vocabulary."""
    assert set(STATUS) <= set(words())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("why", "why"),
        ("why\nand what to do", "why\nand what to do"),
        ("\n\nwhy\n\n \t\nthen\n", "why\nthen"),
        ("  why  \r\nthen\r", "why  ?\nthen?"),
        ("\x1b[31mred\x00\x7f", "?[31mred??"),
        ("a\u2028b\u200bc\ud800d", "a?b?c?d"),
        ("naïve 模块", "naïve 模块"),
        ("\n".join("123456789"), "\n".join("1234567")),
    ],
)
def test_only_what_the_go_command_shows_is_sent(text: str, shown: str) -> None:
    """Printable lines, none blank, the cause first and the request id last."""
    assert error_body(text, "id-1").decode() == f"{shown}\nrequest id: id-1\n"


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n"])
def test_an_error_without_words_is_an_id(text: str) -> None:
    """There is no blank first line: the go command would stop reading at it."""
    assert error_body(text, "id-1") == b"request id: id-1\n"


@pytest.mark.parametrize("character", ["a", "é", "模", "😀"])
@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("identity", ["x", "x" * 64])
def test_a_long_text_is_cut_between_characters(character: str, offset: int, identity: str) -> None:
    """However long the text and wherever the cut falls, at most 648 bytes of whole characters and the id remain."""
    body = error_body("a" * offset + character * 1000, identity)
    assert MAX_BYTES - 4 <= len(body) <= MAX_BYTES
    cause, last, end = body.decode().split("\n")
    assert set(cause) <= {"a", character}
    assert (last, end) == (f"request id: {identity}", "")


@pytest.mark.parametrize("first", range(MAX_BYTES - 60, MAX_BYTES))
def test_a_cut_leaves_no_blank_line(first: int) -> None:
    """Where the cut falls right behind a line's end, that end goes too."""
    body = error_body("a" * first + "\n" + "b b " * 20, "id-1")
    assert len(body) <= MAX_BYTES
    assert all(line.strip() for line in body.decode().removesuffix("\n").split("\n"))


def test_many_long_lines_stay_within_both_bounds() -> None:
    """Eight lines and 648 bytes hold together."""
    body = error_body("\n".join(["word " * 40] * 20), "x" * 64)
    assert len(body) <= MAX_BYTES
    assert body.count(b"\n") <= MAX_LINES


@pytest.mark.parametrize(
    ("caching", "private", "kept"),
    [
        ("public, max-age=60", False, "public, max-age=60"),
        ("public, max-age=60", True, "private, max-age=60"),
        ("no-store", True, "no-store"),
    ],
)
def test_a_shared_cache_keeps_nothing_private(caching: str, private: bool, kept: str) -> None:
    """A private module may be kept by its client alone."""
    assert kept_by(caching, private) == kept
