"""Traces: what is kept, how spans hang together, and what they say."""

from __future__ import annotations

import contextvars
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from athensd.errors import NotFound, UpstreamFailed
from athensd.flight.memory import MemoryFlight
from athensd.flight.watched import WatchedFlight
from athensd.observe.traces import SPANS_KEPT_BACK, Traces
from athensd.steps import Step, aside, headers, here, step, watch
from tests.fakes import start

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "vendor=1"}
CALLER_WITHOUT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}


class Kept:
    """Traces, and the spans that were kept of them."""

    def __init__(self, fraction: float, slow: float = 60) -> None:
        self.spans: list[ReadableSpan] = []
        self.traces = Traces(
            self.spans.append, Resource({"service.name": "athensd"}), fraction=fraction, slow=slow, lot=random.Random(1)
        )
        watch(tracer=self.traces)

    @property
    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans)

    def named(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def parent(self, name: str) -> str | None:
        """The name of the span that this one is part of."""
        parent = self.named(name).parent
        return None if parent is None else next(s.name for s in self.spans if s.context.span_id == parent.span_id)


@pytest.fixture
def everything() -> Iterator[Kept]:
    yield Kept(1)
    watch()


@pytest.fixture
def nothing() -> Iterator[Kept]:
    """No trace is chosen by lot."""
    yield Kept(0)
    watch()


def request(caller: Mapping[str, str] | None = None, **facts: object) -> Step:
    return Step("request", {"method": "GET", "route": "mod", **facts}, apart=True, caller=caller or {}).open()


async def fetched(error: Exception | None = None) -> None:
    """What a miss does, in small."""
    with step("storage.open", kind="mod"):
        pass
    with step("fetch", module="example.test/m"):
        with step("storage.open", kind="mod"):
            pass
        with step("http", url="https://upstream.test/x") as this:
            this.note(status=200, bytes=7)
            if error:
                raise error


def answered(this: Step, work: Any, **facts: object) -> None:
    """Do the work of a request, and end it."""
    with this.inside():
        start(work).addErrback(lambda _: None)
    this.note(**{"status": 200, **facts})
    this.close()


def test_one_tree(everything: Kept) -> None:
    """Every step is a span of the one trace, below the step that it was begun in."""
    answered(request(), fetched())
    assert everything.names == ["GET /{module}/@v/{version}.mod", "fetch", "http", "storage.open", "storage.open"]
    assert len({span.context.trace_id for span in everything.spans}) == 1
    assert everything.parent("http") == "fetch"
    assert everything.parent("fetch") == "GET /{module}/@v/{version}.mod"
    assert everything.parent("GET /{module}/@v/{version}.mod") is None
    assert all(span.context.trace_flags.sampled and span.start_time < span.end_time for span in everything.spans)


def test_two_at_the_same_time(everything: Kept) -> None:
    """Requests whose work is interleaved do not get into each other's traces."""
    gates: list[Deferred[None]] = [Deferred(), Deferred()]

    async def work(number: int) -> None:
        with step(f"outer {number}"):
            await gates[number]
            with step(f"inner {number}"):
                await gates[number]

    asked = [request(), request()]
    for number, this in enumerate(asked):
        with this.inside():
            start(work(number))
    for gate in reversed(gates):
        gate.callback(None)
    for number, this in enumerate(asked):
        this.close()
        assert everything.parent(f"inner {number}") == f"outer {number}"
        assert everything.named(f"outer {number}").parent.span_id == everything.spans[-1].context.span_id
    assert here() is None


def test_what_a_span_says(everything: Kept) -> None:
    """The facts under the names of the semantic conventions, and the kind of what was done."""
    answered(request(client="192.0.2.1", module="", status=0), fetched(), bytes=9, age=None, cache="miss")
    root = everything.named("GET /{module}/@v/{version}.mod")
    assert dict(root.attributes) == {
        "http.request.method": "GET",
        "http.route": "/{module}/@v/{version}.mod",
        "http.response.status_code": 200,
        "http.response.body.size": 9,
        "client.address": "192.0.2.1",
        "athens.cache": "miss",
    }
    assert (root.kind, root.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)
    assert root.resource.attributes["service.name"] == "athensd"
    http = everything.named("http")
    assert (http.kind, http.attributes["url.full"]) == (SpanKind.CLIENT, "https://upstream.test/x")
    assert http.attributes["http.response.body.size"] == 7


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotFound("no such version"), StatusCode.UNSET, None),
        (UpstreamFailed("upstream.test failed (500)"), StatusCode.ERROR, "upstream.test failed (500)"),
        (RuntimeError("it may hold anything"), StatusCode.ERROR, None),
    ],
)
def test_how_a_span_fails(everything: Kept, error: Exception, status: StatusCode, text: str | None) -> None:
    """Our own words are told, others are named only; that something is not there is an answer."""
    answered(request(), fetched(error))
    http = everything.named("http")
    assert (http.status.status_code, http.status.description) == (status, text)
    assert http.attributes["error.type"] == type(error).__name__


