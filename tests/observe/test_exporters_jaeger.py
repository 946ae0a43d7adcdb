"""Jaeger: its Thrift over HTTP, as it is on the wire, and when OTLP is meant instead."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, Status, StatusCode
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from athensd.observe import jaeger
from athensd.observe.quiet import hush, overhearing
from athensd.observe.trace_export import TraceExport
from tests.observe.backends import HttpBackend, context, eventually, span, spans_of


@pytest.fixture(autouse=True)
def hushed() -> None:
    hush()


@pytest_twisted.async_yield_fixture
async def backend() -> AsyncIterator[HttpBackend]:
    backend = HttpBackend()
    backend.listen()
    yield backend
    await backend.go_away()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("", "http://localhost:14268/api/traces?format=jaeger.thrift"),
        ("http://host:14268", "http://host:14268/api/traces?format=jaeger.thrift"),
        ("host:14268/", "http://host:14268/api/traces?format=jaeger.thrift"),
        ("https://host/jaeger", "https://host/jaeger/api/traces?format=jaeger.thrift"),
        ("http://host/api/traces", "http://host/api/traces?format=jaeger.thrift"),
        ("http://host/api/traces?format=x", "http://host/api/traces?format=x"),
        ("http://host:4318", "http://host:4318/v1/traces"),
        ("http://host:9/v1/traces", "http://host:9/v1/traces"),
        ("http://host:4317", "http://host:4317"),
        ("grpc://host:9", "grpc://host:9"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    """A collector's base URL gets the path of Thrift; a URL for OTLP is one of OTLP."""
    assert jaeger.address(url) == address


def test_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL the exporter's own variable decides."""
    monkeypatch.setenv("OTEL_EXPORTER_JAEGER_ENDPOINT", "http://host:1/api/traces")
    assert jaeger.address("") == "http://host:1/api/traces?format=jaeger.thrift"
    monkeypatch.setenv("OTEL_EXPORTER_JAEGER_ENDPOINT", "http://host:4318")
    assert jaeger.address("") == "http://host:4318/v1/traces"


def test_wrong_addresses() -> None:
    """What cannot be an address is refused."""
    with pytest.raises(ValueError, match=r"this is no URL"):
        jaeger.address("udp://host:6831")


def exporter(backend: HttpBackend, userinfo: str = "") -> SpanExporter:
    return jaeger.load(f"http://{userinfo}127.0.0.1:{backend.port}", 2)()


@ensureDeferred
async def test_thrift(backend: HttpBackend) -> None:
    """A span arrives with its 128-bit id, its parent, its links, its time and attributes of every type."""
    here = context((7 << 64) | ((1 << 64) - 9), (1 << 64) - 5)
    parent, cause = context(here.trace_id), context((3 << 64) | 4, 5)
    attributes = {"text": "ü", "many": ("a", "b"), "count": 1 << 40, "ok": True, "age": 1.5, "below": -1}
    one = span(
        "verify", attributes, here=here, parent=parent, links=[Link(cause)], status=Status(StatusCode.ERROR, "no")
    )
    await deferToThread(exporter(backend).export, [one, span("http")])
    (received,) = backend.received
    batch = received.batch()
    assert received.path == "/api/traces?format=jaeger.thrift"
    assert "authorization" not in received.headers
    assert (batch.process.serviceName, [each.operationName for each in batch.spans]) == ("athensd", ["verify", "http"])
    found = batch.spans[0]
    assert (found.traceIdHigh, found.traceIdLow, found.spanId, found.flags) == (7, -9, -5, 1)
    assert found.parentSpanId % (1 << 64) == parent.span_id
    assert [(each.traceIdHigh, each.traceIdLow, each.spanId) for each in found.references] == [(3, 4, 5)]
    assert (found.startTime, found.duration) == (1_700_000_000_000_000, 2_000_000)
    tags = {tag.key: tag for tag in found.tags}
    assert (tags["text"].vStr, tags["many"].vStr) == ("ü", "('a', 'b')")
    assert (tags["count"].vLong, tags["below"].vLong, tags["ok"].vBool, tags["age"].vDouble) == (1 << 40, -1, True, 1.5)
    assert (tags["error"].vBool, tags["otel.status_description"].vStr) == (True, "no")


@ensureDeferred
async def test_authentication(backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL's user and password are sent as basic authentication; else those of the variables."""
    await deferToThread(exporter(backend, "user:p%40w@").export, [span()])
    monkeypatch.setenv("OTEL_EXPORTER_JAEGER_USER", "other")
    monkeypatch.setenv("OTEL_EXPORTER_JAEGER_PASSWORD", "word")
    await deferToThread(exporter(backend).export, [span()])
    sent = [received.headers["authorization"] for received in backend.received]
    assert sent == ["Basic dXNlcjpwQHc=", "Basic b3RoZXI6d29yZA=="]


@ensureDeferred
async def test_refusals_are_heard(backend: HttpBackend) -> None:
    """The exporter calls every answer a success; what it says of a bad one is an error that is heard."""

    def export() -> str:
        with overhearing() as heard:
            one.export([span()])
            assert heard.failed
        return heard.reason

    backend.status = 500
    one = exporter(backend)
    assert "500" in await deferToThread(export)


@ensureDeferred
async def test_a_span_that_cannot_be_written(backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that Thrift cannot express costs the batch that it is in; what is sent next is whole."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    export = TraceExport("jaeger", f"http://127.0.0.1:{backend.port}", reactor)
    export.start()
    export.deliver(span("huge", {"count": 1 << 70}))
    await eventually(lambda: export.dropped == 1)
    export.deliver(span("second"))
    await export.stop()
    (received,) = backend.received
    assert [each.operationName for each in received.batch().spans] == ["second"]


@ensureDeferred
async def test_otlp(backend: HttpBackend) -> None:
    """A URL of OTLP is served by OTLP over HTTP."""
    one = jaeger.load(f"http://127.0.0.1:{backend.port}/v1/traces", 2)()
    await deferToThread(one.export, [span("verify")])
    assert [each.name for each in spans_of(backend.received[0].otlp())] == ["verify"]
