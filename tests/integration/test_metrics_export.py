"""The whole daemon, and servers that take its metrics, or do not."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.integration.daemon import running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually
from tests.observe.takers import Agent, Collector, Monitoring, free_port

pytestmark = needs_go


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    add_version(tmp_path / "tree", "example.test/m", "v1.0.0", {"m.go": b"package m\n"})
    return tmp_path / "tree"


@pytest.mark.parametrize("exporter", ["datadog", "otlp", "stackdriver"])
def test_what_a_hit_and_a_miss_leave_arrives(tmp_path: Path, tree: Path, exporter: str) -> None:
    """The last numbers are sent when the daemon ends; nothing is said of it."""
    upstream = Upstream(tree)
    port = free_port(socket.SOCK_DGRAM if exporter == "datadog" else socket.SOCK_STREAM)
    taker = {"datadog": Agent, "otlp": Collector, "stackdriver": Monitoring}[exporter](port)
    scheme = "udp" if exporter == "datadog" else "http"
    settings = {
        "ATHENS_STATS_EXPORTER": exporter,
        "ATHENS_STATS_EXPORTER_URL": f"{scheme}://127.0.0.1:{port}",
        "GOOGLE_CLOUD_PROJECT": "project",
    }
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        for _ in range(2):
            assert daemon.get("example.test/m/@v/v1.0.0.mod")[0] == 200
        assert daemon.get("metrics")[0] == 404
        assert daemon.end() == 0
        lines = daemon.lines()
    upstream.stop()
    eventually(lambda: any("proxy_cache_lookup" in name for name in taker.names()))
    taker.stop()
    assert [line["msg"] for line in lines if "metrics" in line["msg"]] == []
    assert {line["level"] for line in lines} == {"info"}


@pytest.mark.parametrize("exporter", ["datadog", "otlp", "stackdriver"])
def test_who_never_answers_holds_up_nothing(tmp_path: Path, tree: Path, exporter: str) -> None:
    """Requests are answered, there is one line of it, and the end comes within a second and a half."""
    upstream = Upstream(tree)
    # Connections are accepted, and that is all.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scheme, port = "udp" if exporter == "datadog" else "http", silent.getsockname()[1]
        settings = {
            "ATHENS_STATS_EXPORTER": exporter,
            "ATHENS_STATS_EXPORTER_URL": f"{scheme}://127.0.0.1:{port}",
            "GOOGLE_CLOUD_PROJECT": "project",
        }
        with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
            assert daemon.get("example.test/m/@v/v1.0.0.mod")[0] == 200
            began = time.monotonic()
            assert daemon.end() == 0
            assert time.monotonic() - began < 1.5
            lines = daemon.lines()
    upstream.stop()
    [line] = [line for line in lines if "metrics" in line["msg"]]
    assert (line["msg"], line["level"], line["exporter"]) == ("metrics are not delivered", "info", exporter)
    assert {line["level"] for line in lines} == {"info"}
