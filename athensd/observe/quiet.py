"""The libraries underneath: what they complain of is heard, and is never a line of its own above ``debug``."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from attrs import define

LIBRARIES = (
    "opentelemetry",
    "urllib3",
    "requests",
    "google",
    "grpc",
    "ddtrace",
    "datadog",
    "thrift",
    "psycopg",
    "redis",
)

_MODULES = rf"(?:{'|'.join(LIBRARIES)})\b"
_ENVIRONMENT = {
    # The C part of gRPC writes to standard error by itself, at each child that is begun, unless it lets forks be.
    "GRPC_VERBOSITY": "NONE",
    "GRPC_ENABLE_FORK_SUPPORT": "false",
}
_USERINFO = re.compile(r"//[^\s'\"]*@")
_QUERY = re.compile(r"(?<=\S)\?[^\s'\")]*=[^\s'\")]*")
_LONGEST = 300


class Missing(ImportError):
    """A library is not installed; the text says what to do."""


def hush() -> None:
    """From now on the loggers, the warnings and the C parts of these libraries write nothing anywhere.

    Their log records become lines of ours at ``debug``.
    """
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers[:] = [_ear]
        logger.propagate = False
    for name, other in [*logging.root.manager.loggerDict.items()]:
        if name.partition(".")[0] in LIBRARIES and isinstance(other, logging.Logger):
            other.filters.clear()  # which would keep a reason back that was given before
    warnings.filterwarnings("ignore", module=_MODULES)
    # A deprecated class is held against the one who uses it.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"athensd\.observe\b")
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


@contextmanager
def importing(extra: str) -> Iterator[None]:
    """A block that imports what the extra brings.  Raises ``Missing`` when it is not there."""
    hush()
    try:
        yield
    except ImportError as error:
        raise Missing(f"{in_words(error)}: pip install 'athensd[{extra}]'") from None
    finally:
        hush()  # some add handlers of their own


@define
class Heard:
    """What was overheard."""

    reason: str = ""
    """The first complaint that names an exception, else the first one; empty when there was none."""
    failed: bool = False
    """Whether one was an error, and no warning."""
    named: bool = False
    """Whether the reason is an exception's."""

    def hear(self, level: int, text: str, *, named: bool) -> None:
        self.failed = self.failed or level >= logging.ERROR
        if not self.reason or (named and not self.named):
            self.reason, self.named = text, named


@contextmanager
def overhearing() -> Iterator[Heard]:
    """The warnings and errors of these libraries in this thread, while the block runs."""
    before = getattr(_of_thread, "heard", None)
    heard = _of_thread.heard = Heard()
    try:
        yield heard
    finally:
        _of_thread.heard = before


def complain(reason: str) -> None:
    """Say to whoever overhears this thread what a library will not say, or not as well."""
    heard: Heard | None = getattr(_of_thread, "heard", None)
    if heard is not None:
        heard.hear(logging.WARNING, reason, named=True)


def in_words(error: BaseException) -> str:
    """Why, in the words of the error that was there first: one line, with no password and no query of a URL."""
    seen = {id(error)}
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        if id(cause) in seen:
            break
        seen.add(id(cause))
        error = cause
    return scrubbed(_text(error)) or type(error).__name__


def _text(error: Any) -> str:
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return error.strerror
    if callable(getattr(error, "code", None)) and callable(getattr(error, "details", None)):
        # An error of gRPC, whose text has many lines.
        return f"{error.code().name} {error.details()}"
    return str(error)


def scrubbed(text: str) -> str:
    """The first line of a text, without what a URL can hold of secrets."""
    line = text.strip().partition("\n")[0]
    return _QUERY.sub("", _USERINFO.sub("//", line))[:_LONGEST]


class _Ear(logging.Handler):
    """Passes a record on to our own log, and to whoever overhears this thread."""

    def emit(self, record: logging.LogRecord) -> None:
        error = _error_of(record)
        try:
            text = in_words(error) if error is not None else scrubbed(record.getMessage())
        except Exception as broken:  # a record that cannot be formatted is no reason to fail
            text = repr(broken)
        heard: Heard | None = getattr(_of_thread, "heard", None)
        if heard is not None and record.levelno >= logging.WARNING:
            heard.hear(record.levelno, text, named=error is not None)
        _log.debug(text, logger=record.name)


def _error_of(record: logging.LogRecord) -> BaseException | None:
    if record.exc_info and record.exc_info[1] is not None:
        return record.exc_info[1]
    arguments = record.args if isinstance(record.args, tuple) else ()
    return next((each for each in arguments if isinstance(each, BaseException)), None)


_ear = _Ear()
_of_thread = threading.local()
_log = structlog.get_logger()
