"""Log lines: their two forms, their levels, and Twisted's events among them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

from athensd.observe.logs import LEVELS, TwistedEvents, configure_logs, set_log_level
from athensd.web.access import Alike

REQUEST = {
    "http-method": "GET",
    "http-path": "/github.com/pkg/errors/@v/v0.9.1.zip",
    "http-status": 200,
    "module": "github.com/pkg/errors",
    "version": "v0.9.1",
    "bytes": 17866,
    "ms": 9.54,
    "cache": "miss",
    "client": "10.0.0.1",
    "request-id": "id-1",
}
PLACE = {"trace-id": "a" * 32, "span-id": "b" * 16, "sampled": "1"}


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leaves structlog as it found it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def written(level: str, format: str, **more: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level, format, stream, **more)
    return stream


@pytest.fixture(params=["orjson", "json"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either of the two that may write our JSON."""
    if request.param == "orjson":
        pytest.importorskip("orjson")
    else:
        monkeypatch.setitem(sys.modules, "orjson", None)
    return str(request.param)


def test_json_lines(encoder: str) -> None:
    """Each line is one JSON object with a UTC time, a level, a message and the fields as they are."""
    stream = written("info", "json")
    structlog.get_logger().info("incoming request", **{"http-status": 200, "path": "/ü\n", "none": ""})
    (line,) = stream.getvalue().splitlines()
    entry: dict[str, Any] = json.loads(line)
    when = datetime.fromisoformat(entry.pop("time"))
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert entry == {"level": "info", "msg": "incoming request", "http-status": 200, "path": "/ü\n", "none": ""}


def test_json_of_anything(encoder: str) -> None:
    """A value that JSON does not know is written as text, and is no error."""
    stream = written("info", "json")
    structlog.get_logger().info(
        "x",
        what=ValueError("why"),
        bytes=b"\xff",
        kind=LogLevel.info,
        large=10**30,
        half="\ud800",
        when=datetime(2026, 1, 2, tzinfo=UTC),
    )
    entry = json.loads(stream.getvalue())
    assert (entry["what"], entry["bytes"]) == ("why", "b'\\xff'")
    assert (entry["large"], entry["half"], entry["when"]) == (10**30, "\ud800", "2026-01-02T00:00:00+00:00")


@pytest.mark.parametrize("format", ["plain", "json"])
def test_lines_name_their_trace(format: str) -> None:
    """A line that is written in a step has the ids of its trace and span; another has none."""
    place: dict[str, str] = {}
    stream = written("info", format, trace=lambda: place)
    structlog.get_logger().info("before")
    place.update(PLACE)
    structlog.get_logger().info("within")
    before, within = stream.getvalue().splitlines()
    assert "trace" not in before
    assert "sampled" not in within
    if format == "json":
        entry = json.loads(within)
        assert (entry["trace-id"], entry["span-id"]) == ("a" * 32, "b" * 16)
    else:
        assert within.endswith(f"trace-id={'a' * 32} span-id={'b' * 16}")


def test_plain_lines() -> None:
    """A plain line has the time, the level, the message and the fields that say something, and no colours in a file."""
    stream = written("info", "plain")
    structlog.get_logger().warning("kept the first", module="a.b/c", version="", reason="it was there")
    line = stream.getvalue()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning kept the first module=a.b/c reason='it was there'\n", line
    )


def plain_request(**fields: object) -> str:
    """The plain line of a request, from the method on."""
    stream = written("info", "plain")
    structlog.get_logger().info("incoming request", **{**REQUEST, **fields})
    time_and_level = len("2026-01-02 03:04:05 warning ")
    return stream.getvalue()[time_and_level:].rstrip("\n")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "GET  200 miss       9.5 ms  17.9 kB /github.com/pkg/errors/@v/v0.9.1.zip 10.0.0.1 request-id=id-1"),
        (
            {"http-method": "HEAD", "http-status": 404, "cache": "negative", "ms": 0.31, "bytes": 0, "http-path": "/x"},
            "HEAD 404 negative   0.3 ms      0 B /x 10.0.0.1 request-id=id-1",
        ),
        (
            {"http-status": 499, "cache": "", "ms": 24321.2, "bytes": 52178660, "http-path": "/x", "client-left": True},
            "GET  499            24.3 s  52.2 MB /x 10.0.0.1 client-left=True request-id=id-1",
        ),
    ],
)
def test_the_plain_line_of_a_request(fields: dict[str, object], line: str) -> None:
    """What people look for comes first, in columns; what the path says is not said again; ids come last."""
    assert plain_request(**fields) == line


def test_the_plain_line_of_a_request_fits() -> None:
    """With a path of a usual length all but the ids stands within 120 columns."""
    path = "/github.com/aws/aws-sdk-go-v2/service/s3/@v/v1.58.3.info"
    line, _, _ = plain_request(**{"http-path": path}).partition(" request-id")
    assert len("03:04:05 warning ") + len(line) <= 120


@pytest.mark.parametrize(
    "field", [{"http-path": "/\x1b[31m"}, {"http-method": "\x1b[2J"}, {"client-says": "a\r\nb"}, {"request-id": "\x9b"}]
)
def test_nothing_reaches_a_terminal_that_it_would_obey(field: dict[str, object]) -> None:
    """What a client sends can neither paint nor begin a line."""
    assert plain_request(**field).isprintable()
    stream = written("info", "plain")
    structlog.get_logger().info("said \x1b[31m", exc_info=ValueError("\x1b[31m"))
    assert "\x1b" not in stream.getvalue()


