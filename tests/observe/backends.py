"""Servers on loopback that stand for backends, well or not, and spans to send them."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from attrs import define, field
from google.cloud.trace_v2 import BatchWriteSpansRequest, TraceServiceClient
from google.cloud.trace_v2.services.trace_service.transports import TraceServiceGrpcTransport
from google.protobuf.empty_pb2 import Empty
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, TraceFlags
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.http import Request
from twisted.web.resource import Resource as WebResource
from twisted.web.server import NOT_DONE_YET, Site

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
RESOURCE = Resource({"service.name": "athensd", "service.version": "1.2.3"})


def context(trace_id: int | None = None, span_id: int | None = None) -> SpanContext:
    """A place in a trace; without ids, in a new one."""
    return SpanContext(trace_id or random.getrandbits(128), span_id or random.getrandbits(64), False, SAMPLED)


def span(
    name: str = "verify",
    attributes: dict[str, Any] | None = None,
    *,
    here: SpanContext | None = None,
    parent: SpanContext | None = None,
    links: Sequence[Link] = (),
    kind: SpanKind = SpanKind.INTERNAL,
    status: Status | None = None,
    resource: Resource = RESOURCE,
) -> ReadableSpan:
    """A finished span of two seconds."""
    return ReadableSpan(
        name,
        here or context(),
        parent,
        resource,
        attributes,
        links=links,
        kind=kind,
        status=status or Status(),
        start_time=1_700_000_000_000_000_000,
        end_time=1_700_000_002_000_000_000,
    )


@define
class Received:
    """One request, and under which path and headers it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def spans(self) -> int:
        """How many spans it brought."""
        if "thrift" in self.path:
            return len(self.batch().spans)
        if "/v0.4/traces" in self.path:
            return int(self.headers["x-datadog-trace-count"])  # the tests that count have one span in each trace
        return len(list(spans_of(self.otlp())))

    def batch(self) -> Any:
        """What it says, as Jaeger's Thrift."""
        # It can be imported only after our exporter was loaded.
        from opentelemetry.exporter.jaeger.thrift.gen.jaeger.Collector import Batch

        batch = Batch()
        batch.read(TBinaryProtocol(TMemoryBuffer(self.body)))
        return batch

    def otlp(self) -> ExportTraceServiceRequest:
        return ExportTraceServiceRequest.FromString(self.body)


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Any]:
    """All spans of an OTLP request."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


@define
class HttpBackend(WebResource):
    """Takes spans over HTTP.  It answers with ``status``, ``delay`` seconds late."""

    isLeaf = True

    status: int = 200
    delay: float = 0
    port: int = 0
    received: list[Received] = field(factory=list)
    _listening: Any = None

    def listen(self) -> None:
        """Be there; always at the same port."""
        self._listening = reactor.listenTCP(self.port, Site(self), interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def go_away(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()

    def render(self, request: Request) -> Any:
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        arrived = Received(request.uri.decode(), headers, request.content.read())
        reactor.callLater(self.delay, self._answer, request, arrived)
        return NOT_DONE_YET

    def _answer(self, request: Request, arrived: Received) -> None:
        if self.status < 300:
            self.received.append(arrived)
        request.setResponseCode(self.status)
        request.setHeader("Connection", "close")
        if 300 <= self.status < 400:
            request.setHeader("Location", "/elsewhere")
        request.finish()

    def spans(self) -> int:
        """How many spans have arrived."""
        return sum(request.spans() for request in self.received)


class Silent:
    """Takes connections and never says a word."""

    def __init__(self) -> None:
        self._connections: list[Any] = []
        self._listening: Any = None
        self.port = 0

    def listen(self) -> None:
        connections = self._connections

        class Swallow(Protocol):
            def connectionMade(self) -> None:
                connections.append(self.transport)

        self._listening = reactor.listenTCP(0, Factory.forProtocol(Swallow), interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def go_away(self) -> None:
        for connection in self._connections:
            connection.abortConnection()
        await self._listening.stopListening()


METHODS = {
    "/google.devtools.cloudtrace.v2.TraceService/BatchWriteSpans": BatchWriteSpansRequest.deserialize,
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": ExportTraceServiceRequest.FromString,
}


class GrpcBackend:
    """Takes spans over gRPC, as Cloud Trace and as a collector.  It refuses them with ``status`` when that is set."""

    def __init__(self) -> None:
        self.status: grpc.StatusCode | None = None
        self.delay = 0.0
        self.port = 0
        self.received: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self._server: Any = None
        self._over = threading.Event()

    def listen(self) -> None:
        """Be there; always at the same port."""
        self._over.clear()
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self], options=[("grpc.so_reuseport", 0)])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._over.set()
        server, self._server = self._server, None
        if server is not None:
            server.stop(0).wait()

    async def go_away(self) -> None:
        await deferToThread(self.stop)

    def service(self, call: Any) -> Any:
        """gRPC's way to ask for what handles a method."""
        metadata = dict(call.invocation_metadata)

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            self._over.wait(self.delay)
            if self.status is not None:
                context.abort(self.status, "told to")
            self.metadata.append(metadata)
            self.received.append(request)
            return Empty()

        return grpc.unary_unary_rpc_method_handler(handle, METHODS[call.method], Empty.SerializeToString)

    def spans(self) -> int:
        """How many spans have arrived."""
        return sum(len(r.spans) if hasattr(r, "spans") else len(list(spans_of(r))) for r in self.received)


def cloud_trace_client(port: int) -> TraceServiceClient:
    """What speaks to Cloud Trace, speaking to loopback without credentials; it tries soon to connect again."""
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
    return TraceServiceClient(transport=TraceServiceGrpcTransport(channel=channel))


def unpacked(data: bytes) -> Any:
    """MessagePack, as far as Datadog's traces need it."""
    value, rest = _unpacked(data)
    assert rest == b""
    return value


_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def _unpacked(data: bytes) -> tuple[Any, bytes]:
    kind, rest = data[0], data[1:]
    if kind < 0x80:
        return kind, rest
    if kind >= 0xE0:
        return kind - 256, rest
    if kind < 0xC0:  # short maps, lists and texts
        size, limit = (kind & 0x1F, 0xA0) if kind >= 0xA0 else (kind & 0x0F, kind & 0xF0)
        return _items(limit, size, rest)
    if kind in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], rest
    if kind == 0xCB:
        return struct.unpack(">d", rest[:8])[0], rest[8:]
    if 0xCC <= kind <= 0xD3:
        width = 1 << (kind - 0xCC) % 4
        return int.from_bytes(rest[:width], "big", signed=kind >= 0xD0), rest[width:]
    width = _SIZES[kind]
    limit = 0xA0 if kind <= 0xDB else 0x90 if kind <= 0xDD else 0x80
    return _items(limit, int.from_bytes(rest[:width], "big"), rest[width:])


def _items(kind: int, size: int, rest: bytes) -> tuple[Any, bytes]:
    if kind == 0xA0:
        return rest[:size].decode(), rest[size:]
    items = []
    for _ in range(size * (2 if kind == 0x80 else 1)):
        item, rest = _unpacked(rest)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == 0x80 else items), rest


async def eventually(true: Callable[[], Any]) -> None:
    """Wait for something, 10 seconds at most."""
    for _ in range(1000):
        if true():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it never came true")
