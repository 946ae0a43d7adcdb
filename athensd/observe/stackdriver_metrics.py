"""Metrics for Google Cloud Monitoring, which was called Stackdriver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc  # type: ignore[import-untyped]  # it has no types
from google.cloud.monitoring_v3 import MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service.transports.grpc import MetricServiceGrpcTransport
from opentelemetry.exporter.cloud_monitoring import CloudMonitoringMetricsExporter
from prometheus_client import Metric as Family

from athensd.observe.address import parsed
from athensd.observe.otlp_metrics import metrics_data, service
from athensd.observe.push import Destination, Send

SERVER = "monitoring.googleapis.com"
INTERVAL = 60.0
TIMEOUT = 10.0
"""Seconds for all the calls of one sending."""


def stackdriver(url: str, project: str) -> Destination:
    """Google's own servers, with the credentials of this machine.

    As for traces, ``url`` holds the id of a project, which goes before ``project``; without both it is that of the
    credentials.  A real URL, such as ``http://localhost:8080``, is that of an emulator, which needs no credentials.
    """
    began = time.time_ns()
    emulator = parsed(url).netloc if "//" in url else ""
    project = project if emulator or not url else url
    address = f"{emulator or SERVER}/projects/{project}" if project else emulator or SERVER
    return Destination(address, INTERVAL, lambda: _sender(_client(emulator), project, began))


def _client(emulator: str) -> MetricServiceClient:
    if not emulator:
        return MetricServiceClient()
    channel = grpc.insecure_channel(emulator)
    return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))


def _sender(client: MetricServiceClient, project: str, began: int) -> Send:
    in_time = _InTime(client)
    exporter = CloudMonitoringMetricsExporter(project or None, in_time)  # type: ignore[arg-type]  # all that it calls is there
    if exporter.project_id == str(None):
        raise ValueError("no project is known: set StatsExporterURL to its id, or GOOGLE_CLOUD_PROJECT")
    resource = service()

    def send(families: Iterable[Family]) -> None:
        in_time.begin()
        exporter.export(metrics_data(families, resource, began, time.time_ns()))
        if in_time.failed is not None:
            raise in_time.failed

    return send


class _InTime:
    """The client with one deadline for all calls of a sending, and no call after one that failed.

    By itself it tries each of the fifty calls again and again for minutes; the exporter logs why, and goes on.
    """

    def __init__(self, client: MetricServiceClient) -> None:
        self._client = client
        self._until = 0.0
        self.failed: Exception | None = None

    def begin(self) -> None:
        """The calls from now on are one sending."""
        self._until = time.monotonic() + TIMEOUT
        self.failed = None

    def common_project_path(self, project: str) -> str:
        path: str = self._client.common_project_path(project)
        return path

    def create_metric_descriptor(self, request: Any) -> Any:
        return self._call(self._client.create_metric_descriptor, request)

    def create_time_series(self, request: Any) -> None:
        self._call(self._client.create_time_series, request)

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        if self.failed is not None:
            raise self.failed
        try:
            return method(request, retry=None, timeout=max(0.1, self._until - time.monotonic()))
        except Exception as error:
            self.failed = error
            raise
