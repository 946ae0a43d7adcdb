"""Traces by OTLP, over HTTP or gRPC.  The OTEL_* variables have their say in all that the settings leave open."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import SplitResult

from opentelemetry.sdk.trace.export import SpanExporter

from athensd.observe.address import parsed
from athensd.observe.quiet import importing

PATH = "/v1/traces"


def address(url: str) -> str:
    """The whole address of the endpoint.  Raises ``ValueError`` when it cannot be one.

    An empty ``url`` leaves it to the variables.  Over HTTP a URL without a path gets that of traces; a URL with the
    scheme ``grpc`` or ``grpcs``, or with port 4317 and no path, means gRPC.
    """
    parts = parsed(url) if url else _from_variables()
    if not _over_grpc(parts):
        return (parts._replace(path=PATH) if parts.path in {"", "/"} else parts).geturl()
    if "@" in parts.netloc:
        raise ValueError("gRPC takes no password in the URL: set OTEL_EXPORTER_OTLP_HEADERS")
    return (parts if parts.port else parts._replace(netloc=f"{parts.netloc}:4317")).geturl()


def is_meant(parts: SplitResult) -> bool:
    """Whether this address of some backend is one where it takes OTLP."""
    return parts.path.endswith(PATH) or parts.port == 4318 or _over_grpc(parts)


def load(url: str, seconds: float) -> Callable[[], SpanExporter]:
    """Import the library; the result makes the exporter, which gives up after so many seconds."""
    endpoint = address(url)
    timeout = None if _variable("TIMEOUT") else seconds
    return _load_grpc(endpoint, timeout) if _over_grpc(parsed(endpoint)) else _load_http(endpoint, timeout)


def _load_http(endpoint: str, timeout: float | None) -> Callable[[], SpanExporter]:
    with importing("otlp"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from athensd.observe.otlp_session import Session
    # The variable for a session of the operator's own stands above ours.
    own = any(name.endswith("CREDENTIAL_PROVIDER") for name in os.environ)
    return lambda: OTLPSpanExporter(endpoint=endpoint, timeout=timeout, session=None if own else Session())


def _load_grpc(endpoint: str, timeout: float | None) -> Callable[[], SpanExporter]:
    with importing("otlp-grpc"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    parts = parsed(endpoint)
    plain = parts._replace(scheme="https" if parts.scheme in {"https", "grpcs"} else "http")
    return lambda: OTLPSpanExporter(endpoint=plain.geturl(), timeout=timeout)


def _from_variables() -> SplitResult:
    of_traces, of_all = (os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("TRACES_ENDPOINT", "ENDPOINT"))
    grpc = _variable("PROTOCOL") == "grpc"
    parts = parsed(of_traces or of_all or f"http://localhost:{4317 if grpc else 4318}")
    if _over_grpc(parts):
        return parts
    if grpc:
        return parts._replace(scheme="grpcs" if parts.scheme == "https" else "grpc")
    return parts if of_traces else parts._replace(path=parts.path.rstrip("/") + PATH)


def _over_grpc(parts: SplitResult) -> bool:
    return parts.scheme in {"grpc", "grpcs"} or (parts.port == 4317 and parts.path in {"", "/"})


def _variable(name: str) -> str:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""
