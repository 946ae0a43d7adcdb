"""The export of spans: bounded, never waited for, and told in two lines; a fake stands for each exporter."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from attrs import define, field
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.task import deferLater

from athensd.observe import trace_export
from athensd.observe.quiet import Missing
from athensd.observe.trace_export import TraceExport
from tests.observe.backends import eventually, span


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent after 20 ms, not 5 s."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


class Lines:
    """Our own lines above debug."""

    def __init__(self, captured: list[Any]) -> None:
        self._captured = captured

    def __iter__(self) -> Iterator[Any]:
        return (line for line in self._captured if line["log_level"] != "debug")

    def reasons(self) -> list[str]:
        """Why it failed, and ``""`` for each time that it went on."""
        return [line.get("reason", "") for line in self]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as captured:
        yield Lines(captured)


@define(slots=False, eq=False)
class FakeExporter(SpanExporter):
    """Answers as ``answer`` does, after ``free`` is set."""

    answer: Callable[[], SpanExportResult] = lambda: SpanExportResult.SUCCESS
    free: threading.Event = field(factory=threading.Event)
    batches: list[int] = field(factory=list)
    entered: threading.Event = field(factory=threading.Event)
    shut: bool = False

    def __attrs_post_init__(self) -> None:
        self.free.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append(len(spans))
        self.entered.set()
        self.free.wait()
        return self.answer()

    def shutdown(self) -> None:
        self.shut = True


@define
class FakeBackend:
    """Makes ``exporter`` by ``make``, when it can be loaded."""

    exporter: FakeExporter = field(factory=FakeExporter)
    make: Callable[[], None] = lambda: None
    fault: Exception | None = None

    def address(self, url: str) -> str:
        return f"http://user:secret@{url}/path?key=secret"

    def load(self, url: str, seconds: float) -> Callable[[], SpanExporter]:
        if self.fault is not None:
            raise self.fault

        def make() -> SpanExporter:
            self.make()
            return self.exporter

        return make


def export_to(backend: FakeBackend) -> TraceExport:
    return TraceExport("fake", "host:1", reactor, backends={"fake": backend})


@ensureDeferred
async def test_spans_arrive(lines: Lines) -> None:
    """Spans are sent in batches, the last ones at the end, without a word; then the exporter is shut down."""
    backend = FakeBackend()
    export = export_to(backend)
    export.start()
    for _ in range(700):
        export.deliver(span())
    await eventually(lambda: sum(backend.exporter.batches) == 700)
    export.deliver(span())
    await export.stop()
    # How full each is depends on when its thread gets its turn; that there are few, and none too large, does not.
    assert max(backend.exporter.batches) <= 512
    assert len(backend.exporter.batches) < 70
    assert sum(backend.exporter.batches) == 701
    assert (backend.exporter.shut, export.dropped, list(lines)) == (True, 0, [])


@ensureDeferred
async def test_two_lines(lines: Lines) -> None:
    """A backend that goes and returns is one line each; the spans in between are counted.

    After an exception nobody knows what state an exporter is in, so there is a new one.
    """

    def refuse() -> SpanExportResult:
        raise ConnectionRefusedError(111, "Connection refused")

    made: list[int] = []
    backend = FakeBackend(make=lambda: made.append(1))
    export = export_to(backend)
    export.start()
    export.deliver(span())
    await eventually(lambda: backend.exporter.batches)
    backend.exporter.answer = refuse
    for times in (2, 3, 4):
        export.deliver(span())
        await eventually(lambda times=times: len(backend.exporter.batches) == times)
    backend.exporter.answer = lambda: SpanExportResult.SUCCESS
    export.deliver(span())
    await eventually(lambda: len(list(lines)) == 2)
    await export.stop()
    where = {"exporter": "fake", "address": "http://host:1/path", "log_level": "info"}
    assert list(lines) == [
        {"event": "traces are not delivered", "reason": "Connection refused", **where},
        {"event": "traces are delivered again", "dropped": 3, **where},
    ]
    assert (export.dropped, len(made)) == (3, 4)


def complaining(level: int, result: SpanExportResult) -> Callable[[], SpanExportResult]:
    def answer() -> SpanExportResult:
        logging.getLogger("opentelemetry.exporter").log(level, "404 Not Found")
        return result

    return answer


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (complaining(logging.ERROR, SpanExportResult.SUCCESS), ["404 Not Found"]),
        (complaining(logging.WARNING, SpanExportResult.SUCCESS), []),
        (complaining(logging.WARNING, SpanExportResult.FAILURE), ["404 Not Found"]),
        (lambda: SpanExportResult.FAILURE, ["its exporter gives no reason"]),
    ],
)
@ensureDeferred
async def test_what_a_failure_is(answer: Callable[[], SpanExportResult], reasons: list[str], lines: Lines) -> None:
    """FAILURE is one, and so is SUCCESS after an error was logged; after a warning (it tried again) it is none."""
    backend = FakeBackend(FakeExporter(answer))
    export = export_to(backend)
    export.start()
    export.deliver(span())
    await export.stop()
    await eventually(lambda: lines.reasons() == reasons)
    assert export.dropped == len(reasons)


@ensureDeferred
async def test_making_an_exporter_keeps_nobody_waiting(lines: Lines) -> None:
    """While the exporter is made spans wait, as many as fit, and what came first arrives first."""
    ready = threading.Event()
    backend = FakeBackend(make=ready.wait)
    export = export_to(backend)
    began = time.monotonic()
    export.start()
    for _ in range(3000):
        export.deliver(span())
    assert time.monotonic() - began < 1
    # A batch is in the hands of the sender, perhaps, so some more may fit.
    assert 3000 - 2048 - 512 <= export.dropped <= 3000 - 2048
    dropped = export.dropped
    ready.set()
    await export.stop()
    assert sum(backend.exporter.batches) == 3000 - dropped
    assert list(lines) == []


@ensureDeferred
async def test_an_exporter_that_cannot_be_made_yet(lines: Lines) -> None:
    """What fails while the exporter is made, such as finding credentials, is one line, tried again, and told too."""

    def make() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise RuntimeError("no credentials")

    tries: list[int] = []
    backend = FakeBackend(make=make)
    export = export_to(backend)
    export.start()
    await eventually(lambda: lines.reasons() == ["no credentials"])
    for _ in range(3):
        before = len(tries)
        export.deliver(span())
        await eventually(lambda before=before: len(tries) > before)
    await eventually(lambda: lines.reasons() == ["no credentials", ""])
    await export.stop()
    assert sum(backend.exporter.batches) + export.dropped == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Missing("No module named 'x': pip install 'athensd[x]'"), "No module named 'x': pip install 'athensd[x]'"),
        (ValueError("this is no URL"), "this is no URL"),
        (TypeError("Descriptors cannot be created directly."), "Descriptors cannot be created directly."),
    ],
)
@ensureDeferred
async def test_an_exporter_that_never_works(fault: Exception, reason: str, lines: Lines) -> None:
    """What is missing, wrong or broken is one line; the spans are counted, and no thread is begun."""
    threads = {*threading.enumerate()}
    export = export_to(FakeBackend(fault=fault))
    export.start()
    for _ in range(10):
        export.deliver(span())
    await export.stop()
    await eventually(lambda: lines.reasons() == [reason])
    assert export.dropped == 10
    assert {*threading.enumerate()} <= threads


@ensureDeferred
async def test_an_unknown_exporter(lines: Lines) -> None:
    """A name that there is not is one line with those that there are."""
    export = TraceExport("zipkin", "http://host:9411", reactor)
    export.start()
    export.deliver(span())
    await export.stop()
    await eventually(lambda: list(lines))
    assert list(lines) == [
        {
            "event": "traces are not delivered",
            "exporter": "zipkin",
            "address": "http://host:9411",
            "reason": "there is no such exporter; there are datadog, jaeger, otlp, stackdriver",
            "log_level": "info",
        }
    ]


@ensureDeferred
async def test_memory_is_bounded() -> None:
    """However many spans come, no more than the queue and one batch are held while the backend is silent."""
    exporter = FakeExporter()
    exporter.free.clear()
    export = export_to(FakeBackend(exporter))
    export.start()
    held: weakref.WeakSet[ReadableSpan] = weakref.WeakSet()
    for _ in range(20_000):
        each = span()
        held.add(each)
        export.deliver(each)
    del each
    assert len(held) <= 2048 + 512
    assert export.dropped == 20_000 - len(held)
    exporter.free.set()
    await export.stop()


@ensureDeferred
async def test_the_variables_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_BSP_* set the bounds, also such that the SDK itself would refuse together; nonsense is not looked at."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-7")
    exporter = FakeExporter()
    exporter.free.clear()
    export = export_to(FakeBackend(exporter))
    export.start()
    export.deliver(span())
    await eventually(exporter.entered.is_set)
    for _ in range(150):
        export.deliver(span())
    assert export.dropped == 50
    exporter.free.set()
    await export.stop()
    assert max(exporter.batches) == 100


@ensureDeferred
async def test_an_export_without_end(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that keeps one export busy for very long, so that spans are dropped, is told as one that is away."""
    monkeypatch.setattr(trace_export, "STUCK_SECONDS", 0.05)
    exporter = FakeExporter()
    exporter.free.clear()
    export = export_to(FakeBackend(exporter))
    export.start()
    export.deliver(span())
    await eventually(exporter.entered.is_set)
    await deferLater(reactor, 0.1)
    for _ in range(2048):
        export.deliver(span())
    assert lines.reasons() == []
    export.deliver(span())
    export.deliver(span())
    await eventually(lambda: lines.reasons() == ["no end of one export in 0 s"])
    exporter.free.set()
    await eventually(lambda: lines.reasons()[1:] == [""])
    await export.stop()


@pytest.mark.parametrize("what", ["making", "sending"])
@ensureDeferred
async def test_the_end_is_not_waited_for(what: str) -> None:
    """With a call into a library that never ends, stopping takes 1.5 s at most, and leaves only daemon threads."""

    def make() -> None:
        if what == "making":
            hung.set()
            exporter.free.wait()

    hung = threading.Event()
    exporter = FakeExporter(entered=hung)
    exporter.free.clear()
    before = {*threading.enumerate()}
    export = export_to(FakeBackend(exporter, make))
    export.start()
    export.deliver(span())
    await eventually(hung.is_set)
    began = time.monotonic()
    await export.stop()
    assert time.monotonic() - began < 1.5
    assert all(thread.daemon for thread in {*threading.enumerate()} - before)
    export.deliver(span())
    assert export.dropped == 1
    exporter.free.set()


@ensureDeferred
async def test_a_start_that_never_was() -> None:
    """Before the start spans are counted as dropped, and stopping is nothing; so is stopping twice."""
    backend = FakeBackend()
    export = export_to(backend)
    export.deliver(span())
    await export.stop()
    assert (export.dropped, backend.exporter.batches) == (1, [])
    export.start()
    await export.stop()
    await export.stop()
    assert backend.exporter.shut
