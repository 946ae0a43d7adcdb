"""A real Jaeger, started as ``script/jaeger`` starts it, and what it says that it was told."""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.process import CACHE, eventually, free_ports, serving
from tests.integration.spans import Span

SCRIPT = Path(__file__).parents[2] / "script" / "jaeger"


@frozen
class Jaeger:
    """Where it listens: for thrift and for OTLP, both over HTTP, and where it shows what it has."""

    thrift: str
    otlp: str
    pages: str

    def traces(self, service: str = "athensd") -> list[list[Span]]:
        """All traces in which this service has a part, each with all its spans, in the order in which they began."""
        query = urllib.parse.urlencode({"service": service, "limit": 1000})
        with urllib.request.urlopen(f"{self.pages}/api/traces?{query}", timeout=10) as response:
            found = json.load(response)["data"]
        return sorted((_spans(trace) for trace in found), key=lambda trace: trace[0].start)

    def settled_traces(self, service: str = "athensd") -> list[list[Span]]:
        """The same, once there are some and no more come: it files away what it is told a moment later."""
        before: list[list[Span]] = []
        while True:
            found = eventually(lambda: self.traces(service))
            if found == before:
                return found
            before = found
            time.sleep(0.3)


@contextmanager
def running_jaeger(directory: Path, ports: list[int] | None = None) -> Iterator[Jaeger]:
    """One on free ports, or on those of an earlier one; the test is skipped where none is installed."""
    if not (shutil.which("jaeger-all-in-one") or list(CACHE.glob("bin/jaeger-all-in-one-*"))):
        pytest.skip("Jaeger is not installed: script/build-jaeger does that")
    thrift, otlp, pages, *others = ports or free_ports(7)
    options = {
        "collector.http-server": thrift,
        "collector.otlp.http": otlp,
        "query.http-server": pages,
        **dict(zip(("collector.grpc-server", "collector.otlp.grpc", "query.grpc-server"), others, strict=False)),
        "admin.http": others[-1],
    }
    command = [SCRIPT, *(f"--{name}.host-port=127.0.0.1:{port}" for name, port in options.items())]
    jaeger = Jaeger(f"http://127.0.0.1:{thrift}", f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{pages}")
    with serving(command, f"http://127.0.0.1:{others[-1]}/", directory / "jaeger.log"):
        yield jaeger


def _spans(trace: Mapping[str, Any]) -> list[Span]:
    services = {name: process["serviceName"] for name, process in trace["processes"].items()}
    spans = [_span(span, services) for span in trace["spans"]]
    return sorted(spans, key=lambda span: span.start)


def _span(span: Mapping[str, Any], services: Mapping[str, str]) -> Span:
    references = span["references"]
    parents = [each["spanID"] for each in references if each["refType"] == "CHILD_OF"]
    links = [(each["traceID"], each["spanID"]) for each in references if each["refType"] == "FOLLOWS_FROM"]
    return Span(
        service=services[span["processID"]],
        trace=span["traceID"],
        id=span["spanID"],
        parent=parents[0] if parents else "",
        name=span["operationName"],
        start=span["startTime"],
        duration=span["duration"],
        tags={tag["key"]: tag["value"] for tag in span["tags"]},
        links=frozenset(links),
    )
