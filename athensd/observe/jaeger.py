"""Traces to Jaeger: its own Thrift over HTTP to a collector, or OTLP where the URL says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import unquote

from opentelemetry.sdk import environment_variables
from opentelemetry.sdk.trace.export import SpanExporter

from athensd.observe import otlp
from athensd.observe.address import parsed
from athensd.observe.quiet import importing

PATH = "/api/traces"
FORMAT = "format=jaeger.thrift"

# The exporter's last release imports these names, and the SDK of today has them no more.
_GONE = ("AGENT_HOST", "AGENT_PORT", "AGENT_SPLIT_OVERSIZED_BATCHES", "ENDPOINT", "PASSWORD", "TIMEOUT", "USER")


def address(url: str) -> str:
    """The whole address of the endpoint; the path of the collector is added.  Raises ``ValueError``."""
    parts = parsed(url or os.environ.get("OTEL_EXPORTER_JAEGER_ENDPOINT") or "http://localhost:14268")
    if otlp.is_meant(parts):
        return otlp.address(parts.geturl())
    path = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return parts._replace(path=path, query=parts.query or FORMAT).geturl()


def load(url: str, seconds: float) -> Callable[[], SpanExporter]:
    """Import the library; the result makes the exporter, which gives up after so many seconds.

    The user and the password of the URL, or of the OTEL_EXPORTER_JAEGER_* variables, are sent as basic
    authentication.
    """
    endpoint = address(url)
    parts = parsed(endpoint)
    if otlp.is_meant(parts):
        return otlp.load(endpoint, seconds)
    for name in _GONE:
        variable = f"OTEL_EXPORTER_JAEGER_{name}"
        if not hasattr(environment_variables, variable):
            setattr(environment_variables, variable, variable)
    with importing("jaeger"):
        from opentelemetry.exporter.jaeger.thrift import JaegerExporter
    return lambda: JaegerExporter(
        collector_endpoint=parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        timeout=None if os.environ.get("OTEL_EXPORTER_JAEGER_TIMEOUT") else seconds,
    )
