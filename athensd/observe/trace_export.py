"""Spans to a backend that may be away, slow or wrong: nobody here waits for it, and it costs two lines in the log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, Thread
from typing import Any, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from twisted.internet.defer import Deferred

from athensd.observe import datadog, jaeger, otlp, stackdriver
from athensd.observe.delivery import Delivery
from athensd.observe.quiet import complain, hush, in_words, overhearing

EXPORT_SECONDS = 2.0
"""So long an exporter waits for its backend, unless its own variables say otherwise."""
STOP_SECONDS = 1.2
"""So long the end of the process waits for the last spans; it has 1.5 s for all."""
STUCK_SECONDS = 15.0
"""An export that has taken so long is a failure, even if it should succeed in the end."""

Make = Callable[[], SpanExporter]


class Backend(Protocol):
    """What an exporter's module offers."""

    def address(self, url: str) -> str:
        """Where that sends to.  Raises ``ValueError``, saying what would be right."""

    def load(self, url: str, seconds: float) -> Make:
        """Import its library.  Making the exporter may take long, and may work only at the next try."""


BACKENDS: Mapping[str, Backend] = {"datadog": datadog, "jaeger": jaeger, "otlp": otlp, "stackdriver": stackdriver}


class TraceExport:
    """Delivers spans to the backend that ``exporter`` and ``url``, of the settings, name.

    The library is imported at once: that stops all threads for some 20 ms, so it belongs before the reactor runs.  What
    cannot work is told in one line, never raised; ``delivery`` knows how it goes.
    """

    def __init__(
        self,
        exporter: str,
        url: str,
        reactor: Any,
        *,
        seconds: float = EXPORT_SECONDS,
        backends: Mapping[str, Backend] = BACKENDS,
    ) -> None:
        hush()
        address, reason = url, ""
        make: Make | None = None
        try:
            backend = _named(exporter, backends)
            address = backend.address(url)
            make = backend.load(url, seconds)
        except Exception as error:  # whatever a library may do when it is imported
            reason = in_words(error)
        self._reactor = reactor
        self.delivery = Delivery("traces", exporter, address, reactor.callFromThread)
        self._sender = _Sender(make, self.delivery) if make else None
        self._processor: BatchSpanProcessor | None = None
        self._longest = _number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._queued = 0
        if make is None:
            self.delivery.failed(reason)

    @property
    def dropped(self) -> int:
        """How many spans did not arrive or did not fit, so far."""
        return self.delivery.dropped

    def start(self) -> None:
        """Begin to deliver; the exporter is made in a thread, for which nobody waits."""
        if self._sender is None:
            return
        self._processor = BatchSpanProcessor(
            self._sender,
            max_queue_size=self._longest,
            max_export_batch_size=min(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._longest),
            schedule_delay_millis=_number("OTEL_BSP_SCHEDULE_DELAY", 5000),
        )
        Thread(target=self._sender.exporter, name="trace-exporter", daemon=True).start()

    def deliver(self, span: ReadableSpan) -> None:
        """Have a finished span of a sampled trace sent some time; never waits and never raises.

        When 2,048 spans (``OTEL_BSP_MAX_QUEUE_SIZE``) wait it is dropped, and counted.
        """
        if self._processor is None or self._sender is None:
            self.delivery.drop()
        elif self._queued - self._sender.taken >= self._longest:
            self.delivery.drop()
            if self._sender.busy() > STUCK_SECONDS:
                self.delivery.failed(f"no end of one export in {STUCK_SECONDS:.0f} s")
        else:
            self._queued += 1
            self._processor.on_end(span)

    async def stop(self) -> None:
        """Send what waits, for 1.2 seconds at most; only daemon threads are left then."""
        processor, self._processor = self._processor, None
        if processor is None:
            return
        over: Deferred[None] = Deferred()

        def end() -> None:
            if not over.called:
                over.callback(None)

        def shut() -> None:
            try:
                processor.shutdown()
            finally:
                self._reactor.callFromThread(end)

        timer = self._reactor.callLater(STOP_SECONDS, end)
        Thread(target=shut, name="trace-end", daemon=True).start()
        await over
        if timer.active():
            timer.cancel()


class _Sender(SpanExporter):
    """Tells ``delivery`` how each export went.  Its exporter is made when it is needed, until that works."""

    def __init__(self, make: Make, delivery: Delivery) -> None:
        self.taken = 0
        self._make = make
        self._delivery = delivery
        self._making = Lock()
        self._exporter: SpanExporter | None = None
        self._began: float | None = None

    def exporter(self) -> SpanExporter | None:
        """The exporter; ``None``, and ``delivery`` knows, when it could not be made."""
        with self._making:
            if self._exporter is None:
                with overhearing() as heard:
                    try:
                        self._exporter = self._make()
                    except Exception as error:  # whatever a library raises
                        complain(in_words(error))
                        self._delivery.failed(heard.reason)
            return self._exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        count = len(spans)
        self.taken += count
        self._began = time.monotonic()
        exporter = self.exporter()
        with overhearing() as heard:
            try:
                result = exporter.export(spans) if exporter else SpanExportResult.FAILURE
            except Exception as error:  # whatever a library raises
                result = SpanExportResult.FAILURE
                complain(in_words(error))
                # Jaeger's would go on in the middle of what it could not write.
                self._exporter = None
        self._began = None
        if isinstance(spans, list):
            # A library's error keeps all frames above it alive until it is collected, but it shall not keep the spans.
            spans.clear()
        # One of them says SUCCESS after it has complained of the backend's answer.
        if result is SpanExportResult.SUCCESS and not heard.failed:
            self._delivery.arrived()
        else:
            self._delivery.failed(heard.reason or "its exporter gives no reason", count)
        return result

    def busy(self) -> float:
        """For how many seconds the export that runs has taken."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def shutdown(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()


def _named(exporter: str, backends: Mapping[str, Backend]) -> Backend:
    if exporter not in backends:
        raise ValueError(f"there is no such exporter; there are {', '.join(sorted(backends))}")
    return backends[exporter]


def _number(variable: str, default: int) -> int:
    """A variable of the SDK, where it is a number that the SDK would take."""
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else default
