"""Spans, of steps: which of them are kept, and what they say.

A trace is chosen at its root: by whoever called us (W3C Trace Context), else by lot.  One that was not chosen is kept
all the same when its root turns out to be slow or to fail; so the work of a miss is always recorded, and given away or
forgotten when the root is over.  What each hit does is recorded in chosen traces only: an unchosen hit costs a few
random bits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import cast

from attrs import define, field
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from athensd import __version__
from athensd.errors import AthensError, InvalidRequest, NotFound, Unsupported
from athensd.steps import Place, Step

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""What machines ask every few seconds: never chosen by lot, or they would be most of what there is to see."""
SPANS_KEPT_BACK = 1000
"""So many spans of one root at most wait for its end."""

ATTRIBUTES = {
    "age": "athens.age",
    "arguments": "process.command_args",
    "cache": "athens.cache",
    "client": "client.address",
    "command": "process.command",
    "exit": "process.exit.code",
    "host": "server.address",
    "kind": "athens.kind",
    "method": "http.request.method",
    "module": "go.module.path",
    "origin": "athens.origin",
    "path": "url.path",
    "request_id": "athens.request_id",
    "route": "http.route",
    "status": "http.response.status_code",
    "url": "url.full",
    "user": "user.name",
    "version": "go.module.version",
}
"""What facts are called in a span: the names of the semantic conventions where they have one."""

ROUTES = {
    "list": "/{module}/@v/list",
    "latest": "/{module}/@latest",
    "info": "/{module}/@v/{version}.info",
    "mod": "/{module}/@v/{version}.mod",
    "zip": "/{module}/@v/{version}.zip",
    "sumdb": "/sumdb/{name}/{path}",
    "module": "/mod/{module}",
    "style": "/style.css",
}
_KINDS = {"request": SpanKind.SERVER, "http": SpanKind.CLIENT}
_OF_EVERY_HIT = frozenset({"storage.open"})
# To find that something is not there, or makes no sense, is an answer and no failure.
_ANSWERS = (NotFound, InvalidRequest, Unsupported)


@define(eq=False)
class _Root:
    """What all spans under one root share: whether they are wanted, and those that wait until that is known."""

    wanted: bool
    over: bool = False
    waiting: list[ReadableSpan] = field(factory=list)


@define(eq=False)
class _Mark:
    """Where in which trace a step is.  Without a ``span`` it is a root, whose span is made when it is over."""

    root: _Root
    context: SpanContext
    span: Span | None = None
    parent: SpanContext | None = None
    began: int = 0  # nanoseconds since 1970
    links: list[Link] = field(factory=list)


