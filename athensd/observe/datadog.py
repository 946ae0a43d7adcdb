"""Traces to a Datadog agent: to its own trace port by way of ddtrace, or OTLP where the URL says so."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from athensd import __version__
from athensd.observe import otlp
from athensd.observe.address import parsed
from athensd.observe.quiet import importing

PATH = "/v0.4/traces"
LARGEST = 50_000_000
"""Bytes of one request, as the agent takes it."""
USER_KEEP = 2
"""Which traces are kept was decided before: the agent shall not decide again."""

_KINDS = {SpanKind.SERVER: "web", SpanKind.CLIENT: "http"}
# Without these, ddtrace reports on itself, writes to standard error, takes over signals, and begins threads which
# cost each child process some milliseconds.
_QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_LOG_STREAM_HANDLER": "false",
    "_DD_GLOBAL_TRACER_INIT": "false",
}


def address(url: str) -> str:
    """The whole address of the endpoint; an empty ``url`` leaves it to the DD_* variables.  Raises ``ValueError``."""
    parts = parsed(url or _default())
    if otlp.is_meant(parts):
        return otlp.address(parts.geturl())
    path = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return parts._replace(path=path).geturl()


def load(url: str, seconds: float) -> Callable[[], SpanExporter]:
    """Import the library; the result makes the exporter, which gives up after so many seconds."""
    endpoint = address(url)
    parts = parsed(endpoint)
    if otlp.is_meant(parts):
        return otlp.load(endpoint, seconds)
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    with importing("datadog"):
        # ddtrace.trace, the public place of Span, makes a tracer, with all that we do not want of it.
        from ddtrace._trace.span import Span
        from ddtrace.internal.encoding import MSGPACK_ENCODERS
    return lambda: DatadogExporter(parts, seconds, Span, MSGPACK_ENCODERS["v0.4"])


class DatadogExporter(SpanExporter):
    """Puts spans to the trace port of an agent.  ``export`` raises what goes wrong.

    ``span`` and ``encoder`` are ddtrace's classes.
    """

    def __init__(self, parts: SplitResult, seconds: float, span: Any, encoder: Any) -> None:
        self._parts = parts
        self._seconds = seconds
        self._span = span
        self._encoder = encoder

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        traces: Mapping[int, list[Any]] = defaultdict(list)
        for span in spans:
            traces[span.context.trace_id].append(self._translated(span))
        encoder = self._encoder(max_size=LARGEST, max_item_size=LARGEST)
        for trace_id, trace in traces.items():
            # The half of the id for which the format has no room stands at the first span.
            trace[0].set_tag("_dd.p.tid", f"{trace_id >> 64:016x}")
            trace[0].set_metric("_sampling_priority_v1", USER_KEEP)
            encoder.put(trace)
        for payload, count in encoder.encode():
            self._put(payload, count)
        return SpanExportResult.SUCCESS

    def _put(self, payload: bytes, count: int) -> None:
        connect = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        with closing(connect(self._parts.hostname or "", self._parts.port, timeout=self._seconds)) as connection:
            headers = {
                "Content-Type": "application/msgpack",
                "Datadog-Meta-Lang": "python",
                "Datadog-Meta-Tracer-Version": __version__,
                "X-Datadog-Trace-Count": str(count),
            }
            connection.request("PUT", self._parts.path, payload, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise OSError(f"{answer.status} {answer.reason}")

    def _translated(self, span: ReadableSpan) -> Any:
        resource = span.resource.attributes
        translated = self._span(
            "http.server.request" if span.kind is SpanKind.SERVER else span.name,
            service=str(resource.get("service.name", "athensd")),
            resource=span.name,
            span_type=_KINDS.get(span.kind, "custom"),
            trace_id=span.context.trace_id,
            span_id=span.context.span_id,
            parent_id=span.parent.span_id if span.parent else None,
        )
        translated.start_ns = span.start_time
        translated.duration_ns = (span.end_time or 0) - (span.start_time or 0)
        for name, value in {**_unified(resource), **(span.attributes or {})}.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                translated.set_metric(name, value)
            else:
                translated.set_tag(name, str(value).lower() if isinstance(value, bool) else str(value))
        if not span.status.is_ok:
            translated.error = 1
            if span.status.description:
                translated.set_tag("error.message", span.status.description)
        for link in span.links:
            translated.set_link(link.context.trace_id, link.context.span_id)
        return translated


def _unified(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The two things that Datadog wants to know of every span, under its own names."""
    found = {
        "version": resource.get("service.version"),
        "env": resource.get("deployment.environment.name") or resource.get("deployment.environment"),
    }
    return {name: value for name, value in found.items() if value}


def _default() -> str:
    host = os.environ.get("DD_AGENT_HOST") or "localhost"
    return os.environ.get("DD_TRACE_AGENT_URL") or f"http://{host}:{os.environ.get('DD_TRACE_AGENT_PORT') or 8126}"
