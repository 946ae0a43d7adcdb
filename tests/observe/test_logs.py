"""Log lines: their two forms, their levels, and Twisted's events among them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from athensd.observe.logs import LEVELS, TwistedEvents, configure_logs


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leaves structlog as it found it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def written(level: str, format: str) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level, format, stream)
    return stream


def test_json_lines() -> None:
    """Each line is one JSON object with a UTC time, a level, a message and the fields as they are."""
    stream = written("info", "json")
    structlog.get_logger().info("incoming request", **{"http-status": 200, "path": "/ü\n", "none": ""})
    (line,) = stream.getvalue().splitlines()
    entry: dict[str, Any] = json.loads(line)
    when = datetime.fromisoformat(entry.pop("time"))
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert entry == {"level": "info", "msg": "incoming request", "http-status": 200, "path": "/ü\n", "none": ""}


def test_json_of_anything() -> None:
    """A value that JSON does not know is written as text, and is no error."""
    stream = written("info", "json")
    structlog.get_logger().info("x", what=ValueError("why"), bytes=b"\xff", kind=LogLevel.info)
    assert json.loads(stream.getvalue())["what"] == "why"


def test_plain_lines() -> None:
    """A plain line has the time, the level, the message and the fields that say something, and no colours in a file."""
    stream = written("info", "plain")
    structlog.get_logger().warning("incoming request", **{"http-status": 404, "module": "", "cache": "miss"})
    line = stream.getvalue()
    assert re.match(r"\d\d:\d\d:\d\d \[warning +\] incoming request", line)
    assert "http-status=404" in line
    assert "cache=miss" in line
    assert "module" not in line
    assert "\x1b" not in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("format", ["plain", "json"])
@pytest.mark.parametrize("level", LEVELS)
def test_levels(level: str, format: str) -> None:
    """Lines below the level are not written."""
    stream = written(level, format)
    for name in LEVELS:
        getattr(structlog.get_logger(), name)(f"at {name}")
    names = list(LEVELS)
    expected = names[names.index(level) :]
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(expected)
    assert all(f"at {name}" in line for name, line in zip(expected, lines, strict=True))


@pytest.mark.parametrize("format", ["plain", "json"])
def test_what_is_bound_is_in_every_line(format: str) -> None:
    """The request's id, bound once, is in all lines that are written for it."""
    stream = written("info", format)
    with structlog.contextvars.bound_contextvars(**{"request-id": "id-1"}):
        structlog.get_logger().info("one")
        structlog.get_logger().info("two")
    structlog.get_logger().info("three")
    assert ["id-1" in line for line in stream.getvalue().splitlines()] == [True, True, False]


def fail() -> None:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize("format", ["plain", "json"])
def test_tracebacks(format: str) -> None:
    """An exception is written with its traceback; as JSON that is one line."""
    stream = written("info", format)
    try:
        fail()
    except ZeroDivisionError:
        structlog.get_logger().exception("it failed")
    text = stream.getvalue()
    assert "ZeroDivisionError: by nothing" in text
    assert "test_tracebacks" in text
    if format == "json":
        assert json.loads(text)["exception"].startswith("Traceback")


def events(level: str, *logged: LogEvent) -> list[dict[str, Any]]:
    """The JSON lines that Twisted's events make."""
    stream = written(level, "json")
    observer = TwistedEvents()
    for event in logged:
        observer(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def event(
    level: Any = LogLevel.info, namespace: str = "twisted.web", text: str = "{what} happened", **more: Any
) -> LogEvent:
    return {"log_level": level, "log_namespace": namespace, "log_format": text, "what": "it", "log_time": 0.0, **more}


def test_twisteds_routine_is_for_debug() -> None:
    """What Twisted tells at info is told at debug; the start and the end of twistd stay at info."""
    logged = [event(), event(namespace="twisted.application.app._run"), event(LogLevel.debug), event(LogLevel.warn)]
    assert [(line["level"], line["msg"]) for line in events("debug", *logged)] == [
        ("debug", "it happened"),
        ("info", "it happened"),
        ("debug", "it happened"),
        ("warning", "it happened"),
    ]
    assert [line["level"] for line in events("info", *logged)] == ["info", "warning"]


def test_twisteds_failures_are_errors() -> None:
    """A failure that nobody caught is an error with its traceback, whose lines are ours."""
    try:
        fail()
    except ZeroDivisionError:
        failure = Failure()
    (line,) = events("info", event(LogLevel.critical, log_failure=failure, text="Unhandled error"))
    assert (line["level"], line["msg"], line["logger"]) == ("error", "Unhandled error", "twisted")
    assert "ZeroDivisionError: by nothing" in line["exception"]
    assert "test_twisteds_failures_are_errors" in line["exception"]


def test_odd_events() -> None:
    """An event without text, level or namespace, or one that cannot be formatted, is a line and no error."""
    lines = events("debug", {}, event(text="{missing.attribute}"), {"log_format": None}, {"log_level": LogLevel.error})
    assert [line["level"] for line in lines] == ["debug", "debug", "debug", "error"]


def test_twisteds_own_logger() -> None:
    """What comes by way of ``twisted.logger`` is written like what comes from us."""
    stream = written("info", "json")
    Logger(namespace="x", observer=TwistedEvents()).error("{number} broken", number=3)
    assert json.loads(stream.getvalue())["msg"] == "3 broken"


SCRIPT = """
import sys
from twisted.logger import Logger, globalLogBeginner
import structlog
from athensd.observe.logs import TwistedEvents, configure_logs

configure_logs(sys.argv[1], "json")
globalLogBeginner.beginLoggingTo([TwistedEvents()], discardBuffer=True)
structlog.get_logger().info("ours")
print("printed")
print("complained", file=sys.stderr)
Logger(namespace="twisted.application.app").info("theirs")
structlog.get_logger().info("last")
"""


@pytest.mark.parametrize(
    ("level", "expected"),
    [("info", {"ours": 1, "theirs": 1, "last": 1, "complained": 1}), ("debug", {"ours": 1, "printed": 1, "last": 1})],
)
def test_standard_output_is_taken_over(level: str, expected: dict[str, int]) -> None:
    """twistd makes events of all that is written to standard output; our lines go past that, each once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, level], capture_output=True, text=True, timeout=60, check=True)
    messages = [json.loads(line)["msg"] for line in done.stdout.splitlines()]
    assert {text: messages.count(text) for text in expected} == expected
    assert done.stderr == ""
