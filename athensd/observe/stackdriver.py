"""Traces to Google Cloud Trace, which was Stackdriver."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen
from opentelemetry.sdk.trace.export import SpanExporter

from athensd.observe.quiet import importing

SERVER = "cloudtrace.googleapis.com"
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*")


def address(url: str) -> str:
    """Where a project's traces go.  Athens has the project's id in the place of a URL; empty means Google's default.

    Raises ``ValueError`` when it is no id.
    """
    if url and not _PROJECT.fullmatch(url):
        raise ValueError("this is not the id of a Google Cloud project, such as my-project")
    return f"{SERVER}/projects/{url}" if url else SERVER


def load(url: str, seconds: float, client: Any = None) -> Callable[[], SpanExporter]:
    """Import the library; the result makes the exporter, which gives up after so many seconds.

    Making it may take long, since it looks for credentials, even by asking Google's metadata server.  ``client`` is
    what speaks to Cloud Trace, when it is not the default one.
    """
    address(url)
    with importing("stackdriver"):
        from google.cloud.trace_v2 import TraceServiceClient
        from opentelemetry.exporter.cloud_trace import CloudTraceSpanExporter

    def make() -> SpanExporter:
        exporter = CloudTraceSpanExporter(url or None, _Bounded(client or TraceServiceClient(), seconds))
        if not exporter.project_id:
            raise ValueError("no project is known: set TraceExporterURL to its id, or GOOGLE_CLOUD_PROJECT")
        return exporter

    return make


@frozen
class _Bounded:
    """A client that does not try again for two minutes, as Google's does."""

    client: Any
    seconds: float

    def batch_write_spans(self, request: object) -> None:
        self.client.batch_write_spans(request=request, retry=None, timeout=self.seconds)
