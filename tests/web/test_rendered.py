"""Answers at hand: how many, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from athensd.web.rendered import (
    AGE,
    DATE,
    ID,
    MOST_FILES,
    OVERHEAD,
    Rendered,
    RenderedAnswers,
    render_body,
    render_head,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answer(module: str = "m", size: int = 0, until: float = 60, **more: object) -> Rendered:
    facts = {**dict.fromkeys(("path", "status", "version", "bytes", "cache")), "module": module}
    return Rendered(b"", bytes(size), facts, until, **more)  # type: ignore[arg-type]


def test_head_and_body() -> None:
    """What differs has room, and nothing else is taken for room."""
    headers = [(b"Date", [b"now"]), (b"ETag", [b"100%", b"%(id)b"]), (b"Age", [b"3"]), (b"Athens-Request-ID", [b"x"])]
    head = render_head(b"200 100%", headers)
    tail = [b"\r\nAthens-Request-ID: ", ID, b"\r\n\r\n"]
    lines = [b"HTTP/1.1 200 100%%\r\nDate: ", DATE, b"\r\nETag: 100%%\r\nETag: %%(id)b\r\nAge: ", AGE, *tail]
    assert head == b"".join(lines)
    assert head % {b"date": b"D", b"age": b"A", b"id": b"I"} == (
        b"HTTP/1.1 200 100%\r\nDate: D\r\nETag: 100%\r\nETag: %(id)b\r\nAge: A\r\nAthens-Request-ID: I\r\n\r\n"
    )
    assert render_body(b"50% x\nrequest id: x\n", b"x") % {b"id": b"I"} == b"50% x\nrequest id: I\n"
    assert render_body(b"50%", b"x") % {b"id": b"I"} == b"50%"


def test_how_long(clock: Clock) -> None:
    """An answer is given before its time is over, and not when it is."""
    answers = RenderedAnswers(10 * OVERHEAD, clock.seconds)
    first = answer()
    answers.keep(b"/a", first)
    clock.advance(59.9)
    assert answers.get(b"/a") is first
    clock.advance(0.1)
    assert answers.get(b"/a") is None
    assert answers.bytes == 0


def test_how_many(clock: Clock) -> None:
    """Never more bytes than there is room for; those asked for last stay; one too large for it all is not kept."""
    answers = RenderedAnswers(3 * OVERHEAD + 30, clock.seconds)
    for path in (b"/a", b"/b", b"/c"):
        answers.keep(path, answer(size=10))
    assert answers.get(b"/a")
    answers.keep(b"/d", answer(size=10))
    assert [path for path in (b"/a", b"/b", b"/c", b"/d") if answers.get(path)] == [b"/a", b"/c", b"/d"]
    answers.keep(b"/d", answer(size=10))
    assert answers.bytes == 3 * OVERHEAD + 30
    answers.keep(b"/large", answer(size=4 * OVERHEAD))
    assert answers.bytes == 0


def test_files(clock: Clock, tmp_path: Path) -> None:
    """So many files are open at most, and one that is dropped can still be sent by whoever sends it."""
    answers = RenderedAnswers(10 * MOST_FILES * OVERHEAD, clock.seconds)
    (tmp_path / "file").write_bytes(b"x")
    files = [(tmp_path / "file").open("rb") for _ in range(MOST_FILES + 1)]
    for number, file in enumerate(files):
        answers.keep(b"/%d" % number, answer(file=file, length=1))
    assert answers.get(b"/0") is None
    assert answers.get(b"/1")
    assert not files[0].closed
    for file in files:
        file.close()


def test_forgetting(clock: Clock) -> None:
    """All of one module, or all; and each is a change."""
    answers = RenderedAnswers(10 * OVERHEAD, clock.seconds)
    for path, module in ((b"/a", "a"), (b"/a/2", "a"), (b"/b", "b")):
        answers.keep(path, answer(module))
    answers.forget("a")
    answers.forget("never")
    assert [path for path in (b"/a", b"/a/2", b"/b") if answers.get(path)] == [b"/b"]
    answers.clear()
    assert answers.get(b"/b") is None
    assert (answers.changes, answers.bytes) == (3, 0)
