"""Metrics by OTLP over HTTP; and what prometheus_client collects, in the terms of OpenTelemetry."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from athensd import __version__
from athensd.observe.address import parsed
from athensd.observe.otlp_session import Session
from athensd.observe.push import Destination, Send, Undelivered
from athensd.observe.quiet import overhearing

PATH = "/v1/metrics"
INTERVAL = 60.0

_SCOPE = InstrumentationScope("athensd", __version__)


def otlp(url: str, environ: Mapping[str, str]) -> Destination:
    """The collector at ``url``; when it is empty, where the variables OTEL_* say.

    Raises ``ValueError`` when that can be none.
    """
    address, began = _address(url, environ), time.time_ns()
    return Destination(address, _interval(environ), lambda: _sender(address, began))


def metrics_data(families: Iterable[Family], resource: Resource, began: int, now: int) -> MetricsData:
    """What was collected now, all of it counted since ``began`` (nanoseconds since 1970)."""
    metrics = [_metric(family, began, now) for family in families if family.samples]
    scope = ScopeMetrics(_SCOPE, metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope], schema_url="")])


def service() -> Resource:
    """Who we are, with what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say before all else."""
    ours = {"service.name": "athensd", "service.version": __version__, "service.instance.id": platform.node()}
    return Resource(ours).merge(OTELResourceDetector().detect())


def _metric(family: Family, began: int, now: int) -> Metric:
    data: Any
    name = family.name
    if family.type == "histogram":
        data = Histogram(list(_histograms(family, began, now)), AggregationTemporality.CUMULATIVE)
    else:
        points = [NumberDataPoint(sample.labels, began, now, float(sample.value)) for sample in family.samples]
        if family.type == "counter":
            data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        else:
            name = family.samples[0].name  # that of an "info" has a suffix
            data = Gauge(points)
    return Metric(name, family.documentation, family.unit, data)


def _histograms(family: Family, began: int, now: int) -> Iterator[HistogramDataPoint]:
    for labels, samples in groupby(family.samples, _labels_of_series):
        values = {sample.labels.get("le", sample.name): sample.value for sample in samples}
        total, count = values.pop(f"{family.name}_sum"), values.pop(f"{family.name}_count")
        # Prometheus counts in each bucket what is in those below it too.
        counts = [int(more - less) for less, more in pairwise([0, *values.values()])]
        yield HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=began,
            time_unix_nano=now,
            count=int(count),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=[float(bound) for bound in values if bound != "+Inf"],
            min=None,  # type: ignore[arg-type]  # optional in the protocol, and not known here
            max=None,  # type: ignore[arg-type]
        )


def _labels_of_series(sample: Sample) -> list[tuple[str, str]]:
    return [(name, value) for name, value in sample.labels.items() if name != "le"]


def _address(url: str, environ: Mapping[str, str]) -> str:
    if not url and (endpoint := environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")):
        return parsed(endpoint).geturl()
    parts = parsed(url or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318")
    if not url or parts.path in {"", "/"}:
        parts = parts._replace(path=parts.path.rstrip("/") + PATH)
    return parts.geturl()


def _interval(environ: Mapping[str, str]) -> float:
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return int(text) / 1000 if text.isascii() and text.isdecimal() and int(text) else INTERVAL


def _sender(address: str, began: int) -> Send:
    # The variable for a session of the operator's own stands above ours.
    own = any(name.endswith("CREDENTIAL_PROVIDER") for name in os.environ)
    exporter = OTLPMetricExporter(endpoint=address, session=None if own else Session())
    resource = service()

    def send(families: Iterable[Family]) -> None:
        with overhearing() as heard:
            result = exporter.export(metrics_data(families, resource, began, time.time_ns()))
        if result is not MetricExportResult.SUCCESS:
            raise Undelivered(heard.reason or "its exporter gives no reason")

    return send
