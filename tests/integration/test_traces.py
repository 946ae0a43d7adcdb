"""What a real Jaeger, Datadog's test agent and a server of Cloud Trace's interface are told of the whole daemon."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cloud_trace import running_cloud_trace
from tests.integration.daemon import Daemon, running
from tests.integration.datadog_agent import running_agent
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.jaeger import Jaeger, running_jaeger
from tests.integration.process import eventually, free_ports
from tests.integration.spans import Span, outline, root
from tests.rig.modules import make_corpus

MODULE = "example.test/word"
COLD = """\
GET /{module}/@v/{version}.zip
  storage.open
  flight
    fetch
      storage.open
      queue
      origin.fetch
        http
      verify
      storage.open
      storage.open
      storage.put
      storage.put
      storage.open
      storage.open
      storage.open
      index.add
  storage.open
  storage.open
"""
WARM = """\
GET /{module}/@v/{version}.zip
  storage.open
  storage.open
"""
DIRECT = """\
GET /{module}/@v/{version}.zip
  storage.open
  flight
    fetch
      storage.open
      origin.fetch
        flight
          repository
          queue
          go
      verify
      storage.open
      storage.open
      storage.put
      storage.put
      storage.put
      storage.put
      storage.open
      storage.open
      storage.open
      index.add
  storage.open
  storage.open
"""


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A server of one module."""
    add_version(
        tmp_path / "tree", MODULE, "v1.0.0", {"go.mod": b"module example.test/word\n", "word.go": b"package w\n"}
    )
    server = Upstream(tmp_path / "tree")
    yield server
    server.stop()


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[Jaeger]:
    """One that has seen nothing yet."""
    with running_jaeger(tmp_path) as server:
        yield server


