"""``StatsExporter``: whatever becomes of who takes the metrics is a line when he goes, and one when he returns."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import grpc
import pytest
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.task import deferLater

from athensd.observe import dogstatsd, stackdriver_metrics
from athensd.observe.reactor_lag import ReactorLag
from athensd.observe.stats import EXPORTERS, Stats, make_stats
from athensd.steps import step, watch
from tests.observe.takers import Agent, Collector, Monitoring, free_port

QUICKLY = 0.05
"""Seconds between two sendings."""

Lines = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All send often and wait briefly."""
    for name in [*os.environ]:
        if name.startswith(("OTEL_", "DD_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", str(int(QUICKLY * 1000)))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.4")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(dogstatsd, "INTERVAL", QUICKLY)
    monkeypatch.setattr(stackdriver_metrics, "INTERVAL", QUICKLY)
    monkeypatch.setattr(stackdriver_metrics, "TIMEOUT", 0.4)


def made(exporter: str, url: str = "") -> Stats | None:
    return make_stats(
        exporter,
        url,
        reactor,
        environ=os.environ,
        project="project",
        open_connections=lambda: 3,
        dropped_spans=lambda: 0,
        stored_bytes=lambda: 0,
    )


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """Our own log.  In that of the libraries nothing is seen."""
    with capture_logs() as lines, caplog.at_level(logging.DEBUG):
        yield lines
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def eventually(true: Callable[[], Any]) -> None:
    """Wait for something, 20 seconds at most."""
    for _ in range(1000):
        if true():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError("it never came true")


GONE, BACK = "metrics are not delivered", "metrics are delivered again"


def told(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


def spoken(lines: Lines) -> Lines:
    """What an operator sees."""
    return [line for line in lines if line["log_level"] != "debug"]


async def stopped(stats: Stats) -> None:
    """Stop it; that must be quick."""
    began = time.monotonic()
    await stats.stop()
    assert time.monotonic() - began < 1.5


REFUSED = "Connection refused"
HTTP, PROJECT, UDP = "http://127.0.0.1:{port}", "127.0.0.1:{port}/projects/project", "udp://127.0.0.1:{port}"
Server = Callable[[int], Any]
AWAY: list[tuple[str, str, str, Server | None, str]] = [
    ("datadog", UDP, UDP, None, REFUSED),
    ("datadog", "unix:///nowhere/dsd.socket", "unix:///nowhere/dsd.socket", None, "No such file"),
    ("otlp", HTTP, HTTP + "/v1/metrics", None, REFUSED),
    ("otlp", "http://user:secret@127.0.0.1:{port}/in?key=secret", HTTP + "/in", None, REFUSED),
    ("otlp", HTTP, HTTP + "/v1/metrics", lambda port: Collector(port, 404), "404 Not Found"),
    ("otlp", HTTP, HTTP + "/v1/metrics", lambda port: Collector(port, 500), "500 Internal Server Error"),
    ("otlp", HTTP, HTTP + "/v1/metrics", lambda port: Collector(port, 503), "503 Service Unavailable"),
    ("otlp", HTTP, HTTP + "/v1/metrics", lambda port: Collector(port, answering=silence), "timed out"),
    ("otlp", HTTP, HTTP + "/v1/metrics", lambda port: Collector(port, 302), "302 Found"),
    ("otlp", "127.0.0.1:{port}", HTTP + "/v1/metrics", None, REFUSED),
    ("otlp", "grpc://127.0.0.1:{port}", "grpc://127.0.0.1:{port}/v1/metrics", None, "No connection adapters"),
    ("otlp", "https://127.0.0.1:{port}", "https://127.0.0.1:{port}/v1/metrics", Collector, "SSL|TLS"),
    ("stackdriver", HTTP, PROJECT, None, REFUSED),
    ("stackdriver", HTTP, PROJECT, lambda port: Monitoring(port, answering=silence), "DEADLINE_EXCEEDED"),
    (
        "stackdriver",
        HTTP,
        PROJECT,
        lambda port: Monitoring(port, grpc.StatusCode.PERMISSION_DENIED),
        "PERMISSION_DENIED not allowed",
    ),
    (
        "stackdriver",
        HTTP,
        PROJECT,
        lambda port: Monitoring(port, grpc.StatusCode.UNAVAILABLE),
        "UNAVAILABLE not allowed",
    ),
    ("stackdriver", "mine", "monitoring.googleapis.com/projects/mine", None, "credentials were not found"),
    ("stackdriver", "", "monitoring.googleapis.com/projects/project", None, "credentials were not found"),
]
_silence = threading.Event()


def silence() -> None:
    """No answer as long as a test lasts."""
    _silence.wait(30)


@pytest.mark.parametrize(("exporter", "url", "address", "server", "reason"), AWAY)
@ensureDeferred
async def test_who_does_not_take_them_is_one_line(
    lines: Lines, exporter: str, url: str, address: str, server: Server | None, reason: str
) -> None:
    """However long it lasts, there is one line, with the address and the reason, and no secret; nobody waits."""
    port = free_port(socket.SOCK_DGRAM if exporter == "datadog" else socket.SOCK_STREAM)
    taker = server(port) if server else None
    stats = made(exporter, url.format(port=port))
    assert stats is not None
    late: list[float] = []
    lag = ReactorLag(reactor, late.append)
    lag.start()
    stats.start()
    await eventually(lambda: told(lines, GONE))
    await deferLater(reactor, 12 * QUICKLY)
    await stopped(stats)
    lag.stop()
    _silence.set()
    if taker:
        taker.stop()
    _silence.clear()
    [line] = spoken(lines)
    assert line["event"] == GONE
    assert (line["log_level"], line["exporter"], line["address"]) == ("info", exporter, address.format(port=port))
    assert re.search(reason, line["reason"]), line["reason"]
    assert "secret" not in str(lines)
    assert max(late) < 0.2


TAKERS: list[tuple[str, str, Server]] = [
    ("datadog", UDP, Agent),
    ("otlp", HTTP, Collector),
    ("stackdriver", HTTP, Monitoring),
]


@pytest.mark.parametrize(("exporter", "url", "server"), TAKERS)
@ensureDeferred
async def test_who_goes_and_returns_is_a_line_each_time(lines: Lines, exporter: str, url: str, server: Server) -> None:
    """One line when he is not there, one when he is, one when he has gone; what he is sent when he is there arrives."""
    port = free_port(socket.SOCK_DGRAM if exporter == "datadog" else socket.SOCK_STREAM)
    stats = made(exporter, url.format(port=port))
    assert stats is not None
    stats.start()
    await eventually(lambda: told(lines, GONE))
    taker = server(port)
    await eventually(lambda: told(lines, BACK))
    assert "proxy_open_connections" in taker.names()
    taker.stop()
    await eventually(lambda: len(told(lines, GONE)) == 2)
    await stopped(stats)
    assert [line["event"] for line in spoken(lines)] == [GONE, BACK, GONE]
    assert {line["log_level"] for line in spoken(lines)} == {"info"}


@pytest.mark.parametrize(
    ("exporter", "url", "server"),
    [
        *TAKERS,
        ("otlp", HTTP, lambda port: Collector(port, answering=lambda: time.sleep(0.2))),
        ("stackdriver", HTTP, lambda port: Monitoring(port, answering=lambda: time.sleep(0.005))),
    ],
)
@ensureDeferred
async def test_who_takes_them_is_no_line_even_when_he_is_slow(
    lines: Lines, exporter: str, url: str, server: Server
) -> None:
    """While all is well, nothing is said; and what happened just before the end arrives too."""
    port = free_port(socket.SOCK_DGRAM if exporter == "datadog" else socket.SOCK_STREAM)
    taker = server(port)
    stats = made(exporter, url.format(port=port))
    assert stats is not None
    stats.start()
    await eventually(lambda: "proxy_open_connections" in taker.names())
    assert not any("go_cpu_seconds" in name for name in taker.names())
    watch(stats.metrics)
    with step("go", command="go list", exit=0, cpu_seconds=1.0):
        pass
    watch()
    await stopped(stats)
    await eventually(lambda: any("go_cpu_seconds" in name for name in taker.names()))
    taker.stop()
    assert spoken(lines) == []


NEEDED = {
    "prometheus": "prometheus_client",
    "datadog": "datadog.dogstatsd.base",
    "otlp": "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "stackdriver": "opentelemetry.exporter.cloud_monitoring",
}


@pytest.mark.parametrize("exporter", EXPORTERS)
@ensureDeferred
async def test_a_missing_library_is_one_line(lines: Lines, monkeypatch: pytest.MonkeyPatch, exporter: str) -> None:
    """Without its library an exporter is not there; the line says what to install, and athensd starts."""
    for module in [name for name in sys.modules if name.startswith("athensd.observe.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, NEEDED[exporter], None)
    stats = made(exporter)
    assert stats is not None
    assert (stats.metrics, stats.delivery.away is not None) == (None, True)
    await eventually(lambda: told(lines, GONE))
    [line] = spoken(lines)
    assert (line["log_level"], line["exporter"]) == ("info", exporter)
    assert f"pip install 'athensd[{exporter}]'" in line["reason"]


@pytest.mark.parametrize(
    ("exporter", "url", "reason"),
    [
        ("nagios", "", "there is no such exporter; there are datadog, otlp, prometheus, stackdriver"),
        ("datadog", "tcp://127.0.0.1:8125", "is like udp://localhost:8125"),
        ("datadog", "udp://127.0.0.1:secret", "is like udp://localhost:8125"),
        ("otlp", "http://[", "this is no URL"),
        ("otlp", "http://user:secret@:1", "this is no URL"),
        ("stackdriver", "http://", "this is no URL"),
    ],
)
@ensureDeferred
async def test_what_makes_no_sense_is_one_line(lines: Lines, exporter: str, url: str, reason: str) -> None:
    """An exporter that nobody knows, or an address that cannot be one: athensd starts all the same."""
    stats = made(exporter, url)
    assert stats is not None
    stats.start()
    assert (stats.metrics, stats.delivery.away is not None) == (None, True)
    await stopped(stats)
    await eventually(lambda: told(lines, GONE))
    [line] = spoken(lines)
    assert (line["log_level"], line["exporter"]) == ("info", exporter)
    assert reason in line["reason"]
    assert "secret" not in line["reason"]


@pytest.mark.parametrize("exporter", ["", "none"])
def test_none(lines: Lines, exporter: str) -> None:
    """Who wants no metrics has none, and hears nothing of it."""
    assert made(exporter) is None
    assert lines == []


@ensureDeferred
async def test_prometheus_is_asked_and_sends_nothing(lines: Lines) -> None:
    """For Prometheus there is a page; there is no thread."""
    before = set(threading.enumerate())
    stats = made("prometheus", "http://127.0.0.1:1")
    assert stats is not None
    stats.start()
    assert stats.exposition is not None
    text, _ = stats.exposition("", [])
    assert b"\nproxy_open_connections 3.0\n" in text
    assert set(threading.enumerate()) <= before
    await stopped(stats)
    assert spoken(lines) == []


@ensureDeferred
async def test_the_end_before_the_beginning(lines: Lines) -> None:
    """What was never started can be stopped."""
    stats = made("otlp", "http://127.0.0.1:1")
    assert stats is not None
    await stopped(stats)
    assert spoken(lines) == []