def test_the_callers_trace_goes_on(nothing: Kept) -> None:
    """What the caller chose is chosen here too, in its trace; and so it is told to the next server."""
    this = request(CALLER)
    with this.inside():
        sent = headers()
    this.close()
    [root] = nothing.spans
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, "b7ad6b7169203331")
    assert sent == {"traceparent": f"00-{TRACE}-{root.context.span_id:016x}-01", "tracestate": "vendor=1"}


def test_the_callers_refusal_is_respected(everything: Kept) -> None:
    """A trace that the caller did not choose is not chosen here, and the next server is told so."""
    this = request(CALLER_WITHOUT)
    with this.inside():
        assert headers()["traceparent"].endswith("-00")
    this.close()
    assert everything.spans == []


@pytest.mark.parametrize("garbage", ["", "x", f"00-{'0' * 32}-b7ad6b7169203331-01", "ff-" + "1" * 32, "\xff" * 99])
def test_garbage_of_a_caller(everything: Kept, garbage: str) -> None:
    """It begins a trace of our own."""
    request({"traceparent": garbage, "tracestate": "="}).close()
    [root] = everything.spans
    assert root.parent is None
    assert root.context.is_valid


def test_the_lot() -> None:
    """About the wanted part of the requests is kept."""
    some = Kept(0.1)
    for _ in range(2000):
        answered(request(), fetched())
    watch()
    roots = [span for span in some.spans if span.parent is None]
    assert 150 < len(roots) < 250
    assert len(some.spans) == 5 * len(roots)


def test_probes_are_not_chosen(everything: Kept) -> None:
    """What asks all day whether we live fills no backend, unless it has chosen so itself, or fails."""
    for path in ("/healthz", "/readyz", "/metrics"):
        answered(request(path=path), fetched())
    assert everything.spans == []
    answered(request(CALLER, path="/readyz"), fetched())
    assert len(everything.spans) == 5
    answered(request(path="/readyz"), fetched(), status=500)
    assert len(everything.spans) == 9


@pytest.mark.parametrize("facts", [{"status": 502}, {"status": 500}])
@pytest.mark.parametrize("caller", [None, CALLER_WITHOUT])
def test_failures_are_kept(nothing: Kept, facts: Mapping[str, int], caller: Mapping[str, str] | None) -> None:
    """A request that failed is kept with all that was done for it, though it was not chosen."""
    answered(request(caller), fetched(), **facts)
    assert nothing.names == ["GET /{module}/@v/{version}.mod", "fetch", "http", "storage.open"]
    assert nothing.parent("http") == "fetch"
    assert all(span.context.trace_flags.sampled for span in nothing.spans)


def test_slow_ones_are_kept() -> None:
    """So is one that took too long, and what is done for it after its answer."""
    slow = Kept(0, slow=0.0)
    gate: Deferred[None] = Deferred()

    async def work() -> None:
        with step("fetch"):
            await gate

    answered(request(), work())
    gate.callback(None)
    watch()
    assert slow.parent("fetch") == "GET /{module}/@v/{version}.mod"


def test_what_is_not_chosen_is_forgotten(nothing: Kept) -> None:
    """A request that goes well leaves nothing; and one without an end does not fill the memory."""
    answered(request(), fetched())
    assert nothing.spans == []
    this = request()
    with this.inside():
        for _ in range(SPANS_KEPT_BACK + 100):
            start(fetched())
    this.note(status=500)
    this.close()
    assert len(nothing.spans) == SPANS_KEPT_BACK + 1


