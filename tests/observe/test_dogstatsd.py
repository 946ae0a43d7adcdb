"""Metrics for a Datadog agent: the lines that it is sent."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from athensd.observe.dogstatsd import Reading, dogstatsd, readings
from tests.observe.takers import Agent, free_port


@pytest.fixture
def registry() -> CollectorRegistry:
    disable_created_metrics()
    return CollectorRegistry()


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent(free_port(socket.SOCK_DGRAM))
    yield agent
    agent.stop()


def arrived(agent: Agent, true: Callable[[set[str]], bool]) -> set[str]:
    """What the agent was sent, when that is enough; it is then forgotten."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        lines = {*agent.lines}
        if true(lines):
            agent.lines.clear()
            return lines
        time.sleep(0.01)
    raise AssertionError(agent.lines)


def test_names_and_tags(registry: CollectorRegistry) -> None:
    """Names are those of Datadog's check of Prometheus pages; a bucket has its upper bound for a tag."""
    Counter("a_total", "a", ["x"], registry=registry).labels("1").inc(2)
    Gauge("b", "b", registry=registry).set(3)
    Histogram("c_seconds", "c", buckets=(0.5, 1), registry=registry).observe(0.75)
    Info("d", "d", registry=registry).info({"version": "1"})
    assert [*readings(registry.collect())] == [
        Reading("a.count", ("x:1",), 2, True),
        Reading("b", (), 3, False),
        Reading("c_seconds.bucket", ("upper_bound:0.5",), 0, True),
        Reading("c_seconds.bucket", ("upper_bound:1.0",), 1, True),
        Reading("c_seconds.bucket", ("upper_bound:inf",), 1, True),
        Reading("c_seconds.count", (), 1, True),
        Reading("c_seconds.sum", (), 0.75, True),
        Reading("d_info", ("version:1",), 1, False),
    ]


def test_what_was_counted_since(registry: CollectorRegistry, agent: Agent) -> None:
    """A counter's line says by how much it has grown, and there is none when it has not; a gauge's says what it is."""
    counter, gauge = Counter("a_total", "a", ["x"], registry=registry), Gauge("b", "b", registry=registry)
    send = dogstatsd(f"udp://127.0.0.1:{agent.port}", {}).connect()
    counter.labels("1").inc(2)
    gauge.set(3)
    send(registry.collect())
    assert {"athensd.a.count:2.0|c|#x:1", "athensd.b:3.0|g"} <= arrived(agent, lambda lines: "athensd.b:3.0|g" in lines)
    gauge.set(4)
    send(registry.collect())
    assert not any("athensd.a" in line for line in arrived(agent, lambda lines: "athensd.b:4.0|g" in lines))
    counter.labels("1").inc(5)
    send(registry.collect())
    assert "athensd.a.count:5.0|c|#x:1" in arrived(agent, lambda lines: "athensd.b:4.0|g" in lines)


def test_what_was_counted_while_nobody_listened(registry: CollectorRegistry) -> None:
    """It is sent when somebody does."""
    counter = Counter("a_total", "a", registry=registry)
    port = free_port(socket.SOCK_DGRAM)
    send = dogstatsd(f"udp://127.0.0.1:{port}", {}).connect()
    for _ in range(3):
        counter.inc(2)
        with pytest.raises(OSError, match="Connection refused"):
            send(registry.collect())
    agent = Agent(port)
    counter.inc(1)
    send(registry.collect())
    assert "athensd.a.count:7.0|c" in arrived(agent, lambda lines: "athensd.a.count:7.0|c" in lines)
    agent.stop()


@pytest.mark.parametrize(
    ("url", "environ", "address"),
    [
        ("", {}, "udp://localhost:8125"),
        ("", {"DD_AGENT_HOST": "agent"}, "udp://agent:8125"),
        ("", {"DD_AGENT_HOST": "agent", "DD_DOGSTATSD_PORT": "9125"}, "udp://agent:9125"),
        ("", {"DD_DOGSTATSD_URL": "unix:///run/dsd", "DD_AGENT_HOST": "agent"}, "unix:///run/dsd"),
        ("", {"DD_AGENT_HOST": "::1"}, "udp://[::1]:8125"),
        ("udp://there:1", {"DD_DOGSTATSD_URL": "unix:///run/dsd", "DD_AGENT_HOST": "agent"}, "udp://there:1"),
    ],
)
def test_where_to(url: str, environ: Mapping[str, str], address: str) -> None:
    """The setting says where to, then Datadog's own variables, then it is this machine."""
    assert dogstatsd(url, environ).address == address
