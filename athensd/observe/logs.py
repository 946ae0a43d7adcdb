"""Log lines: ``plain`` for people, ``json`` for machines, and JSON as Google Cloud reads it.

Ours and Twisted's have one form and one stream.  The names of the fields are Athens' own (``http-method``,
``http-status``, ``request-id`` …), so that dashboards made for it go on working.  Only ``plain`` makes the line of a
request short: nobody reads it by names.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Protocol, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
REQUEST = "incoming request"
_IDS = ("request-id", "trace-id", "span-id")

_DIM, _BOLD, _RED, _GREEN, _YELLOW, _CYAN = "2", "1", "31", "32", "33", "36"
_OF_LEVEL = {"debug": _DIM, "info": _GREEN, "warning": _YELLOW, "error": _RED, "critical": _RED}
_OF_STATUS = {"2": _GREEN, "3": _CYAN, "4": _YELLOW, "5": _RED}


class Alike(Protocol):
    """What lines have in common, and room for how they say it."""

    @property
    def event(self) -> Mapping[str, Any]: ...

    written: str


Place = Callable[[], Mapping[str, str]]
"""Where we are: ``trace-id``, ``span-id`` and ``sampled`` ("1", "0"), or nothing."""
Form = Callable[[WrappedLogger, str, EventDict], str]
Paint = Callable[[str, str], str]


def configure_logs(
    level: str,
    format: str,
    stream: TextIO | None = None,
    *,
    trace: Place | None = None,
    cloud_runtime: str = "none",
    google_project: str = "",
    worker: int = 0,
) -> Log:
    """From now on write lines of at least ``level`` (debug, info, warning, error) in ``format`` (plain, json).

    ``stream`` is standard output as it is now: once twistd has taken that over for its own log, what is written to it
    would come back as an event.  ``trace`` says which trace a line belongs to.  With ``cloud_runtime`` "GCP" the form
    is Google's, and ``google_project`` is where its traces are.  Each line of a ``worker`` has its number.
    """
    out = stream or sys.stdout
    lines = _Lines(out)
    google = cloud_runtime == "GCP"
    form = _GoogleJson() if google else _Json("time", "level", "msg") if format == "json" else _plain(out)
    place = [] if trace is None else [_google_place(trace, google_project) if google else _place(trace)]
    place += [_numbered(worker)] if worker else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *place,
            structlog.processors.format_exc_info,
            form,
        ],
        logger_factory=lambda *names: lines,
        cache_logger_on_first_use=False,
    )
    set_log_level(level)
    return Log(lines, place, form)


class Log:
    """What the lines of requests are written with, and where all lines are gathered."""

    def __init__(self, lines: _Lines, place: Sequence[Processor], form: Form) -> None:
        self._place = place
        self._form = form
        self._lines = lines
        self.write = lines.write
        self.gather = lines.gather
        self.flush = lines.flush

    def access(self, event: EventDict, alike: Alike | None = None) -> None:
        """Write a complete event, at level info; as there is one for every request, it goes the short way.

        ``alike`` is what it has in common with others, and is written down for them.
        """
        if _Threshold.level <= logging.INFO:
            for add in self._place:
                add(self._lines, "info", event)
            if alike is None:
                text = self._form(self._lines, "info", event)
            elif isinstance(self._form, _Json):
                text = self._form.again(alike, event)
            else:
                text = self._form(self._lines, "info", {**alike.event, **event})
            self._lines.write(text)


class _Threshold:
    """Of the whole process."""

    level = logging.INFO


def set_log_level(level: str) -> None:
    """From now on write lines of at least this level."""
    _Threshold.level = LEVELS[level]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))


class _Lines:
    """The stream, whole lines at a time, from any thread.

    Each line is given to the system at once or, once they are gathered, with all those of one turn of the reactor; so
    hardly one is missing when the process is killed.  What cannot be written (a full disk, a terminal that has gone) is
    lost, and nothing else is.
    """

    def __init__(self, stream: TextIO) -> None:
        # As bytes it does not matter which characters the locale can write.  A log file of twistd has no buffer.
        self._stream: Any = getattr(stream, "buffer", stream)
        self._as_bytes = self._stream is not stream
        self._lock = Lock()
        self._waiting: list[str] = []
        self._soon: Callable[[Callable[[], None]], object] | None = None

    def gather(self, soon: Callable[[Callable[[], None]], object] | None) -> None:
        """From now on keep lines until ``soon``, from whichever thread, calls what it is given; ``None``: no more."""
        self._soon = soon
        self.flush()

    def write(self, line: str) -> None:
        with self._lock:
            first = not self._waiting
            self._waiting.append(line)
        if self._soon is None:
            self.flush()
        elif first:
            self._soon(self.flush)

    def flush(self, wait: bool = True) -> None:
        """Give to the system what was gathered; without ``wait`` only if nobody does so now."""
        if not self._lock.acquire(blocking=wait):
            return
        try:
            lines, self._waiting = self._waiting, []
            if lines:
                text = "\n".join([*lines, ""])
                self._stream.write(text.encode() if self._as_bytes else text)
                self._stream.flush()
        except (OSError, ValueError):  # the latter of a closed stream
            pass
        finally:
            self._lock.release()

    debug = info = warning = error = critical = write  # as structlog calls it


def _place(trace: Place) -> Processor:
    def add(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
        here = trace()
        if here:
            event["trace-id"] = here["trace-id"]
            event["span-id"] = here["span-id"]
        return event

    return add


def _google_place(trace: Place, project: str) -> Processor:
    """As Cloud Logging joins a line with its trace."""
    prefix = f"projects/{project}/traces/" if project else ""

    def add(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
        here = trace()
        if here:
            event["logging.googleapis.com/trace"] = prefix + here["trace-id"]
            event["logging.googleapis.com/spanId"] = here["span-id"]
            event["logging.googleapis.com/trace_sampled"] = here["sampled"] == "1"
        return event

    return add


def _numbered(worker: int) -> Processor:
    def add(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
        event["worker"] = worker
        return event

    return add


class _Json:
    """JSON.  Each line begins with the time, the level and the text, by these names."""

    def __init__(self, time: str, level: str, text: str, level_of: Callable[[str], str] = str) -> None:
        self._time = time
        self._level = level
        self._text = text
        self._level_of = level_of
        self._encode = _encoder()

    def __call__(self, logger: WrappedLogger, level: str, event: EventDict) -> str:
        return self._encode({self._time: datetime.now(UTC), **self._without_time(level, event)})

    def again(self, alike: Alike, event: EventDict) -> str:
        """The same at level info, with what ``alike`` has for all of them turned into JSON once."""
        if not alike.written:
            alike.written = self._encode(self._without_time("info", dict(alike.event)))[1:-1]
        now = datetime.now(UTC).isoformat()
        return f'{{"{self._time}":"{now}",{alike.written},{self._encode(event)[1:]}'

    def _without_time(self, level: str, event: EventDict) -> EventDict:
        return {self._level: self._level_of(level), self._text: event.pop("event"), **event}


class _GoogleJson(_Json):
    """As Cloud Logging wants it."""

    def __init__(self) -> None:
        super().__init__("timestamp", "severity", "message", str.upper)

    def __call__(self, logger: WrappedLogger, level: str, event: EventDict) -> str:
        if "exception" in event:
            # Where Error Reporting looks first.
            event["stack_trace"] = event.pop("exception")
        return super().__call__(logger, level, event)


def _encoder() -> Callable[[object], str]:
    """To JSON; what that does not know becomes text.  orjson, if it is there, takes a tenth of the time."""
    anything = json.JSONEncoder(default=_text).encode
    try:
        import orjson
    except ImportError:
        return anything

    def encode(line: object) -> str:
        try:
            return orjson.dumps(line, default=_text).decode()
        except TypeError:  # it takes no number beyond 64 bits and no half of a surrogate pair
            return anything(line)

    return encode


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(out: TextIO) -> Form:
    terminal = hasattr(out, "isatty") and out.isatty()
    paint = _painted if terminal and not os.environ.get("NO_COLOR") else _unpainted
    # Who looks at a terminal knows the day.
    clock = "%H:%M:%S" if terminal else "%Y-%m-%d %H:%M:%S"

    def form(logger: WrappedLogger, level: str, event: EventDict) -> str:
        exception = event.pop("exception", "")
        ids = {name: event.pop(name) for name in _IDS if name in event}
        words = [paint(time.strftime(clock), _DIM), paint(f"{level:<7}", _OF_LEVEL.get(level, ""))]
        text = event.pop("event")
        words += _request(event, paint) if text == REQUEST else [paint(_harmless(str(text)), _BOLD)]
        words += [f"{paint(name, _CYAN)}={shown(value)}" for name, value in event.items() if value != ""]
        words += [paint(f"{name}={shown(value)}", _DIM) for name, value in ids.items()]
        return " ".join(words) + (f"\n{_harmless(exception, keep=chr(10))}" if exception else "")

    return form


def _request(event: EventDict, paint: Paint) -> list[str]:
    """The line of a request in columns; takes out of ``event`` what it shows, or what the path shows."""
    status = str(event.pop("http-status", ""))
    event.pop("module", None)
    event.pop("version", None)
    return [
        f"{shown(event.pop('http-method', '')):<4}",
        paint(f"{status:<3}", _OF_STATUS.get(status[:1], "")),
        f"{event.pop('cache', ''):<8}",
        f"{_duration(event.pop('ms', 0)):>8}",
        f"{_size(event.pop('bytes', 0)):>8}",
        paint(shown(event.pop("http-path", "")), _BOLD),
        shown(event.pop("client", "")),
    ]


def _duration(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def shown(value: object) -> str:
    """A value as one word."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(" ='\"") else repr(text)


def _harmless(text: str, keep: str = "") -> str:
    """Without what a terminal would obey: clients choose some of our text."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def _painted(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def _unpainted(text: str, colour: str) -> str:
    return text


@implementer(ILogObserver)
class TwistedEvents:
    """Twisted's own events, as lines of ours.  What it does routinely is for ``debug``; starting and ending is not."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("twisted")

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        failure = event.get("log_failure")
        if level is LogLevel.info and not str(event.get("log_namespace", "")).startswith("twisted.application.app"):
            level = LogLevel.debug
        method = {"warn": "warning", "critical": "error"}.get(level.name, level.name)
        text = formatEvent(event) or ""
        exc_info = (failure.type, failure.value, failure.getTracebackObject()) if failure is not None else None
        getattr(self._log, method)(text, logger="twisted", **({"exc_info": exc_info} if exc_info else {}))
