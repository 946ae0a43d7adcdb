"""The page of what is being fetched now."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from athensd.doors.door import Doorkeeper, Keys
from athensd.doors.rules import parse_rules
from athensd.steps import Step
from athensd.web.html.now import MOST, Fetch, duration, fetches
from tests.web.fakes import Daemon, at_once
from tests.web.test_html import page

M = {"module": "a.test/m", "version": "v1.0.0"}


def opened(name: str, ago: float = 0.0, **facts: object) -> Step:
    """A step that began so many seconds before 100."""
    step = Step(name, facts)
    step.began = 100 - ago
    return step


@pytest.mark.parametrize(
    ("inner", "stage"),
    [
        ([], "begins"),
        ([opened("queue", origin="up.test", **M, kind="zip")], "waits for its turn at up.test"),
        ([opened("queue", origin="up.test", **M, kind="mod")], "begins"),
        ([opened("origin.fetch", origin="up.test", **M, kind="zip"), opened("http")], "comes from up.test"),
        ([opened("origin.fetch", origin="direct", **M, kind="zip"), opened("go", **M)], "the go command works on it"),
        ([opened("verify", **M)], "is verified"),
        ([opened("sumdb", database="sum.test", kind="lookup", **M)], "is looked up in sum.test"),
        ([opened("storage.put", kind="ziphash", **M)], "is stored"),
        ([opened("verify", module="a.test/m", version="v1.1.0")], "begins"),
    ],
)
def test_what_is_done(inner: list[Step], stage: str) -> None:
    """A fetch is as far as the last step that was begun for it, and for nothing else."""
    asked = [opened("flight", key="fetch a.test/m@v1.0.0 zip") for _ in range(3)]
    other = opened("flight", key="fetch a.test/m@v1.0.0 mod")
    fetch = opened("fetch", 7, **M, kind="zip", bytes=0)
    assert fetches([*asked, other, fetch, *inner], 100) == [Fetch("a.test/m", "v1.0.0", "zip", 7, stage, 3)]


def test_questions() -> None:
    """Lists and queries are fetched too; so is what is not stored, and what another instance may be fetching."""
    steps = [
        opened("queue", origin="up.test", module="a.test/m"),
        opened("origin.list", origin="up.test", module="b.test/m"),
        opened("origin.resolve", origin="up.test", module="c.test/m", version="main"),
        opened("pass", **M, kind="mod"),
        opened("queue", origin="direct"),
        opened("flight", key="fetch d.test/m@v1.0.0 zip"),
        opened("lease", key="fetch d.test/m@v1.0.0 zip"),
        opened("lease", key="something else"),
        opened("request"),
    ]
    assert fetches(steps, 100) == [
        Fetch("a.test/m", "", "list", 0, "waits for its turn at up.test"),
        Fetch("b.test/m", "", "list", 0, "asks up.test"),
        Fetch("c.test/m", "main", "query", 0, "asks up.test"),
        Fetch("a.test/m", "v1.0.0", "mod", 0, "begins"),
        Fetch("d.test/m", "v1.0.0", "zip", 0, "waits for other instances", 1),
    ]


@pytest.mark.parametrize(("seconds", "text"), [(-0.1, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7260, "121 min 0 s")])
def test_durations(seconds: float, text: str) -> None:
    """Seconds matter for hours."""
    assert duration(seconds) == text


def fetching(daemon: Daemon, count: int) -> None:
    """So many fetches, one a second."""
    now = time.perf_counter()
    steps = [
        Step("fetch", {"module": f"a.test/m{number}", "version": "v1.0.0", "kind": "zip"}) for number in range(count)
    ]
    for number, step in enumerate(steps):
        step.began = now - number
    daemon.pages._under_way = lambda: steps
    daemon.pages._now = lambda: datetime(2026, 1, 31, 12, 0, 30, 500_000, tzinfo=UTC)


def test_the_page(daemon: Daemon) -> None:
    """Each fetch with its file, how long it takes and since when; the one that takes longest comes first."""
    assert "Nothing is being fetched." in page(daemon, "/now").text
    fetching(daemon, 3)
    text = page(daemon, "/now").text
    assert "a.test/m2@v1.0.0 zipbegins, 2 s so far (since 12:00:28 UTC)a.test/m1@v1.0.0" in text
    assert "3 under way" in page(daemon, "/").text


def test_it_comes_anew_where_that_is_wanted(daemon: Daemon) -> None:
    """Whoever reads slowly is not disturbed: only with ``refresh`` the page comes again by itself."""
    assert page(daemon, "/now").all("meta", "http-equiv") == []
    again = page(daemon, "/now?refresh=1")
    assert again.all("meta", "http-equiv") == ["refresh"]
    assert "5" in again.all("meta", "content")


def test_many(daemon: Daemon) -> None:
    """A crowd makes no heavy page."""
    fetching(daemon, MOST + 5)
    assert "5 more are not shown." in page(daemon, "/now").text


def test_who_sees_what(daemon: Daemon) -> None:
    """A module that one may not have is not even counted."""
    fetching(daemon, 3)
    access = parse_rules("hide * a.test/m1\nallow anonymous *", "rules")
    daemon.site.door = Doorkeeper(Keys(closed=True, access=access), daemon.clock.seconds, at_once)
    text = page(daemon, "/now").text
    assert "a.test/m2" in text
    assert "a.test/m1" not in text
    assert "2 under way" in page(daemon, "/").text
