"""Metrics for Google Cloud Monitoring, received by a server of its interface."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core.exceptions import GoogleAPIError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from athensd.observe import stackdriver_metrics
from athensd.observe.quiet import hush
from athensd.observe.stackdriver_metrics import stackdriver
from tests.observe.takers import Monitoring, free_port


@pytest.fixture(autouse=True)
def quiet() -> None:
    """The library's class is deprecated, and says so."""
    hush()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Fifty counters and a few more."""
    disable_created_metrics()
    registry = CollectorRegistry()
    for number in range(50):
        Counter(f"counter{number}_total", "c", registry=registry)
    return registry


@pytest.fixture
def monitoring() -> Iterator[Monitoring]:
    monitoring = Monitoring(free_port())
    yield monitoring
    monitoring.stop()


def test_what_arrives(registry: CollectorRegistry, monitoring: Monitoring) -> None:
    """Each metric is described once, and each series has its labels, its kind and its value, for our project."""
    counter = Counter("a_total", "what it means", ["x"], registry=registry)
    counter.labels("1").inc(2)
    counter.labels("2").inc(3)
    Gauge("b", "b", registry=registry).set(5)
    Histogram("c", "c", buckets=(1, 2), registry=registry).observe(1.5)
    send = stackdriver(f"http://127.0.0.1:{monitoring.port}", "our-project").connect()
    send(registry.collect())
    send(registry.collect())
    assert monitoring.projects == {"projects/our-project"}
    assert monitoring.described["workload.googleapis.com/a"] == 1
    kinds = MetricDescriptor.MetricKind
    first, second, *_ = monitoring.series["workload.googleapis.com/a"]
    assert (first.metric.labels["x"], first.points[0].value.double_value) == ("1", 2)
    assert (second.metric.labels["x"], second.metric_kind) == ("2", kinds.CUMULATIVE)
    [gauge, _] = monitoring.series["workload.googleapis.com/b"]
    assert (gauge.metric_kind, gauge.points[0].value.double_value) == (kinds.GAUGE, 5)
    [histogram, _] = monitoring.series["workload.googleapis.com/c"]
    assert [*histogram.points[0].value.distribution_value.bucket_counts] == [0, 1, 0]
    assert gauge.resource.type == "generic_task"
    assert gauge.resource.labels["job"] == "athensd"


def test_a_sending_has_a_deadline(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls it is made of, a sending to a server that is silent ends in time, and says why."""
    monkeypatch.setattr(stackdriver_metrics, "TIMEOUT", 0.5)
    silent = Monitoring(free_port(), answering=lambda: time.sleep(2))
    send = stackdriver(f"http://127.0.0.1:{silent.port}", "p").connect()
    began = time.monotonic()
    with pytest.raises(GoogleAPIError, match="Deadline Exceeded"):
        send(registry.collect())
    assert time.monotonic() - began < 2
    silent.stop()


def test_after_a_refusal_nothing_more_is_asked(registry: CollectorRegistry) -> None:
    """The first call that fails is the last one of that sending."""
    refusing = Monitoring(free_port(), grpc.StatusCode.PERMISSION_DENIED)
    send = stackdriver(f"http://127.0.0.1:{refusing.port}", "p").connect()
    with pytest.raises(GoogleAPIError, match="403 not allowed"):
        send(registry.collect())
    assert refusing.calls == 1
    refusing.stop()
