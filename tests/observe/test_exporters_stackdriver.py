"""Stackdriver: a project's traces, to a server of Cloud Trace's interface on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from athensd.observe import stackdriver
from athensd.observe.quiet import hush, overhearing
from tests.observe.backends import GrpcBackend, cloud_trace_client, context, span


@pytest.fixture(autouse=True)
def hushed() -> None:
    hush()


@pytest.fixture
def cloud_trace() -> Iterator[GrpcBackend]:
    backend = GrpcBackend()
    backend.listen()
    yield backend
    backend.stop()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("my-project-1", "cloudtrace.googleapis.com/projects/my-project-1"),
        ("example.com:old-project", "cloudtrace.googleapis.com/projects/example.com:old-project"),
        ("", "cloudtrace.googleapis.com"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    """The setting holds the id of a project, as with Athens; without one Google's own default decides."""
    assert stackdriver.address(url) == address


@pytest.mark.parametrize("url", ["http://localhost:14268", "localhost:8126", "My Project"])
def test_wrong_addresses(url: str) -> None:
    """What is no id of a project is refused: it is a URL for another exporter, mostly."""
    with pytest.raises(ValueError, match=r"not the id of a Google Cloud project, such as my-project"):
        stackdriver.address(url)


@ensureDeferred
async def test_spans(cloud_trace: GrpcBackend) -> None:
    """A span arrives in its project with its ids, its parent, its links and attributes."""
    here, cause = context(), context()
    parent = context(here.trace_id)
    attributes = {"text": "ü", "count": 1 << 40, "ok": True, "many": ("a", "b"), "age": 1.5}
    status = Status(StatusCode.ERROR, "no")
    one = span("GET", attributes, here=here, parent=parent, links=[Link(cause)], kind=SpanKind.SERVER, status=status)
    exporter = stackdriver.load("my-project", 5, cloud_trace_client(cloud_trace.port))()
    assert (await deferToThread(exporter.export, [one])).name == "SUCCESS"
    (request,) = cloud_trace.received
    (found,) = request.spans
    assert request.name == "projects/my-project"
    assert found.name == f"projects/my-project/traces/{here.trace_id:032x}/spans/{here.span_id:016x}"
    assert (found.parent_span_id, found.display_name.value) == (f"{parent.span_id:016x}", "GET")
    assert (found.links.link[0].trace_id, found.status.message) == (f"{cause.trace_id:032x}", "no")
    values = found.attributes.attribute_map
    assert (values["text"].string_value.value, values["many"].string_value.value) == ("ü", "a,b")
    assert (values["count"].int_value, values["ok"].bool_value) == (1 << 40, True)


@ensureDeferred
async def test_nothing_is_tried_again_for_long(cloud_trace: GrpcBackend) -> None:
    """Where Google's client would try for two minutes, an export fails at once, and gives its reason."""

    def export() -> tuple[str, str]:
        with overhearing() as heard:
            return exporter.export([span()]).name, heard.reason

    exporter = stackdriver.load("my-project", 5, cloud_trace_client(cloud_trace.port))()
    cloud_trace.stop()
    result, reason = await deferToThread(export)
    assert result == "FAILURE"
    assert "UNAVAILABLE" in reason
    assert "Connection refused" in reason


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Without credentials making the exporter raises, and loading it does not."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    make = stackdriver.load("my-project", 5)
    with pytest.raises(Exception, match=r"default credentials were not found"):
        make()