def to(exporter: str, url: str) -> dict[str, str]:
    """The settings that send traces there; they are sent soon, so that nobody has to wait for them."""
    return {
        "ATHENS_TRACE_EXPORTER": exporter,
        "ATHENS_TRACE_EXPORTER_URL": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def ask_cold_and_warm(daemon: Daemon) -> None:
    """What ``go mod download`` asks for, and the zip once more.  At the end the daemon has sent all it had to tell."""
    for file in ("v1.0.0.info", "v1.0.0.mod", "v1.0.0.zip", "v1.0.0.zip"):
        assert daemon.get(f"{MODULE}/@v/{file}")[0] == 200
    assert daemon.end() == 0


@pytest.mark.parametrize(("exporter", "way"), [("jaeger", "thrift"), ("jaeger", "otlp"), ("otlp", "otlp")])
def test_jaeger_has_the_whole_tree_of_a_cold_fetch(
    tmp_path: Path, upstream: Upstream, jaeger: Jaeger, exporter: str, way: str
) -> None:
    """Every step of a miss is in one trace, under its parent, and says what it was about; a hit is three steps."""
    url = {"thrift": jaeger.thrift, "otlp": f"{jaeger.otlp}/v1/traces"}[way]
    with running(tmp_path / "athensd", upstream.url, **to(exporter, url)) as daemon:
        ask_cold_and_warm(daemon)
        assert not [line for line in daemon.lines() if "traces" in line["msg"]], "what works is no news"
    cold, warm = [trace for trace in jaeger.settled_traces() if trace[0].name.endswith(".zip")]
    assert (outline(cold), outline(warm)) == (COLD, WARM)
    request = {"http.request.method": "GET", "http.response.status_code": 200, "go.module.path": MODULE}
    assert cold[0].tags.items() >= {**request, "athens.cache": "miss", "go.module.version": "v1.0.0"}.items()
    assert warm[0].tags.items() >= {**request, "athens.cache": "hit", "span.kind": "server"}.items()
    exchange = one(cold, "http").tags
    assert exchange["url.full"] == f"{upstream.url}/{MODULE}/@v/v1.0.0.zip"
    assert (exchange["http.response.status_code"], exchange["span.kind"]) == (200, "client")
    length = cold[0].tags["http.response.body.size"]
    assert [one(cold, name).tags["bytes"] for name in ("fetch", "origin.fetch", "verify")] == [length] * 3
    puts = [(span.tags["athens.kind"], span.tags["bytes"]) for span in cold if span.name == "storage.put"]
    assert puts == [("ziphash", 47), ("zip", length)]
    assert all(span.start + span.duration <= cold[0].start + cold[0].duration for span in cold)


def one(trace: list[Span], name: str) -> Span:
    """The only span of this name."""
    (span,) = [span for span in trace if span.name == name]
    return span


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_jaeger_has_the_go_command_of_a_cold_fetch(tmp_path: Path, jaeger: Jaeger) -> None:
    """Straight from a repository, the child that does the work is a step too, with what it cost."""
    make_corpus(tmp_path / "corpus")
    git = f"url.file://{tmp_path}/corpus/.insteadOf"
    settings = (
        f"GOPROXY=direct;GIT_ALLOW_PROTOCOL=file;GIT_CONFIG_COUNT=1;GIT_CONFIG_KEY_0={git};GIT_CONFIG_VALUE_0=https://"
    )
    sent = to("jaeger", jaeger.thrift)
    with running(tmp_path / "athensd", "off", ATHENS_GO_BINARY_ENV_VARS=settings, **sent) as daemon:
        assert daemon.get("github.com/pkg/errors/@v/v0.9.1.zip")[0] == 200
        assert daemon.end() == 0
    (trace,) = [trace for trace in jaeger.settled_traces() if trace[0].name.endswith(".zip")]
    assert outline(trace) == DIRECT
    go = one(trace, "go").tags
    assert (go["process.command"], go["process.exit.code"]) == ("go mod download", 0)
    assert "github.com/pkg/errors@v0.9.1" in go["process.command_args"]
    assert go["cpu_seconds"] > 0
    assert go["peak_memory"] > 1 << 20
    assert go["bytes"] > 0


def test_a_waiter_is_linked_to_the_fetch_that_it_waits_for(tmp_path: Path, upstream: Upstream, jaeger: Jaeger) -> None:
    """Of two clients at once one has the fetch in its trace, the other a link to it."""
    upstream.delay = 0.5
    with running(tmp_path / "athensd", upstream.url, **to("jaeger", jaeger.thrift)) as daemon:
        clients = [threading.Thread(target=daemon.get, args=(f"{MODULE}/@v/v1.0.0.zip",)) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert daemon.end() == 0
    traces = [trace for trace in jaeger.settled_traces() if trace[0].name.endswith(".zip")]
    works, waits = sorted(traces, key=lambda trace: -len(trace))
    flight = next(span for span in works if span.name == "flight")
    assert "fetch" in {span.name for span in works if span.parent == flight.id}
    assert (one(waits, "flight").tags["joined"], one(waits, "flight").links) == (True, {(flight.trace, flight.id)})
    assert "fetch" not in {span.name for span in waits}


def test_a_refresh_is_a_trace_of_its_own_linked_to_its_cause(
    tmp_path: Path, upstream: Upstream, jaeger: Jaeger
) -> None:
    """Who is given a stale list waits for nothing; what is done behind it can be found from there."""
    sent = to("jaeger", f"{jaeger.otlp}/v1/traces")
    with running(tmp_path / "athensd", upstream.url, ATHENS_LIST_FRESH="0", **sent) as daemon:
        for _ in range(2):
            assert daemon.get(f"{MODULE}/@v/list")[0] == 200
        eventually(lambda: [trace for trace in jaeger.traces() if trace[0].name == "refresh"])
        assert daemon.end() == 0
    traces = jaeger.settled_traces()
    (stale,) = [trace for trace in traces if trace[0].tags.get("athens.cache") == "stale"]
    (refresh,) = [trace for trace in traces if trace[0].name == "refresh"]
    assert "http" not in {span.name for span in stale}
    assert "http" in {span.name for span in refresh}
    assert {trace for trace, _ in refresh[0].links} == {stale[0].trace}


def test_a_trace_goes_through_two_of_ours_and_begins_at_the_client(
    tmp_path: Path, upstream: Upstream, jaeger: Jaeger
) -> None:
    """W3C Trace Context comes in and goes out: what both do for one request is one trace, with the client's id."""
    sent = to("jaeger", jaeger.thrift)
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with (
        running(tmp_path / "above", upstream.url, OTEL_SERVICE_NAME="above", **sent) as above,
        running(tmp_path / "below", above.url, **sent) as below,
    ):
        assert below.get(f"{MODULE}/@v/v1.0.0.mod", traceparent=f"00-{trace_id}-{span_id}-01")[0] == 200
        assert (below.end(), above.end()) == (0, 0)
    (trace,) = jaeger.settled_traces()
    assert {span.trace for span in trace} == {trace_id}
    first, second = [span for span in trace if span.tags.get("span.kind") == "server"]
    assert (first.service, first.parent) == ("athensd", span_id)
    exchange = next(span for span in trace if span.name == "http")
    assert (exchange.service, second.service, second.parent) == ("athensd", "above", exchange.id)


def test_jaeger_may_go_and_come_back(tmp_path: Path, upstream: Upstream) -> None:
    """One line when it goes and one when it is there again; requests are answered all the same."""
    ports = free_ports(7)
    asked = f"{MODULE}/@v/v1.0.0.mod"
    with running(tmp_path / "athensd", upstream.url, **to("jaeger", f"http://127.0.0.1:{ports[0]}")) as daemon:

        def says() -> list[str]:
            assert daemon.get(asked)[0] == 200
            return [line["msg"] for line in daemon.lines() if line["msg"].startswith("traces ")]

        with running_jaeger(tmp_path, ports) as jaeger:
            assert daemon.get(asked)[0] == 200
            eventually(jaeger.traces)
            assert says() == []
        eventually(says)
        with running_jaeger(tmp_path, ports) as jaeger:
            eventually(lambda: len(says()) == 2)
            assert daemon.end() == 0
            assert jaeger.settled_traces()
        said = [line for line in daemon.lines() if line["msg"].startswith("traces ")]
        assert [line["msg"] for line in said] == ["traces are not delivered", "traces are delivered again"]
        assert said[0]["address"] == f"{jaeger.thrift}/api/traces"
        assert said[0]["reason"]
        assert {line["level"] for line in daemon.lines()} == {"info"}


@pytest.mark.parametrize("way", ["native", "otlp"])
def test_a_datadog_agent_has_the_same_spans(tmp_path: Path, upstream: Upstream, way: str) -> None:
    """By its own protocol and by OTLP: the whole tree of a cold fetch, under the same names."""
    with running_agent(tmp_path) as agent:
        url = {"native": agent.native, "otlp": f"{agent.otlp}/v1/traces"}[way]
        with running(tmp_path / "athensd", upstream.url, **to("datadog", url)) as daemon:
            ask_cold_and_warm(daemon)
        spans = agent.native_spans() if way == "native" else agent.otlp_spans()
    expect_cold_and_warm(spans)
    assert {span.service for span in spans} == {"athensd"}


def test_cloud_trace_has_the_same_spans(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own interface, over gRPC: the whole tree of a cold fetch, under the same names."""
    with running_cloud_trace() as cloud_trace:
        monkeypatch.setattr("tests.integration.daemon.TWISTD", cloud_trace.twistd(tmp_path))
        with running(tmp_path / "athensd", upstream.url, **to("stackdriver", "a-project")) as daemon:
            ask_cold_and_warm(daemon)
        spans = cloud_trace.spans()
    expect_cold_and_warm(spans)


def expect_cold_and_warm(spans: list[Span]) -> None:
    """These are the spans of ``ask_cold_and_warm``."""
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace, []).append(span)
    assert all(root(trace) for trace in traces.values()), "each is whole"
    cold, warm = [trace for trace in traces.values() if trace[0].name.endswith(".zip")]
    assert (outline(cold), outline(warm)) == (COLD, WARM)
    assert [trace[0].tags["athens.cache"] for trace in (cold, warm)] == ["miss", "hit"]
    assert {span.tags["go.module.path"] for span in cold if span.name == "storage.put"} == {MODULE}