class Terminal(io.StringIO):
    """Text that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    """A terminal gets colours, unless NO_COLOR forbids them, and no date; the text is the same."""
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    configure_logs("info", "plain", stream)
    structlog.get_logger().info("incoming request", **REQUEST)
    line = stream.getvalue()
    assert ("\x1b[32m200\x1b[0m" in line) == coloured
    assert re.sub(r"\x1b\[\d+m", "", line)[len("03:04:05 info    ") :].rstrip("\n") == plain_request()


def test_the_log_file_of_twistd(tmp_path: Path) -> None:
    """In the background lines go to twistd's log file, which is no file as Python has them."""
    file: Any = LogFile.fromFullPath(str(tmp_path / "twistd.log"))
    configure_logs("info", "plain", file)
    structlog.get_logger().info("ü")
    assert (tmp_path / "twistd.log").read_text().endswith(" ü\n")


def test_a_line_is_out_when_it_is_written(tmp_path: Path) -> None:
    """Nothing is kept back that a killed process could not write any more."""
    with (tmp_path / "log").open("w", encoding="ascii") as file:
        configure_logs("info", "json", file)
        structlog.get_logger().info("ü")
        assert json.loads((tmp_path / "log").read_text(encoding="utf-8"))["msg"] == "ü"


def test_a_stream_that_cannot_be_written_harms_nobody() -> None:
    """With a full disk lines are lost, and whoever writes them goes on."""
    with Path("/dev/full").open("w") as full:
        configure_logs("info", "json", full)
        structlog.get_logger().info("lost")
        with suppress(OSError):
            full.close()
    structlog.get_logger().info("lost too")


def test_lines_of_threads_stay_whole(tmp_path: Path) -> None:
    """Lines that are written at the same time do not run into each other."""
    with (tmp_path / "log").open("w") as file:
        configure_logs("info", "json", file)

        def write(number: int) -> None:
            for _ in range(200):
                structlog.get_logger().info("x" * 1000, number=number)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
    lines = (tmp_path / "log").read_text().splitlines()
    assert Counter(json.loads(line)["number"] for line in lines) == dict.fromkeys(range(8), 200)


def test_the_level_can_be_changed() -> None:
    """Also for those who have their logger already."""
    stream = written("info", "json")
    log = structlog.get_logger()
    for level in ("debug", "error", "info"):
        set_log_level(level)
        log.debug(f"debug at {level}")
        log.info(f"info at {level}")
    messages = [json.loads(line)["msg"] for line in stream.getvalue().splitlines()]
    assert messages == ["debug at debug", "info at debug", "info at info"]


def google(level: str, project: str = "my-project", **more: Any) -> dict[str, Any]:
    """A line of this level as Google gets it."""
    stream = written("debug", "plain", cloud_runtime="GCP", google_project=project, trace=lambda: PLACE)
    getattr(structlog.get_logger(), level)("incoming request", **REQUEST, **more)
    entry: dict[str, Any] = json.loads(stream.getvalue())
    return entry


@pytest.mark.parametrize("level", LEVELS)
def test_lines_for_google(level: str, encoder: str) -> None:
    """With Google's names for what it knows, and Athens' for the rest; joined with the trace."""
    entry = google(level)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(entry.pop("timestamp"))) < timedelta(minutes=1)
    assert entry == {
        "severity": level.upper(),
        "message": "incoming request",
        "logging.googleapis.com/trace": f"projects/my-project/traces/{'a' * 32}",
        "logging.googleapis.com/spanId": "b" * 16,
        "logging.googleapis.com/trace_sampled": True,
        **REQUEST,
    }


def test_google_without_a_project() -> None:
    """Then the trace has its bare id."""
    assert google("info", project="")["logging.googleapis.com/trace"] == "a" * 32


def test_errors_for_google() -> None:
    """Error Reporting finds the traceback where it looks first."""
    try:
        fail()
    except ZeroDivisionError as error:
        entry = google("error", exc_info=error)
    assert entry["stack_trace"].startswith("Traceback (most recent call last):")
    assert entry["stack_trace"].endswith("ZeroDivisionError: by nothing")
    assert "exception" not in entry


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


def test_gathered_lines(tmp_path: Path) -> None:
    """Lines of one turn are given to the system together, whoever writes them, in their order; then at once again."""
    later: list[Callable[[], None]] = []
    path = tmp_path / "log"
    with path.open("w") as file:
        made = configure_logs("info", "json", file)
        made.gather(later.append)
        structlog.get_logger().info("first")
        made.access({"event": "second"})
        assert path.read_text() == ""
        assert len(later) == 1
        later.pop()()
        made.access({"event": "third"})
        made.gather(None)
        made.access({"event": "fourth"})
        said = [json.loads(line)["msg"] for line in path.read_text().splitlines()]
    assert said == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("cloud", ["none", "GCP"])
@pytest.mark.parametrize("format", ["plain", "json"])
def test_the_short_way(format: str, cloud: str) -> None:
    """The line of a request is what structlog would make of the same event, and follows the level."""
    same = {"event": "incoming request", "http-method": "GET", "http-path": '/a"b', "http-status": 200}
    own = {"ms": 1.5, "request-id": "x"}
    stream = io.StringIO()
    made = configure_logs("info", format, stream, cloud_runtime=cloud)
    alike = Alike(dict(same))
    made.access({**same, **own})
    made.access(dict(own), alike)
    made.access(dict(own), alike)
    structlog.get_logger().info(**same, **own)
    one, *others = (re.sub(r"\d\d:\d\d:\d\d[^ \"]*", "", line) for line in stream.getvalue().splitlines())
    assert others == [one] * 3
    set_log_level("warning")
    made.access(dict(own), alike)
    assert len(stream.getvalue().splitlines()) == 4


def test_an_end_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """Who is about to end the process does not wait for a stream that takes nothing, nor for whoever writes to it."""
    made = configure_logs("info", "json", (tmp_path / "log").open("w"))
    with made._lines._lock:
        made.flush(wait=False)
