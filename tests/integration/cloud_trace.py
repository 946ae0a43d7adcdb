"""A server of Cloud Trace's interface, and a ``twistd`` that takes it for Google's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen

from tests.integration.spans import Span

METHOD = "BatchWriteSpans"
SERVICE = "google.devtools.cloudtrace.v2.TraceService"

# Google's own client finds nothing but Google, and goes nowhere without credentials.
PROGRAM = """\
#!{python}
from functools import partial

import grpc
from google.cloud.trace_v2 import TraceServiceClient
from google.cloud.trace_v2.services.trace_service.transports import TraceServiceGrpcTransport
from twisted.scripts.twistd import run

from athensd.observe import stackdriver

transport = TraceServiceGrpcTransport(channel=grpc.insecure_channel("{address}"))
stackdriver.load = partial(stackdriver.load, client=TraceServiceClient(transport=transport))
run()
"""


@frozen
class CloudTrace:
    """Where it listens, and what it was told."""

    address: str
    _received: list[Any] = field(factory=list)

    def spans(self) -> list[Span]:
        """All spans so far, in the order in which they began."""
        return sorted(map(_span, self._received), key=lambda span: span.start)

    def twistd(self, directory: Path) -> Path:
        """A program to be run in the place of ``twistd``."""
        program = directory / "twistd"
        program.write_text(PROGRAM.format(python=sys.executable, address=self.address))
        program.chmod(0o755)
        return program


@contextmanager
def running_cloud_trace() -> Iterator[CloudTrace]:
    """One on a free port."""
    import grpc
    from google.cloud.trace_v2.types import BatchWriteSpansRequest
    from google.protobuf.empty_pb2 import Empty

    received: list[Any] = []

    def take(request: Any, context: Any) -> Any:
        received.extend(request.spans)
        return Empty()

    handler = grpc.unary_unary_rpc_method_handler(
        take, BatchWriteSpansRequest.deserialize, lambda answer: answer.SerializeToString()
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield CloudTrace(f"127.0.0.1:{port}", received)
    finally:
        server.stop(None).wait()


def _span(span: Any) -> Span:
    start, end = span.start_time.timestamp(), span.end_time.timestamp()
    return Span(
        service="",  # it knows only projects
        trace=span.name.split("/")[3],
        id=span.span_id,
        parent=span.parent_span_id,
        name=span.display_name.value,
        start=round(start * 1e6),
        duration=round((end - start) * 1e6),
        tags={name: _value(value) for name, value in span.attributes.attribute_map.items()},
        links=frozenset((link.trace_id, link.span_id) for link in span.links.link),
    )


def _value(value: Any) -> Any:
    kind = value._pb.WhichOneof("value")
    return value.string_value.value if kind == "string_value" else getattr(value, kind)
