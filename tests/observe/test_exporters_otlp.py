"""OTLP: where it is sent, over what, and what the OTEL_* variables have to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_twisted
from opentelemetry.trace import Link, SpanKind
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from athensd.observe import otlp
from athensd.observe.quiet import hush, overhearing
from tests.observe.backends import GrpcBackend, HttpBackend, context, span, spans_of


@pytest.fixture(autouse=True)
def hushed() -> None:
    hush()


@pytest_twisted.async_yield_fixture
async def backend() -> AsyncIterator[HttpBackend]:
    backend = HttpBackend()
    backend.listen()
    yield backend
    await backend.go_away()


@pytest.fixture
def collector() -> Iterator[GrpcBackend]:
    collector = GrpcBackend()
    collector.listen()
    yield collector
    collector.stop()


TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
ALL = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("url", "variables", "address"),
    [
        ("http://host", {}, "http://host/v1/traces"),
        ("http://host:4318/", {}, "http://host:4318/v1/traces"),
        ("https://host/otlp?key=x", {}, "https://host/otlp?key=x"),
        ("host:4318", {}, "http://host:4318/v1/traces"),
        ("http://host:4317", {}, "http://host:4317"),
        ("http://host:4317/v1/traces", {}, "http://host:4317/v1/traces"),
        ("grpcs://host", {}, "grpcs://host:4317"),
        ("grpc://[::1]", {}, "grpc://[::1]:4317"),
        ("", {}, "http://localhost:4318/v1/traces"),
        ("", {f"{ALL}PROTOCOL": "grpc"}, "http://localhost:4317"),
        ("", {f"{ALL}ENDPOINT": "https://host/otlp/"}, "https://host/otlp/v1/traces"),
        ("", {f"{ALL}ENDPOINT": "http://host:4317"}, "http://host:4317"),
        ("", {f"{ALL}ENDPOINT": "https://host:9", f"{TRACES}PROTOCOL": "grpc"}, "grpcs://host:9"),
        ("", {f"{ALL}ENDPOINT": "http://other", f"{TRACES}ENDPOINT": "http://host/x"}, "http://host/x"),
        ("http://host", {f"{ALL}ENDPOINT": "http://other", f"{ALL}PROTOCOL": "grpc"}, "http://host/v1/traces"),
    ],
)
def test_addresses(url: str, variables: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL gets the path of traces where it has none; without one the variables decide, as the SDK reads them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert otlp.address(url) == address


@pytest.mark.parametrize("url", ["ftp://host", "http://host:x", "grpc://user:secret@host:4317"])
def test_wrong_addresses(url: str) -> None:
    """What cannot be an address is refused, without being repeated."""
    with pytest.raises(ValueError) as refusal:
        otlp.address(url)
    assert "secret" not in str(refusal.value)


def expect_span(found: Any, parent: Any, cause: Any) -> None:
    assert (found.name, found.kind) == ("GET", 2)
    assert found.parent_span_id.hex() == f"{parent.span_id:016x}"
    assert [link.span_id.hex() for link in found.links] == [f"{cause.span_id:016x}"]
    values = {each.key: each.value for each in found.attributes}
    assert values["count"].int_value == 1 << 40
    assert values["ok"].bool_value is True
    assert values["age"].double_value == 1.5
    assert [each.string_value for each in values["many"].array_value.values] == ["a", "b"]


@ensureDeferred
async def test_http(backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans arrive over HTTP with ids, parents, links and attributes, and with the headers that a variable names."""
    monkeypatch.setenv(f"{ALL}HEADERS", "api-key=of%20ours")
    parent, cause = context(), context()
    attributes = {"count": 1 << 40, "ok": True, "age": 1.5, "many": ("a", "b")}
    one = span("GET", attributes, parent=parent, links=[Link(cause)], kind=SpanKind.SERVER)
    exporter = otlp.load(f"http://user:p%40w@127.0.0.1:{backend.port}", 5)()
    await deferToThread(exporter.export, [one])
    (received,) = backend.received
    (found,) = spans_of(received.otlp())
    expect_span(found, parent, cause)
    assert received.path == "/v1/traces"
    assert received.headers["api-key"] == "of ours"
    assert received.headers["authorization"] == "Basic dXNlcjpwQHc="


@ensureDeferred
async def test_grpc(collector: GrpcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same arrives over gRPC."""
    monkeypatch.setenv(f"{TRACES}HEADERS", "api-key=ours")
    parent, cause = context(), context()
    attributes = {"count": 1 << 40, "ok": True, "age": 1.5, "many": ("a", "b")}
    one = span("GET", attributes, parent=parent, links=[Link(cause)], kind=SpanKind.SERVER)
    exporter = otlp.load(f"grpc://127.0.0.1:{collector.port}", 5)()
    await deferToThread(exporter.export, [one])
    (found,) = spans_of(collector.received[0])
    expect_span(found, parent, cause)
    assert collector.metadata[0]["api-key"] == "ours"
    exporter.shutdown()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "404 Not Found"),
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
        (308, "308 Permanent Redirect"),
    ],
)
@ensureDeferred
async def test_refusals(status: int, reason: str, backend: HttpBackend) -> None:
    """Every status that is no success is a failure, a redirection too, and it is the reason."""

    def export() -> tuple[str, str]:
        with overhearing() as heard:
            return exporter.export([span()]).name, heard.reason

    backend.status = status
    exporter = otlp.load(f"http://127.0.0.1:{backend.port}", 0.5)()
    assert await deferToThread(export) == ("FAILURE", reason)


@ensureDeferred
async def test_a_variable_sets_the_timeout(backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_EXPORTER_OTLP_TIMEOUT stands above ours."""
    monkeypatch.setenv(f"{ALL}TIMEOUT", "5")
    backend.delay = 0.3
    exporter = otlp.load(f"http://127.0.0.1:{backend.port}", 0.01)()
    assert (await deferToThread(exporter.export, [span()])).name == "SUCCESS"
