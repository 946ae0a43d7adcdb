"""Metrics: what is counted of which step, and with which labels."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from athensd import __version__
from athensd.errors import (
    Conflict,
    Forbidden,
    Gone,
    InvalidPath,
    InvalidRequest,
    NotFound,
    Overloaded,
    StorageFailed,
    TimedOut,
    Unsupported,
    UpstreamFailed,
    VerificationFailed,
)
from athensd.observe.instruments import ATHENS_FETCH_SECONDS
from athensd.observe.metrics import MOST_HOSTS, Metrics
from athensd.observe.prometheus import exposition
from athensd.observe.reactor_lag import INTERVAL, ReactorLag
from athensd.steps import Step, step, watch

TABLE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
ANSWERS = [NotFound("x"), InvalidPath("x"), Gone("x"), InvalidRequest("x"), Unsupported("x"), CancelledError()]


class Watched:
    """Metrics that are told of all steps."""

    def __init__(self) -> None:
        self.connections = 0
        self.dropped = 0
        self.metrics = Metrics(
            open_connections=lambda: self.connections, dropped_spans=lambda: self.dropped, stored_bytes=lambda: 7
        )
        watch(self.metrics)

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of one series."""
        return self.metrics.instruments.registry.get_sample_value(name, labels)

    def families(self) -> list[Metric]:
        return list(self.metrics.instruments.registry.collect())

    def total(self, name: str) -> float:
        """The sum of all series of a name."""
        return sum(sample.value for family in self.families() for sample in family.samples if sample.name == name)

    def series(self, name: str) -> set[tuple[str, ...]]:
        """The label values, in the order of their names, of all series of a name."""
        return {
            tuple(value for _, value in sorted(sample.labels.items()))
            for family in self.families()
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def measured() -> Iterator[Watched]:
    yield Watched()
    watch()


def request(seconds: float = 0.003, **facts: object) -> None:
    """A request that is over."""
    known: dict[str, object] = {"method": "GET", "route": "mod", "status": 200, "cache": "hit", "bytes": 50}
    ended("request", seconds, None, **{**known, **facts})


def ended(name: str, seconds: float = 0.003, error: BaseException | None = None, **facts: object) -> None:
    """A step that took so long."""
    this = step(name, **facts).open()
    this.began -= seconds
    this.close(error)


def test_a_request(measured: Watched) -> None:
    """A request is counted with its route, method and status, its seconds and its bytes."""
    request()
    request(seconds=0.2, bytes=2000)
    labels = {"http_request_method": "GET", "http_response_status_code": "200", "http_route": "mod"}
    assert measured("proxy_http_server_request_duration_count", **labels, cache_result="hit") == 2
    seconds = measured("proxy_http_server_request_duration_sum", **labels, cache_result="hit")
    assert seconds == pytest.approx(0.203, abs=0.001)
    assert measured("proxy_http_server_request_duration_bucket", **labels, cache_result="hit", le="0.005") == 1
    assert measured("proxy_http_server_response_body_size_sum", **labels) == 2050
    assert measured("proxy_http_server_response_body_size_bucket", **labels, le="100.0") == 1
    assert measured("proxy_requests_total", http_route="mod", cache_result="hit") == 2


@pytest.mark.parametrize(("route", "kind"), [("info", "info"), ("mod", "gomod"), ("zip", "zip")])
@pytest.mark.parametrize(
    ("cache", "result"), [("hit", "hit"), ("stale", "hit"), ("miss", "miss"), ("negative", "miss")]
)
def test_lookups_as_athens_counts_them(measured: Watched, route: str, kind: str, cache: str, result: str) -> None:
    """A stale answer was there, and one that is known to be absent was not; the other series stand at nothing."""
    request(route=route, cache=cache, age=1.0)
    assert measured("proxy_cache_lookup_total", cache_result=result, cache_type=kind) == 1
    assert measured.total("proxy_cache_lookup_total") == 1
    assert len(measured.series("proxy_cache_lookup_total")) == 6


@pytest.mark.parametrize(("route", "cache"), [("list", "hit"), ("latest", "miss"), ("zip", ""), ("none", "")])
def test_what_is_no_lookup(measured: Watched, route: str, cache: str) -> None:
    """Lists are not lookups for Athens, and neither are requests that failed before they came to the store."""
    request(route=route, cache=cache)
    assert measured.total("proxy_cache_lookup_total") == 0
    assert measured("proxy_requests_total", http_route=route, cache_result=cache or "none") == 1


def test_what_no_table_knows_is_other(measured: Watched) -> None:
    """Whatever a request says of itself, its labels are those of the tables."""
    request(method="BREW", route="/etc/passwd", status=799, cache="maybe")
    labels = {"http_request_method": "other", "http_response_status_code": "other", "http_route": "other"}
    assert measured("proxy_http_server_request_duration_count", **labels, cache_result="other") == 1
    assert measured("proxy_requests_total", http_route="other", cache_result="other") == 1


def test_the_age_of_stale_answers(measured: Watched) -> None:
    """Only of what was served stale the age is kept."""
    request(route="list", cache="stale", age=4000.0)
    request(route="list", cache="hit", age=30.0)
    assert measured("proxy_stale_age_seconds_sum", http_route="list") == 4000
    assert measured("proxy_stale_age_seconds_count", http_route="list") == 1


@pytest.mark.parametrize(
    ("name", "gauge"),
    [
        ("request", "proxy_requests_in_progress"),
        ("fetch", "proxy_fetches_in_progress"),
        ("go", "proxy_go_commands_in_progress"),
    ],
)
def test_what_is_in_progress(measured: Watched, name: str, gauge: str) -> None:
    """A step counts from its beginning to its end, however that is."""
    first, second = Step(name, {}).open(), Step(name, {}).open()
    assert measured(gauge) == 2
    first.close()
    second.close(ValueError())
    assert measured(gauge) == 0


def test_waiting_for_a_slot(measured: Watched) -> None:
    """A question is in the queue until it has its slot; one that is refused did not wait."""
    waiting = step("queue", origin="upstream.test").open()
    assert measured("proxy_queue_length", origin="upstream.test") == 1
    waiting.began -= 2
    waiting.close()
    assert measured("proxy_queue_length", origin="upstream.test") == 0
    ended("queue", error=Overloaded("x"), origin="upstream.test")
    assert measured("proxy_queue_wait_seconds_count", origin="upstream.test") == 1
    assert measured("proxy_queue_wait_seconds_bucket", origin="upstream.test", le="1.0") == 0
    assert measured("proxy_queue_refusals_total", origin="upstream.test") == 1


def test_waiting_for_another(measured: Watched) -> None:
    """Who began the work waits for nobody; who joined waits for him."""
    ended("flight", 3, joined=False)
    ended("flight", 7, joined=True)
    assert measured("proxy_flight_wait_seconds_count") == 1
    assert measured("proxy_flight_wait_seconds_sum") == pytest.approx(7, abs=0.01)


def test_questions_to_an_origin(measured: Watched) -> None:
    """Each question has a duration; that of a file is what Athens calls an upstream fetch."""
    ended("origin.list", 1, origin="upstream.test", module="example.test/m")
    ended("origin.fetch", 2, origin="upstream.test", module="example.test/m")
    ended("origin.fetch", 3, NotFound("x"), origin="direct", module="example.test/m")
    assert measured("proxy_origin_duration_seconds_count", origin="upstream.test", question="list") == 1
    assert measured("proxy_origin_duration_seconds_count", origin="direct", question="fetch") == 1
    assert measured("proxy_upstream_fetch_total", fetch_result="success") == 1
    assert measured("proxy_upstream_fetch_total", fetch_result="failure") == 1
    assert measured("proxy_upstream_fetch_duration_seconds_sum", fetch_result="failure") == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        *((kind("x"), kind.__name__) for kind in (UpstreamFailed, TimedOut, Overloaded, Forbidden, VerificationFailed)),
        (ZeroDivisionError("x"), "unexpected"),
    ],
)
def test_failures_of_origins(measured: Watched, error: Exception, word: str) -> None:
    """A failure is counted by its word and its host, which for the go command is that of the module."""
    ended("origin.list", error=error, origin="upstream.test", module="example.test/m")
    ended("origin.resolve", error=error, origin="direct", module="example.test/m")
    assert measured("proxy_origin_failures_total", origin="upstream.test", host="upstream.test", failure=word) == 1
    assert measured("proxy_origin_failures_total", origin="direct", host="example.test", failure=word) == 1


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: type(error).__name__)
def test_answers_are_no_failures(measured: Watched, error: Exception) -> None:
    """That something is not there, or that the asker has left, is no failure of origin or store."""
    ended("origin.fetch", error=error, origin="direct", module="example.test/m")
    ended("storage.open", error=error)
    assert measured.series("proxy_origin_failures_total") == set()
    assert measured.total("proxy_storage_failures_total") == 0


