"""What is being done, step by step: a room says what it does, and whoever watches makes of it what he wants.

    with step("verify", module=path) as this:
        ...
        this.note(bytes=length)

Traces make a span of it, metrics a duration, ``/debug`` a line while it lasts.  With nobody watching, a step costs
about a microsecond.  Steps stand in coroutines: a plain callback does not see which step it is part of, and a thread
only with a copy of the context.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from twisted.internet.defer import Deferred

NO_HEADERS: Mapping[str, str] = {}


class Place(Protocol):
    """Where in which trace something is being done: what another step can be linked to."""


class Watcher(Protocol):
    """Is told of every step."""

    def opened(self, step: Step) -> None:
        """It has begun; ``facts`` holds what is known so far."""

    def closed(self, step: Step) -> None:
        """It is over: ``facts`` are complete, ``seconds`` and ``error`` are set."""

    def happened(self, step: Step) -> None:
        """It was over at once, with nothing that was part of it: this is all that is told of it."""


class Tracer(Watcher, Protocol):
    """The watcher that also knows which step is part of which."""

    def enter(self, step: Step) -> object:
        """What is begun from now on is part of ``step``; the result is for ``leave``."""

    def leave(self, token: object) -> None:
        """What is begun from now on is part of what it was before."""

    def here(self) -> Place | None:
        """The step that we are in."""

    def link(self, step: Step, place: Place) -> None:
        """An open step has to do with what is done at another place."""

    def headers(self) -> Mapping[str, str]:
        """The same for another server: the headers of W3C Trace Context."""


class Step:
    """One step.  ``began`` is a time of ``time.perf_counter``, ``seconds`` how long it took.

    With ``apart`` it is no part of the step that it is begun in, but the root of a trace, linked to ``cause``;
    ``caller`` holds the headers with which another server says what it is part of.
    """

    __slots__ = ("_token", "apart", "began", "caller", "cause", "error", "facts", "mark", "name", "seconds")

    def __init__(
        self,
        name: str,
        facts: dict[str, object],
        *,
        apart: bool = False,
        caller: Mapping[str, str] = NO_HEADERS,
        cause: Place | None = None,
    ) -> None:
        self.name = name
        self.facts = facts
        self.apart = apart
        self.caller = caller
        self.cause = cause
        self.began = 0.0
        self.seconds = 0.0
        self.error: BaseException | None = None
        self.mark: object = None  # what the tracer has to remember of it
        self._token: object = None

    def note(self, **facts: object) -> None:
        """Add to what is known of it."""
        self.facts.update(facts)

    def link(self, place: Place | None) -> None:
        """It has to do with what is done there, in another trace or another part of this one."""
        if _tracer and place is not None:
            _tracer.link(self, place)

    def open(self) -> Step:
        """Begin, for a step that is no ``with`` block; ``close`` must follow."""
        self.began = time.perf_counter()
        for watcher in _watchers:
            watcher.opened(self)
        return self

    def close(self, error: BaseException | None = None) -> None:
        """It is over, by this error or well."""
        self.seconds = time.perf_counter() - self.began
        self.error = error
        for watcher in _watchers:
            watcher.closed(self)

    def happened(self, began: float) -> None:
        """It began then, is over by now, and nothing was part of it; so ``open`` and ``close`` are not called."""
        self.began = began
        self.seconds = time.perf_counter() - began
        for watcher in _watchers:
            watcher.happened(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What is begun in this block is part of it."""
        token = _tracer.enter(self) if _tracer else None
        try:
            yield
        finally:
            if _tracer:
                _tracer.leave(token)

    def __enter__(self) -> Step:
        self.open()
        if _tracer:
            self._token = _tracer.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _tracer:
            _tracer.leave(self._token)
        self.close(error)


def step(name: str, **facts: object) -> Step:
    """A step that is part of the one we are in; use it in a ``with``."""
    return Step(name, facts)


def aside(name: str, work: Callable[[], Awaitable[None]], **facts: object) -> None:
    """Begin ``work`` for which nobody waits, as a step with a trace of its own.  It must handle its errors."""

    async def alone(cause: Place | None) -> None:
        with Step(name, facts, apart=True, cause=cause):
            await work()

    Deferred.fromCoroutine(alone(here()))


def here() -> Place | None:
    """The step that we are in, to be linked to; ``None`` when nothing is traced."""
    return _tracer.here() if _tracer else None


def headers() -> Mapping[str, str]:
    """What to tell another server of the step that we are in."""
    return _tracer.headers() if _tracer else NO_HEADERS


def watch(*watchers: Watcher, tracer: Tracer | None = None) -> None:
    """From now on these are told, and nobody else."""
    global _tracer, _watchers  # noqa: PLW0603 - as with logs: who watches is a matter of the whole process
    _tracer = tracer
    _watchers = (tracer, *watchers) if tracer else watchers


_tracer: Tracer | None = None
_watchers: tuple[Watcher, ...] = ()
