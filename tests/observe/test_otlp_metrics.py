"""Metrics in the terms of OpenTelemetry, and by OTLP over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Sum
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Info, disable_created_metrics
from prometheus_client import Counter as Counted
from prometheus_client import Gauge as Gauged
from prometheus_client import Histogram as Measured

from athensd.observe.otlp_metrics import metrics_data, otlp, service
from athensd.observe.push import Undelivered
from tests.observe.takers import Collector, free_port

BEGAN, NOW = 1_000, 2_000


@pytest.fixture
def registry() -> CollectorRegistry:
    disable_created_metrics()
    return CollectorRegistry()


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector(free_port())
    yield collector
    collector.stop()


def translated(registry: CollectorRegistry) -> dict[str, Any]:
    """The data of each metric, by its name."""
    [resource] = metrics_data(registry.collect(), Resource({"service.name": "x"}), BEGAN, NOW).resource_metrics
    [scope] = resource.scope_metrics
    return {metric.name: metric.data for metric in scope.metrics}


def test_a_counter(registry: CollectorRegistry) -> None:
    """It is a sum since the beginning that only grows, under its name without ``_total``, which collectors add."""
    counter = Counted("a_total", "a", ["x"], registry=registry)
    counter.labels("1").inc(2)
    counter.labels("2").inc(0.5)
    data = translated(registry)["a"]
    assert isinstance(data, Sum)
    assert (data.aggregation_temporality, data.is_monotonic) == (AggregationTemporality.CUMULATIVE, True)
    points = [(p.attributes, p.start_time_unix_nano, p.time_unix_nano, p.value) for p in data.data_points]
    assert points == [({"x": "1"}, BEGAN, NOW, 2), ({"x": "2"}, BEGAN, NOW, 0.5)]


def test_gauges(registry: CollectorRegistry) -> None:
    """What goes up and down is a gauge, and so is what is always 1."""
    Gauged("b", "b", registry=registry).set(3)
    Info("c", "c", registry=registry).info({"version": "1"})
    found = translated(registry)
    assert isinstance(found["b"], Gauge)
    assert [(point.attributes, point.value) for point in found["b"].data_points] == [({}, 3)]
    assert [(point.attributes, point.value) for point in found["c_info"].data_points] == [({"version": "1"}, 1)]


def test_a_histogram(registry: CollectorRegistry) -> None:
    """Each bucket has what is in it alone, and the last one what is above all bounds."""
    histogram = Measured("d", "d", ["x"], buckets=(1, 2, 5), registry=registry)
    for value in (0.5, 1.5, 1.75, 7):
        histogram.labels("1").observe(value)
    histogram.labels("2").observe(2)
    data = translated(registry)["d"]
    assert isinstance(data, Histogram)
    assert data.aggregation_temporality == AggregationTemporality.CUMULATIVE
    first, second = data.data_points
    assert (first.attributes, first.explicit_bounds, first.bucket_counts) == ({"x": "1"}, [1, 2, 5], [1, 2, 0, 1])
    assert (first.count, first.sum) == (4, 10.75)
    assert (second.attributes, second.bucket_counts, second.count) == ({"x": "2"}, [0, 1, 0, 0], 1)


def test_what_has_no_series_is_left_out(registry: CollectorRegistry) -> None:
    """A metric of which nothing has happened yet is not sent: nobody could say what its labels are."""
    Counted("a_total", "a", ["x"], registry=registry)
    assert translated(registry) == {}


def test_what_arrives(registry: CollectorRegistry, collector: Collector) -> None:
    """A collector finds the metrics, and who sent them."""
    Counted("a_total", "what it means", registry=registry).inc(2)
    Measured("d", "d", buckets=(1, 2), registry=registry).observe(1.5)
    otlp(f"http://127.0.0.1:{collector.port}", {}).connect()(registry.collect())
    assert collector.paths == ["/v1/metrics"]
    found = {metric.name: metric for metric in collector.metrics()}
    assert found["a"].description == "what it means"
    assert found["a"].sum.data_points[0].as_double == 2
    assert [*found["d"].histogram.data_points[0].bucket_counts] == [0, 1, 0]
    assert not found["d"].histogram.data_points[0].HasField("min")
    [resource] = collector.requests[0].resource_metrics
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "athensd"
    assert names["service.instance.id"]


def test_headers_of_the_environment(
    registry: CollectorRegistry, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter honours the other variables itself: a token for a hosted collector is one of them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=token")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none")
    otlp(f"http://127.0.0.1:{collector.port}", {}).connect()(registry.collect())
    assert collector.headers[0]["api-key"] == "token"


def test_why_it_did_not_arrive(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the last try."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    send = otlp(f"http://127.0.0.1:{free_port()}", {}).connect()
    with pytest.raises(Undelivered, match="Connection refused"):
        send(registry.collect())


def test_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says goes before what we say of ourselves."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=two,deployment.environment=test")
    assert service().attributes["service.name"] == "athensd"
    assert service().attributes["service.instance.id"] == "two"
    assert service().attributes["deployment.environment"] == "test"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "proxy")
    assert service().attributes["service.name"] == "proxy"


@pytest.mark.parametrize(
    ("url", "environ", "address"),
    [
        ("", {}, "http://localhost:4318/v1/metrics"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://c:1/v1/metrics"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1/otlp/"}, "https://c:1/otlp/v1/metrics"),
        (
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:2/in"},
            "http://m:2/in",
        ),
        ("http://here:4318", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://here:4318/v1/metrics"),
        ("http://here:4318/", {}, "http://here:4318/v1/metrics"),
        ("https://here/otlp?key=1", {}, "https://here/otlp?key=1"),
    ],
)
def test_where_to(url: str, environ: Mapping[str, str], address: str) -> None:
    """The setting says where to, else the variables that OpenTelemetry has for it, else it is this machine."""
    assert otlp(url, environ).address == address


@pytest.mark.parametrize(
    ("text", "seconds"), [("5000", 5), ("100", 0.1), ("", 60), ("0", 60), ("soon", 60), ("-1", 60)]
)
def test_how_often(text: str, seconds: float) -> None:
    """Milliseconds of a variable; what is none of them is passed over."""
    assert otlp("", {"OTEL_METRIC_EXPORT_INTERVAL": text}).interval == seconds