def test_an_unchosen_hit_makes_no_span(nothing: Kept) -> None:
    """What every hit does costs a hit nothing that is not chosen, even if it is slow."""
    this = request()
    with this.inside(), step("storage.open") as opened:
        assert opened.mark is None
    this.close()


def test_outside_of_any_request(everything: Kept) -> None:
    """A step that is part of nothing is no trace."""
    with step("fetch"):
        assert headers() == {}
    assert everything.spans == []


def test_who_waits_for_anothers_work(everything: Kept) -> None:
    """It is linked to the work, which is in the trace of whoever began it."""
    flight, gate = WatchedFlight(MemoryFlight()), Deferred()

    async def work() -> None:
        with step("fetch"):
            await gate

    first, second = request(), request()
    for this in (first, second):
        with this.inside():
            start(flight.run("key", work))
    gate.callback(None)
    for this in (first, second):
        this.close()
    began, joined = sorted(
        (span for span in everything.spans if span.name == "flight"), key=lambda span: span.attributes["joined"]
    )
    [link] = joined.links
    assert (link.context.trace_id, link.context.span_id) == (began.context.trace_id, began.context.span_id)
    assert joined.context.trace_id != began.context.trace_id
    assert everything.named("fetch").parent.span_id == began.context.span_id


def test_the_work_that_a_chosen_one_waits_for_is_kept(nothing: Kept) -> None:
    """Though whoever began it was not chosen: else the link would lead nowhere."""
    flight, gate = WatchedFlight(MemoryFlight()), Deferred()

    async def work() -> None:
        with step("fetch"):
            await gate

    first, second = request(), request(CALLER)
    for this in (first, second):
        with this.inside():
            start(flight.run("key", work))
    gate.callback(None)
    first.close()
    second.close()
    assert nothing.names.count("flight") == 2
    assert nothing.names.count("fetch") == 1


def test_work_aside(everything: Kept) -> None:
    """Work that nobody waits for is a trace of its own, linked to what caused it."""

    async def work() -> None:
        with step("http"):
            pass

    this = request()
    with this.inside():
        aside("refresh", work, key="k")
        assert here() is this.mark
    this.close()
    root, refresh = everything.named("GET /{module}/@v/{version}.mod"), everything.named("refresh")
    [link] = refresh.links
    assert (link.context, refresh.parent) == (root.context, None)
    assert refresh.context.trace_id != root.context.trace_id
    assert everything.parent("http") == "refresh"


def test_a_thread_with_the_context(everything: Kept) -> None:
    """What a thread does with a copy of the context is part of the step that sent it there."""
    pool = ThreadPool(1, 1)
    pool.start()
    this = request()
    with this.inside():
        pool.callInThread(
            contextvars.copy_context().run, lambda: step("in a thread").__enter__().__exit__(None, None, None)
        )
    pool.stop()
    this.close()
    assert everything.parent("in a thread") == "GET /{module}/@v/{version}.mod"


def test_ids_for_the_log(nothing: Kept) -> None:
    """A line inside a request tells its trace and span, chosen or not."""
    assert nothing.traces.ids() == {}
    this = request(CALLER)
    with this.inside():
        ids = nothing.traces.ids()
    this.close()
    [root] = nothing.spans
    assert ids == {"trace-id": TRACE, "span-id": f"{root.context.span_id:016x}", "sampled": "1"}


def test_what_happened_at_once(nothing: Kept) -> None:
    """Of a request that was over at once there is nothing, unless the lot falls on it; then a span, back in time."""
    facts: dict[str, object] = {"method": "GET", "route": "mod", "status": 200}
    Step("request", dict(facts), apart=True).happened(time.perf_counter())
    assert nothing.spans == []
    everything = Kept(1)
    this = Step("request", dict(facts), apart=True)
    this.happened(time.perf_counter() - 1)
    (span,) = everything.spans
    assert span.name == "GET /{module}/@v/{version}.mod"
    assert span.start_time is not None and span.end_time is not None
    assert 1e9 <= span.end_time - span.start_time < 2e9
    assert abs(span.end_time - time.time_ns()) < 1e9
    with this.inside():
        assert span.context is not None
        assert everything.traces.ids()["trace-id"] == f"{span.context.trace_id:032x}"