def test_who_left_says_nothing_of_the_origin(measured: Watched) -> None:
    """How long a question lasted that was given up is no measure of the origin."""
    ended("origin.fetch", error=CancelledError(), origin="direct", module="m")
    ended("http", error=CancelledError(), host="upstream.test")
    assert measured.series("proxy_origin_duration_seconds_count") == set()
    assert measured("proxy_upstream_fetch_total", fetch_result="failure") == 0
    assert measured.series("proxy_http_client_request_duration_count") == set()


def test_hosts_are_bounded(measured: Watched) -> None:
    """However many hosts are named, a metric tells fifty of them apart, the first ones."""
    for number in range(3 * MOST_HOSTS):
        ended("origin.fetch", error=UpstreamFailed("x"), origin="direct", module=f"host{number}.test/m")
        ended("http", host=f"cdn{number}.test", status=200)
        ended("queue", origin=f"upstream{number}.test")
    failures = measured.series("proxy_origin_failures_total")
    assert len(failures) == MOST_HOSTS + 1
    assert {("UpstreamFailed", "host0.test", "direct"), ("UpstreamFailed", "other", "direct")} <= failures
    assert measured("proxy_origin_failures_total", origin="direct", host="other", failure="UpstreamFailed") == 100
    assert len(measured.series("proxy_http_client_request_duration_count")) == MOST_HOSTS + 1
    # One of the fifty origins is "direct".
    assert len(measured.series("proxy_queue_wait_seconds_count")) == MOST_HOSTS
    assert measured("proxy_queue_length", origin="other") == 0


