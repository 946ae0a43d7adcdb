"""Servers that take metrics, on loopback: as they should, or badly."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.cloud.monitoring_v3 import CreateMetricDescriptorRequest, CreateTimeSeriesRequest
from google.protobuf.empty_pb2 import Empty
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port where nothing listens."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Agent:
    """A Datadog agent: what it was sent is in ``lines``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lines: list[str] = []
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        threading.Thread(target=self._listen, daemon=True).start()

    def names(self) -> set[str]:
        """The names of all metrics that arrived."""
        return {line.partition(":")[0].removeprefix("athensd.") for line in self.lines}

    def stop(self) -> None:
        """From now on the port is closed."""
        with socket.socket(type=socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))

    def _listen(self) -> None:
        with self._socket:
            while datagram := self._socket.recv(65536):
                self.lines += datagram.decode().splitlines()


class Collector:
    """An OTLP collector, answering with ``status`` after ``answering()``: what it was sent is in ``requests``."""

    def __init__(self, port: int, status: int = 200, answering: Callable[[], object] = lambda: None) -> None:
        self.port = port
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportMetricsServiceRequest.FromString(body))
                collector.headers.append(dict(self.headers))
                collector.paths.append(self.path)
                answering()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Tests read ``requests``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def metrics(self) -> list[Metric]:
        """All metrics that arrived."""
        return [
            metric
            for request in [*self.requests]
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def names(self) -> set[str]:
        """Their names."""
        return {metric.name for metric in self.metrics()}

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()


class Monitoring:
    """Google's metric service: what it was sent is in ``series``, by the type of the metric.

    With ``code`` it refuses all; before each answer ``answering()`` is called.
    """

    def __init__(
        self, port: int, code: grpc.StatusCode | None = None, answering: Callable[[], object] = lambda: None
    ) -> None:
        self.port = port
        self.calls = 0
        self.projects: set[str] = set()
        self.described: Counter[str] = Counter()
        self.series: dict[str, list[Any]] = {}
        self._code = code
        self._answering = answering
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        methods = {"CreateMetricDescriptor": self._describe, "CreateTimeSeries": self._create}
        handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
        service = grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", handlers)
        self._server.add_generic_rpc_handlers([service])
        self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def names(self) -> set[str]:
        """The names of all metrics that arrived."""
        return {name.removeprefix("workload.googleapis.com/") for name in [*self.series]}

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.stop(0).wait()

    def _describe(self, message: bytes, context: Any) -> bytes:
        self._answer(context)
        request = CreateMetricDescriptorRequest.deserialize(message)
        self.described[request.metric_descriptor.type] += 1
        data: bytes = request.metric_descriptor.SerializeToString()
        return data

    def _create(self, message: bytes, context: Any) -> bytes:
        self._answer(context)
        request = CreateTimeSeriesRequest.deserialize(message)
        self.projects.add(request.name)
        for series in request.time_series:
            self.series.setdefault(series.metric.type, []).append(series)
        return Empty().SerializeToString()

    def _answer(self, context: Any) -> None:
        self.calls += 1
        self._answering()
        if self._code is not None:
            context.abort(self._code, "not allowed")
