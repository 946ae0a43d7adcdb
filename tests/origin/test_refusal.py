"""What an upstream's refusal means, as tables."""

from __future__ import annotations

import pytest

from athensd.errors import AthensError, Forbidden, Gone, NotFound, Overloaded, TimedOut, UpstreamFailed
from athensd.origin.refusal import CHARACTERS, LINES, explanation, refusal


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, NotFound),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (405, UpstreamFailed),
        (408, TimedOut),
        (410, Gone),
        (416, UpstreamFailed),
        (418, UpstreamFailed),
        (429, Overloaded),
        (451, UpstreamFailed),
        (500, UpstreamFailed),
        (501, UpstreamFailed),
        (502, UpstreamFailed),
        (503, UpstreamFailed),
        (504, TimedOut),
        (204, UpstreamFailed),
        (302, UpstreamFailed),
    ],
)
def test_every_status_is_one_word(status: int, word: type[AthensError]) -> None:
    """Only 400, 404 and 410 mean that something is not there; whatever is in doubt is a failure."""
    error = refusal(status, "the reason", "example.test/m@v1.0.0 info", "proxy.test")
    assert type(error) is word
    assert str(error).startswith("example.test/m@v1.0.0 info: ")
    assert "proxy.test" in str(error)
    assert str(error).endswith(": the reason")


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, None, 5),
        (429, "", 5),
        (429, "17", 17),
        (429, " 17 ", 17),
        (503, "17", 17),
        (429, "0", 1),
        (429, "-1", 5),
        (429, "99999999", 3600),
        (429, "9" * 5000, 3600),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", 5),
        (429, "²", 5),
    ],
)
def test_busy_says_when_to_come_again(status: int, retry_after: str | None, seconds: int) -> None:
    """Retry-After is taken over between a second and an hour; a date or nonsense is five seconds."""
    error = refusal(status, "", "m", "proxy.test", retry_after)
    assert isinstance(error, Overloaded)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("text/plain", b"not found: m@v1: unknown revision\n", "not found: m@v1: unknown revision"),
        ("text/plain; charset=utf-8", "größer\n".encode(), "größer"),
        ("TEXT/PLAIN;charset=UTF-8", b"x", "x"),
        ("text/plain", b"  a \r\n b\r\n", "a\nb"),
        ("text/plain", b"", ""),
        ("text/html", b"<h1>Not Found</h1>", ""),
        ("application/json", b'{"error":"x"}', ""),
        ("", b"x", ""),
        ("text/plain-ish", b"x", ""),
        ("text/plain", b"\x1b[31mred", ""),
        ("text/plain", b"PK\x03\x04\x00", ""),
        ("text/plain", b"a\xffb", "a\ufffdb"),
    ],
)
def test_only_plain_text_is_shown(content_type: str, body: bytes, shown: str) -> None:
    """Pages, JSON, and whatever a terminal should not see count as no explanation."""
    assert explanation(content_type, body) == shown


def test_an_explanation_is_short() -> None:
    """Of a long text only the first lines and characters are shown."""
    shown = explanation("text/plain", b"\n".join([b"word " * 30] * 50))
    assert len(shown) <= CHARACTERS
    assert shown.count("\n") < LINES