def test_exchanges_with_upstreams(measured: Watched) -> None:
    """An exchange is counted by its host and its status, also when there was no answer or an odd one."""
    for status in (200, 404, None, 799):
        ended("http", 0.5, host="upstream.test", status=status)
    statuses = {values[0] for values in measured.series("proxy_http_client_request_duration_count")}
    assert statuses == {"200", "404", "none", "other"}


def test_go_commands(measured: Watched) -> None:
    """A command has its seconds, its CPU and its end; the memory is that of the largest one."""
    ended("go", 2, command="go mod download", exit=0, cpu_seconds=1.5, peak_memory=3_000_000)
    ended("go", 2, command="go mod download", exit=1, cpu_seconds=0.5, peak_memory=1_000_000)
    ended("go", 2, TimedOut("x"), command="go list")
    ended("go", 2, command="go fly", exit=0)
    assert measured.series("proxy_go_command_duration_seconds_count") == {
        ("go mod download", "ok"),
        ("go mod download", "failed"),
        ("go list", "failed"),
        ("other", "ok"),
    }
    assert measured("proxy_go_cpu_seconds_total", command="go mod download") == 2
    assert measured("proxy_go_peak_memory_bytes") == 3_000_000


def test_storage(measured: Watched) -> None:
    """Each operation has its seconds, and its failures by kind; those that never happened stand at nothing."""
    ended("storage.put", 0.5, StorageFailed("x"))
    ended("storage.put", 0.5, Conflict("x"))
    ended("storage.open", 0.5)
    assert measured("proxy_storage_duration_seconds_count", operation="put") == 2
    assert measured("proxy_storage_duration_seconds_sum", operation="open") == pytest.approx(0.5, abs=0.01)
    assert measured("proxy_storage_duration_seconds_count", operation="page") == 0
    assert measured("proxy_storage_failures_total", operation="put", failure="StorageFailed") == 1
    assert measured("proxy_storage_failures_total", operation="put", failure="Conflict") == 1
    assert measured("proxy_storage_failures_total", operation="open", failure="StorageFailed") == 0


