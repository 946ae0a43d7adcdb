"""Log lines: ``plain`` for people, ``json`` for machines; ours and Twisted's in one form and one stream.

The names of the fields are Athens' own (``http-method``, ``http-status``, ``request-id`` …), so that dashboards made
for it go on working.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str, format: str, stream: TextIO | None = None) -> None:
    """From now on write lines of at least ``level`` (debug, info, warning, error) in ``format`` (plain, json).

    ``stream`` is standard output as it is now: once twistd has taken that over for its own log, what is written to it
    would come back as an event.
    """
    out = stream or sys.stdout
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *_rendered(format, out),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _rendered(format: str, out: TextIO) -> list[Processor]:
    if format == "json":
        return [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(default=str),
        ]
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp"),
        _without_empty_fields,
        structlog.dev.ConsoleRenderer(colors=out.isatty(), sort_keys=False, pad_event_to=20),
    ]


def _without_empty_fields(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """A field that says nothing only makes a line longer for whoever reads it."""
    return {key: value for key, value in event.items() if value != ""}


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
