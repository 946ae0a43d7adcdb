"""One line when something does not arrive any more, one when it does again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from athensd.observe.delivery import Delivery

WHERE = {"exporter": "jaeger", "address": "http://host:1/p", "log_level": "info"}


def at_once(function: Callable[[], object]) -> None:
    function()


def delivery() -> Delivery:
    return Delivery("traces", "jaeger", "http://user:secret@host:1/p?key=secret", at_once)


def test_as_long_as_all_is_well_nothing_is_said() -> None:
    """What arrives is no line, the first time neither."""
    with capture_logs() as lines:
        each = delivery()
        each.arrived()
        each.arrived()
    assert (lines, each.dropped) == ([], 0)


def test_two_lines_for_each_time_that_it_is_away() -> None:
    """However often it fails, one line says why, and one that it is over and how many spans that cost."""
    with capture_logs() as lines:
        each = delivery()
        each.arrived()
        each.failed("refused", 10)
        each.failed("silent", 5)
        each.drop()
        each.drop(2)
        each.arrived()
        each.arrived()
        each.failed("refused")
        each.drop()
        each.arrived()
    assert lines == [
        {"event": "traces are not delivered", "reason": "refused", **WHERE},
        {"event": "traces are delivered again", "dropped": 18, **WHERE},
        {"event": "traces are not delivered", "reason": "refused", **WHERE},
        {"event": "traces are delivered again", "dropped": 1, **WHERE},
    ]
    assert each.dropped == 19


def test_what_did_not_fit_is_counted_and_no_line() -> None:
    """A backend that is there but slow costs spans, and they are counted; it is not away."""
    with capture_logs() as lines:
        each = delivery()
        each.drop()
        each.arrived()
    assert (lines, each.dropped) == ([], 1)


def test_how_it_is() -> None:
    """Whoever asks is told whether anything was sent, and since when nothing arrives."""
    start = datetime(2026, 1, 31, tzinfo=UTC)
    times = iter(start + timedelta(seconds=second) for second in range(10))
    each = Delivery("traces", "jaeger", "host", at_once, lambda: next(times))
    assert (each.name, each.tried, each.away) == ("traces to jaeger", False, None)
    each.failed("refused")
    each.failed("refused")
    assert (each.tried, each.away) == (True, start)
    each.arrived()
    assert (each.tried, each.away) == (True, None)
    each.failed("refused")
    assert each.away == start + timedelta(seconds=1)


def test_lines_are_written_by_the_reactor() -> None:
    """What another thread finds out is handed over, in the order in which it came about."""
    handed: list[Callable[[], object]] = []
    with capture_logs() as lines:
        each = Delivery("metrics", "otlp", "host", handed.append)
        each.failed("refused")
        each.arrived()
        assert lines == []
        for call in handed:
            call()
    assert [line["event"] for line in lines] == ["metrics are not delivered", "metrics are delivered again"]


def test_many_threads() -> None:
    """Failures of many threads at once are one line, and each lost span is counted."""

    def fail() -> None:
        ready.wait()
        for _ in range(1000):
            each.failed("refused", 1)
            each.drop()

    ready = threading.Barrier(4)
    handed: list[Callable[[], object]] = []
    each = Delivery("traces", "otlp", "host", handed.append)
    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(handed), each.dropped) == (1, 8000)