def test_verification(measured: Watched) -> None:
    """What was fetched and is wrong is counted once, whether the zip or something beside it was wrong."""
    ended("verify", 0.5)
    ended("fetch", error=VerificationFailed("x"))
    ended("fetch", error=UpstreamFailed("x"))
    ended("fetch")
    assert measured("proxy_verification_duration_seconds_count") == 1
    assert measured("proxy_verification_failures_total") == 1


def test_what_others_know(measured: Watched) -> None:
    """Connections and dropped spans are asked for when somebody collects."""
    measured.connections, measured.dropped = 3, 7
    assert measured("proxy_open_connections") == 3
    assert measured("proxy_spans_dropped_total") == 7
    assert measured("proxy_build_info", version=__version__) == 1


def test_unknown_steps_are_passed_over(measured: Watched) -> None:
    """A step that nobody counts is no fault."""
    before = {family.name for family in measured.families()}
    ended("something.new", error=ValueError())
    assert {family.name for family in measured.families()} == before


def test_reactor_lag() -> None:
    """A timer that is late is so by as much as the reactor was held up; one that is not is late by nothing."""
    clock, late = Clock(), []
    lag = ReactorLag(clock, late.append)
    lag.start()
    clock.advance(INTERVAL)
    clock.advance(INTERVAL + 0.5)
    clock.advance(INTERVAL)
    assert late == pytest.approx([0, 0.5, 0])
    lag.stop()
    clock.advance(10)
    assert len(late) == 3
    assert clock.getDelayedCalls() == []


def everything(measured: Watched) -> None:
    """At least one of each."""
    request(cache="stale", age=1.0)
    for name in ("origin.list", "origin.resolve", "origin.fetch"):
        ended(name, error=UpstreamFailed("x"), origin="upstream.test", module="m")
    ended("http", host="upstream.test", status=200)
    ended("queue", origin="upstream.test")
    ended("queue", origin="upstream.test", error=Overloaded("x"))
    ended("flight", joined=True)
    ended("go", command="go list", exit=0, cpu_seconds=1, peak_memory=1)
    ended("storage.open", error=StorageFailed("x"))
    ended("verify")


def test_the_text_can_be_read(measured: Watched) -> None:
    """The library's own parser finds in the text all series that were collected."""
    everything(measured)
    text, content_type = exposition(measured.metrics.instruments.registry, "text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")
    read = {sample.name for family in parse_text(text.decode()) for sample in family.samples}
    assert read == {sample.name for family in measured.families() for sample in family.samples}
    assert not any(name.endswith("_created") for name in read)


def test_openmetrics_for_whoever_asks(measured: Watched) -> None:
    """A server that accepts OpenMetrics is given that; its parser is strict and reads it."""
    everything(measured)
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    text, content_type = exposition(measured.metrics.instruments.registry, accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in parse_openmetrics(text.decode())} == {f.name for f in measured.families()}


def test_the_buckets_of_athens(measured: Watched) -> None:
    """Dashboards that were made for Athens find the buckets that they ask for."""
    everything(measured)
    bounds = {values[1] for values in measured.series("proxy_upstream_fetch_duration_seconds_bucket")}
    assert bounds == {*map(str, map(float, ATHENS_FETCH_SECONDS)), "+Inf"}
    assert ATHENS_FETCH_SECONDS == (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


def test_the_table_is_complete(measured: Watched) -> None:
    """``docs/metrics.md`` names every metric with its type and its labels, and none that is not there."""
    everything(measured)
    rows = re.findall(
        r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*)\| ([^|]+) \|$", TABLE.read_text(), re.MULTILINE
    )
    told = {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels, _ in rows}
    assert told == dict(map(described, measured.families()))
    assert len(rows) == len(told)


def described(family: Metric) -> tuple[str, tuple[str, frozenset[str]]]:
    labels = frozenset(name for sample in family.samples for name in sample.labels if name != "le")
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return f"{family.name}{suffix}", ({"info": "gauge"}.get(family.type, family.type), labels)


def test_what_happened_at_once(measured: Watched) -> None:
    """A request that was over at once is counted as any other, and was never in progress."""
    known = {"method": "GET", "route": "mod", "status": 200, "cache": "hit", "bytes": 50}
    Step("request", dict(known), apart=True).happened(time.perf_counter())
    assert measured("proxy_requests_total", http_route="mod", cache_result="hit") == 1
    assert measured("proxy_requests_in_progress") == 0