class Traces:
    """The ``Tracer`` of OpenTelemetry.

    ``deliver`` is given each finished span that is to be kept.  ``fraction`` of the roots are chosen by lot, and those
    that took ``slow`` seconds or failed are kept in any case.
    """

    def __init__(
        self,
        deliver: Callable[[ReadableSpan], None],
        resource: Resource,
        *,
        fraction: float,
        slow: float,
        lot: random.Random | None = None,
    ) -> None:
        self._deliver = deliver
        self._resource = resource
        self._fraction = fraction
        self._slow = slow
        self._lot = lot or random.Random()  # noqa: S311 - ids are no secrets
        self._tracer = TracerProvider(resource=resource, shutdown_on_exit=False).get_tracer("athensd", __version__)
        self._scope = InstrumentationScope("athensd", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._place: ContextVar[_Mark | None] = ContextVar("athensd-place", default=None)

    def opened(self, step: Step) -> None:
        around = self._place.get()
        if step.apart:
            step.mark = self._new_root(step)
        elif around is not None and (around.root.wanted or around.span is not None or step.name not in _OF_EVERY_HIT):
            step.mark = self._new_span(step, around)

    def closed(self, step: Step) -> None:
        mark = cast("_Mark | None", step.mark)
        if mark is None:
            return
        if mark.span is None:
            self._end_root(step, mark)
        else:
            _describe(mark.span, step)
            mark.span.end()
            self._keep(mark.root, mark.span)

    def happened(self, step: Step) -> None:
        if self._lot.random() < self._fraction:
            step.mark = mark = self._new_mark(_Root(wanted=True))
            mark.began -= int(step.seconds * 1e9)
            self._end_root(step, mark)

    def enter(self, step: Step) -> object:
        return None if step.mark is None else self._place.set(cast(_Mark, step.mark))

    def leave(self, token: object) -> None:
        if token is not None:
            self._place.reset(cast("Token[_Mark | None]", token))

    def here(self) -> Place | None:
        return self._place.get()

    def link(self, step: Step, place: Place) -> None:
        mark, other = cast("_Mark | None", step.mark), cast(_Mark, place)
        if mark is None:
            return
        if mark.root.wanted:
            # Whoever looks at this trace wants to see that one.
            other.root.wanted = True
        if mark.span is None:
            mark.links.append(Link(other.context))
        else:
            mark.span.add_link(other.context)

    def headers(self) -> Mapping[str, str]:
        place = self._place.get()
        if place is None:
            return {}
        carrier: dict[str, str] = {}
        span = NonRecordingSpan(_flagged(place.context, sampled=place.root.wanted))
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier

    def ids(self) -> Mapping[str, str]:
        """What a log line says of the place that we are in."""
        place = self._place.get()
        if place is None:
            return {}
        return {
            "trace-id": f"{place.context.trace_id:032x}",
            "span-id": f"{place.context.span_id:016x}",
            "sampled": "1" if place.root.wanted else "0",
        }

    def _new_root(self, step: Step) -> _Mark:
        parent = self._caller(step.caller) if step.caller else None
        cause = cast("_Mark | None", step.cause)
        if parent is not None:
            wanted = parent.trace_flags.sampled
        elif cause is not None and cause.root.wanted:
            wanted = True
        else:
            wanted = step.facts.get("path") not in PROBES and self._lot.random() < self._fraction
        mark = self._new_mark(_Root(wanted), parent)
        if cause is not None:
            mark.links.append(Link(cause.context))
        return mark

    def _new_mark(self, root: _Root, parent: SpanContext | None = None) -> _Mark:
        context = SpanContext(
            parent.trace_id if parent else self._lot.getrandbits(128) or 1,
            self._lot.getrandbits(64) or 1,
            is_remote=False,
            trace_flags=SAMPLED,
            trace_state=parent.trace_state if parent else None,
        )
        return _Mark(root, context, None, parent, time.time_ns())

    def _caller(self, headers: Mapping[str, str]) -> SpanContext | None:
        context = get_current_span(self._propagator.extract(headers)).get_span_context()
        return context if context.is_valid else None

    def _new_span(self, step: Step, around: _Mark) -> _Mark:
        span = self._tracer.start_span(
            step.name,
            set_span_in_context(NonRecordingSpan(around.context)),
            _KINDS.get(step.name, SpanKind.INTERNAL),
        )
        assert isinstance(span, Span), "the tracer records everything; what is kept is decided here"
        return _Mark(around.root, span.get_span_context(), span)

    def _end_root(self, step: Step, mark: _Mark) -> None:
        root = mark.root
        root.over = True
        root.wanted = root.wanted or step.seconds >= self._slow or _failed(step)
        if root.wanted:
            self._deliver(self._root_span(step, mark))
            for span in root.waiting:
                self._deliver(span)
        root.waiting.clear()

    def _root_span(self, step: Step, mark: _Mark) -> ReadableSpan:
        return ReadableSpan(
            _root_name(step),
            mark.context,
            mark.parent,
            self._resource,
            _attributes(step),
            links=mark.links,
            kind=_KINDS.get(step.name, SpanKind.INTERNAL),
            instrumentation_scope=self._scope,
            status=_status(step),
            start_time=mark.began,
            end_time=mark.began + int(step.seconds * 1e9),
        )

    def _keep(self, root: _Root, span: ReadableSpan) -> None:
        if root.wanted:
            self._deliver(span)
        elif not root.over and len(root.waiting) < SPANS_KEPT_BACK:
            root.waiting.append(span)


def resource(environment: str) -> Resource:
    """Who we are: our name and version and the name of our ``environment``, unless OTEL_* variables say otherwise."""
    ours = {"service.name": "athensd", "service.version": __version__, "deployment.environment.name": environment}
    return Resource(ours).merge(OTELResourceDetector().detect())


def _flagged(context: SpanContext, *, sampled: bool) -> SpanContext:
    flags = SAMPLED if sampled else TraceFlags(TraceFlags.DEFAULT)
    return SpanContext(context.trace_id, context.span_id, False, flags, context.trace_state)


def _describe(span: Span, step: Step) -> None:
    span.set_attributes(_attributes(step))
    span.set_status(_status(step))


def _root_name(step: Step) -> str:
    if step.name != "request":
        return step.name
    return f"{step.facts.get('method', '')} {_route(step.facts.get('route', ''))}"


def _route(route: object) -> str:
    return ROUTES.get(str(route), f"/{route}")


def _attributes(step: Step) -> dict[str, str | int | float | bool]:
    """The facts under their names in a span; what is empty says nothing."""
    found = {ATTRIBUTES.get(name, name): value for name, value in step.facts.items() if value not in {"", None}}
    if "http.route" in found:
        found["http.route"] = _route(found["http.route"])
    if "bytes" in found and step.name in _KINDS:
        found["http.response.body.size"] = found.pop("bytes")
    if step.error is not None:
        found["error.type"] = type(step.error).__name__
    return {name: value if isinstance(value, str | int | float) else str(value) for name, value in found.items()}


def _failed(step: Step) -> bool:
    status = step.facts.get("status")
    if step.name in _KINDS and isinstance(status, int) and status >= 500:
        return True
    return step.error is not None and not isinstance(step.error, _ANSWERS)


def _status(step: Step) -> Status:
    if not _failed(step):
        return Status(StatusCode.UNSET)
    # Only our own words are known to hold no secret.
    return Status(StatusCode.ERROR, str(step.error) if isinstance(step.error, AthensError) else None)
