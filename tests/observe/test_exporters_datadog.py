"""Datadog: the agent's own trace port, and when OTLP is meant instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from athensd.observe import datadog
from athensd.observe.quiet import hush
from tests.observe.backends import HttpBackend, context, span, spans_of, unpacked


@pytest.fixture(autouse=True)
def hushed() -> None:
    hush()


@pytest_twisted.async_yield_fixture
async def agent() -> AsyncIterator[HttpBackend]:
    agent = HttpBackend()
    agent.listen()
    yield agent
    await agent.go_away()


@pytest.mark.parametrize(
    ("url", "variables", "address"),
    [
        ("http://host:8126", {}, "http://host:8126/v0.4/traces"),
        ("localhost:8126", {}, "http://localhost:8126/v0.4/traces"),
        ("https://host/agent/", {}, "https://host/agent/v0.4/traces"),
        ("http://host:4318", {}, "http://host:4318/v1/traces"),
        ("http://host:9/v1/traces", {}, "http://host:9/v1/traces"),
        ("http://host:4317", {}, "http://host:4317"),
        ("", {}, "http://localhost:8126/v0.4/traces"),
        ("", {"DD_AGENT_HOST": "10.0.0.1", "DD_TRACE_AGENT_PORT": "9"}, "http://10.0.0.1:9/v0.4/traces"),
        ("", {"DD_AGENT_HOST": "x", "DD_TRACE_AGENT_URL": "http://host:1"}, "http://host:1/v0.4/traces"),
    ],
)
def test_addresses(url: str, variables: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is the agent's, unless it is one of OTLP; without one the agent's own variables decide."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert datadog.address(url) == address


def test_wrong_addresses() -> None:
    """What cannot be an address is refused, and so is a socket."""
    with pytest.raises(ValueError, match=r"this is no URL"):
        datadog.address("unix:///var/run/datadog/apm.socket")


def exporter(agent: HttpBackend) -> SpanExporter:
    return datadog.load(f"http://127.0.0.1:{agent.port}", 2)()


async def translated(agent: HttpBackend, *spans: Any) -> list[list[dict[str, Any]]]:
    """What the agent gets for these spans."""
    await deferToThread(exporter(agent).export, spans)
    (received,) = agent.received
    traces: list[list[dict[str, Any]]] = unpacked(received.body)
    assert received.path == "/v0.4/traces"
    assert received.headers["content-type"] == "application/msgpack"
    assert received.headers["x-datadog-trace-count"] == str(len(traces))
    return traces


@ensureDeferred
async def test_a_span(agent: HttpBackend) -> None:
    """A span arrives with its name, service, ids, parent, time and links, and its attributes as tags."""
    here, cause = context((7 << 64) | 9, (1 << 64) - 5), context((3 << 64) | 4, 5)
    parent = context(here.trace_id)
    attributes = {"text": "ü", "many": ("a", "b"), "count": 1 << 40, "ok": True, "age": 1.5}
    resource = Resource({"service.name": "ours", "service.version": "1.2", "deployment.environment": "test"})
    one = span("go", attributes, here=here, parent=parent, links=[Link(cause)], resource=resource)
    ((found,),) = await translated(agent, one)
    assert {name: found[name] for name in ("name", "resource", "service", "type")} == {
        "name": "go",
        "resource": "go",
        "service": "ours",
        "type": "custom",
    }
    assert (found["trace_id"], found["span_id"], found["parent_id"]) == (9, (1 << 64) - 5, parent.span_id)
    assert (found["start"], found["duration"]) == (1_700_000_000_000_000_000, 2_000_000_000)
    assert found["span_links"] == [{"trace_id": 4, "trace_id_high": 3, "span_id": 5}]
    assert found["meta"] == {
        "_dd.p.tid": "0000000000000007",
        "text": "ü",
        "many": "('a', 'b')",
        "ok": "true",
        "version": "1.2",
        "env": "test",
    }
    assert found["metrics"] == {"_sampling_priority_v1": 2, "count": 1 << 40, "age": 1.5}
    assert "error" not in found


@ensureDeferred
async def test_a_request(agent: HttpBackend) -> None:
    """A request of ours is a web request, whose name is the same for all and whose resource is its route."""
    ((found,),) = await translated(agent, span("GET /{module}/@latest", kind=SpanKind.SERVER))
    assert (found["name"], found["resource"], found["type"]) == ("http.server.request", "GET /{module}/@latest", "web")
    assert "parent_id" not in found


@ensureDeferred
async def test_errors(agent: HttpBackend) -> None:
    """What failed is an error, with its message when there is one."""
    failed = [span(status=Status(StatusCode.ERROR, "no")), span(status=Status(StatusCode.ERROR))]
    traces = await translated(agent, *failed)
    assert [trace[0]["error"] for trace in traces] == [1, 1]
    assert [trace[0]["meta"].get("error.message") for trace in traces] == ["no", None]


@ensureDeferred
async def test_traces_are_kept_together(agent: HttpBackend) -> None:
    """The spans of one trace are one trace, whatever lies between them; its first span has the rest of the id."""
    one, other = context((5 << 64) | 1), context((6 << 64) | 2)
    spans = [span("a", here=one), span("b", here=other), span("c", here=context(one.trace_id))]
    traces = await translated(agent, *spans)
    assert [[each["name"] for each in trace] for trace in traces] == [["a", "c"], ["b"]]
    assert [each["meta"].get("_dd.p.tid") for each in traces[0]] == ["0000000000000005", None]


@pytest.mark.parametrize("status", [404, 500, 307])
@ensureDeferred
async def test_refusals(status: int, agent: HttpBackend) -> None:
    """Every answer but 200 is raised."""
    agent.status = status
    with pytest.raises(OSError, match=str(status)):
        await deferToThread(exporter(agent).export, [span()])


@ensureDeferred
async def test_otlp(agent: HttpBackend) -> None:
    """A URL of OTLP is served by OTLP over HTTP."""
    one = datadog.load(f"http://127.0.0.1:{agent.port}/v1/traces", 2)()
    await deferToThread(one.export, [span("verify")])
    assert [each.name for each in spans_of(agent.received[0].otlp())] == ["verify"]


SCRIPT = """
import os, signal, socket, subprocess, sys, threading, http.client

def state():
    return (
        [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)],
        [sys.excepthook, threading.excepthook, socket.socket, subprocess.Popen, threading.Thread],
        [http.client.HTTPConnection.request, os.fork, sys.gettrace(), sys.stdout.write, sys.stderr.write],
        len(os.listdir("/proc/self/task")),
    )

from athensd.observe import datadog
from athensd.observe.quiet import hush
hush()
before = state()
datadog.load("http://127.0.0.1:1", 1)()
assert "ddtrace" in sys.modules
assert state() == before, (before, state())
"""


def test_ddtrace_changes_nothing() -> None:
    """Loading ddtrace replaces no handler of signals and exceptions, patches nothing, begins no thread."""
    done = subprocess.run([sys.executable, "-W", "always", "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")
