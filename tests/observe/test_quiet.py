"""The libraries underneath: nothing of what they say gets past us, and the reason is heard."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from athensd.observe.quiet import (
    LIBRARIES,
    Missing,
    complain,
    hush,
    importing,
    in_words,
    overhearing,
    scrubbed,
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leaves the loggers, the warnings and structlog as it found them."""
    before = structlog.get_config()
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    state = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    with warnings.catch_warnings():
        yield
    for logger, handlers, propagate in state:
        logger.handlers[:], logger.propagate = handlers, propagate
    structlog.configure(**before)


class Root(logging.Handler):
    """What reaches the root logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def root() -> Iterator[Root]:
    root = Root()
    logging.getLogger().addHandler(root)
    yield root
    logging.getLogger().removeHandler(root)


def fail() -> None:
    """An error as requests raises it: the reason is the innermost."""
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise RuntimeError("HTTPConnectionPool(host='h', port=1): Max retries exceeded") from error
    except RuntimeError:
        raise ValueError("outermost")  # without "from", as theirs are


def failure() -> Exception:
    try:
        fail()
    except ValueError as error:
        return error


@pytest.mark.parametrize("library", LIBRARIES)
def test_records_are_ours_at_debug(library: str, root: Root, capfd: pytest.CaptureFixture[str]) -> None:
    """A record of any level is a line of ours at debug under its logger's name, and nothing else anywhere."""
    hush()
    with capture_logs() as lines:
        logging.getLogger(f"{library}.deep.inside").critical("lost %d spans", 3)
    assert lines == [{"event": "lost 3 spans", "logger": f"{library}.deep.inside", "log_level": "debug"}]
    assert root.records == []
    assert capfd.readouterr() == ("", "")


def test_other_libraries_are_left_alone(root: Root) -> None:
    """The logger of a name that only begins like one of theirs is not touched."""
    hush()
    logging.getLogger("googleplex").error("it is here")
    assert [record.getMessage() for record in root.records] == ["it is here"]


def test_handlers_that_an_import_adds(capfd: pytest.CaptureFixture[str]) -> None:
    """A handler that a library adds to its own logger is gone after the import of it."""
    with importing("x"):
        logging.getLogger("ddtrace").addHandler(logging.StreamHandler(sys.stderr))
    with capture_logs() as lines:
        logging.getLogger("ddtrace").error("once")
    assert [line["event"] for line in lines] == ["once"]
    assert capfd.readouterr() == ("", "")


def test_filters_that_an_import_adds() -> None:
    """A filter that lets nothing pass twice is gone after the import: the second time has its reason too."""
    with importing("x"):
        logging.getLogger("opentelemetry.exporter.otlp").addFilter(lambda record: False)
    with overhearing() as heard:
        logging.getLogger("opentelemetry.exporter.otlp").error("refused")
    assert heard.reason == "refused"


def test_a_record_that_cannot_be_formatted(capfd: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments of a record are no error of ours, and nothing on standard error."""
    hush()
    with capture_logs(), overhearing() as heard:
        logging.getLogger("google").warning("%d spans", "many")
    assert "TypeError" in heard.reason
    assert capfd.readouterr() == ("", "")


def test_the_reason() -> None:
    """The reason is the first complaint; one that names an exception is better than one that does not."""
    hush()
    log = logging.getLogger("opentelemetry.exporter")
    with overhearing() as heard:
        assert heard.reason == ""
        log.info("nothing wrong")
        assert heard.reason == ""
        log.warning("first")
        log.warning("second")
        assert (heard.reason, heard.failed) == ("first", False)
        log.warning("Transient error %s, retrying in %.2fs.", failure(), 0.9)
        log.error("Failed to export.", exc_info=OSError("later"))
    assert (heard.reason, heard.failed) == ("Connection refused", True)


def test_a_reason_of_ours() -> None:
    """What we know better than a library goes before what it says; with nobody listening it is no error."""
    hush()
    with overhearing() as heard:
        logging.getLogger("opentelemetry").error("something went wrong")
        complain("503 Service Unavailable")
    assert (heard.reason, heard.failed) == ("503 Service Unavailable", True)
    complain("nobody hears it")


def test_each_thread_hears_itself() -> None:
    """What another thread complains of at the same time is not overheard; a block inside a block has its own."""

    def other() -> None:
        with overhearing() as heard:
            logging.getLogger("grpc").error("there")
        reasons.append(heard.reason)

    hush()
    reasons: list[str] = []
    with overhearing() as outer:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with overhearing() as inner:
            logging.getLogger("grpc").error("inside")
        logging.getLogger("grpc").error("outside")
    assert (reasons, inner.reason, outer.reason) == (["there"], "inside", "outside")


class OfGrpc(Exception):
    """The shape of an error of gRPC."""

    def __str__(self) -> str:
        return "<_InactiveRpcError of RPC that terminated with:\n\tstatus = ..."

    def code(self) -> object:
        return type("Code", (), {"name": "UNAVAILABLE"})

    def details(self) -> str:
        return "Connection refused"


def looped() -> Exception:
    """Two errors that are each other's reason."""
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    return first


def suppressed() -> Exception:
    """An error that is told instead of another."""
    error = ValueError("said instead")
    error.__context__, error.__suppress_context__ = OSError("not said"), True
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failure(), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (OSError("moved"), "moved"),
        (ValueError(), "ValueError"),
        (OfGrpc(), "UNAVAILABLE Connection refused"),
        (ValueError("one\ntwo"), "one"),
        (looped(), "second"),
        (suppressed(), "said instead"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_in_words(error: Exception, words: str) -> None:
    """An error is told in the innermost one's own words, in one line of bounded length."""
    assert in_words(error) == words


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no url: http://user:secret@host:1/p", "no url: http://host:1/p"),
        ("exceeded with url: /v1/traces?key=secret (Caused by x)", "exceeded with url: /v1/traces (Caused by x)"),
        ("'https://u:s@h/a?k=s' and \"http://u@h\"", "'https://h/a' and \"http://h\""),
        ("http://user:se/cr@et@host/x is none", "http://host/x is none"),
        ("who is a@b? nobody", "who is a@b? nobody"),
    ],
)
def test_secrets(text: str, clean: str) -> None:
    """A line repeats neither the user and password of a URL nor its query."""
    assert scrubbed(text) == clean


def test_a_missing_library() -> None:
    """What is not installed is named, with what to do."""
    with pytest.raises(Missing, match=r"No module named 'nowhere_to_be_found': pip install 'athensd\[jaeger\]'"):
        with importing("jaeger"):
            import nowhere_to_be_found  # noqa: F401


SCRIPT = """
import warnings
from athensd.observe.quiet import hush
hush()
for module in ("google.api_core", "opentelemetry.exporter", "ddtrace", "athensd.observe.jaeger"):
    warnings.warn_explicit("it is deprecated", DeprecationWarning, "x.py", 1, module)
warnings.warn_explicit("it ends", FutureWarning, "x.py", 1, "google.auth")
warnings.warn_explicit("mine", DeprecationWarning, "x.py", 1, "athensd.proxy")
"""


def test_warnings() -> None:
    """Warnings of these libraries are not shown, even with ``-W always``; those of our own code are."""
    done = subprocess.run([sys.executable, "-W", "always", "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines() == ["x.py:1: DeprecationWarning: mine"]
