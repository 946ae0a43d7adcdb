"""Datadog's own stand-in for its agent, and what it says that it was told."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.process import CACHE, free_ports, serving
from tests.integration.spans import Span


@frozen
class Agent:
    """Where it listens: for Datadog's own protocol, and for OTLP over HTTP."""

    native: str
    otlp: str

    def native_spans(self) -> list[Span]:
        """All that came in Datadog's own protocol, in the order in which they began."""
        traces = _asked(f"{self.native}/test/traces")
        return _sorted(_native(span) for trace in traces for span in trace)

    def otlp_spans(self) -> list[Span]:
        """All that came by OTLP, in the order in which they began."""
        requests = _asked(f"{self.otlp}/test/session/traces")
        return _sorted(
            _otlp(span, resource["resource"])
            for request in requests
            for resource in request["resource_spans"]
            for scope in resource["scope_spans"]
            for span in scope["spans"]
        )


@contextmanager
def running_agent(directory: Path) -> Iterator[Agent]:
    """One on free ports; the test is skipped where none is installed."""
    found = list(CACHE.glob("ddapm-test-agent-*/bin/ddapm-test-agent"))
    if not found:
        pytest.skip("ddapm-test-agent is not installed: script/test-servers does that")
    native, otlp, grpc = free_ports(3)
    ports = [f"--port={native}", f"--otlp-http-port={otlp}", f"--otlp-grpc-port={grpc}"]
    agent = Agent(f"http://127.0.0.1:{native}", f"http://127.0.0.1:{otlp}")
    command = [found[0], "--host=127.0.0.1", f"--snapshot-dir={directory}", *ports]
    with serving(command, f"{agent.native}/info", directory / "agent.log"):
        yield agent


def _asked(url: str) -> list[Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        found: list[Any] = json.load(response)
    return found


def _sorted(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: span.start)


def _native(span: Mapping[str, Any]) -> Span:
    return Span(
        service=span["service"],
        # The upper half of a trace id is said by the first span of a trace alone.
        trace=f"{span['trace_id']:016x}",
        id=f"{span['span_id']:016x}",
        parent=f"{span['parent_id']:016x}" if "parent_id" in span else "",
        name=span["resource"],
        start=span["start"] // 1000,
        duration=span["duration"] // 1000,
        tags={**span.get("meta", {}), **span.get("metrics", {})},
    )


def _otlp(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Span:
    start = int(span["start_time_unix_nano"])
    return Span(
        service=_attributes(resource)["service.name"],
        trace=_hex(span["trace_id"]),
        id=_hex(span["span_id"]),
        parent=_hex(span.get("parent_span_id", "")),
        name=span["name"],
        start=start // 1000,
        duration=(int(span["end_time_unix_nano"]) - start) // 1000,
        tags=_attributes(span),
        links=frozenset((_hex(link["trace_id"]), _hex(link["span_id"])) for link in span.get("links", [])),
    )


def _attributes(of: Mapping[str, Any]) -> dict[str, Any]:
    """Protobuf's own JSON form: whole numbers are strings."""
    return {each["key"]: next(iter(each["value"].values())) for each in of.get("attributes", [])}


def _hex(text: str) -> str:
    return b64decode(text).hex()
