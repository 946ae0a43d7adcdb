"""``/debug``: what the daemon is doing just now, on a listener of its own.

It is for whoever operates the daemon: it asks for no password and is to be reached from this machine only.
"""

from __future__ import annotations

import cProfile
import io
import json
import marshal
import os
import pstats
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.util import Redirect

from athensd import __version__
from athensd.observe.logs import shown
from athensd.observe.process import children, coroutines, memory, threads
from athensd.observe.underway import UnderWay

log = structlog.get_logger()
LONGEST_PROFILE = 60.0

INDEX = f"""<!DOCTYPE html>
<title>athensd</title>
<h1>athensd {__version__}</h1>
<dl>
<dt><a href="/debug/steps">steps</a> (<a href="/debug/steps?format=json">JSON</a>)
<dd>what is under way, the longest first: requests, fetches, waits for a turn, go commands
<dt><a href="/debug/counts">counts</a> <dd>queues, caches and connections
<dt><a href="/debug/children">children</a> <dd>processes under this one
<dt><a href="/debug/stacks">stacks</a> <dd>where each thread is, and what each coroutine waits for
<dt><a href="/debug/memory">memory</a> (<a href="/debug/memory?types=1">by type</a>, which takes a moment)
<dt><a href="/debug/profile?seconds=10">profile</a> (<a href="/debug/profile?format=pstats">for pstats</a>)
<dd>where the reactor's thread spends the next 10 seconds
</dl>
"""


class DebugListener:
    """Serves ``/debug`` at ``host`` and ``port`` from ``start`` to ``stop``.

    ``counts`` are numbers worth a look, by name.
    """

    def __init__(
        self, reactor: Any, host: str, port: int, under_way: UnderWay, counts: Mapping[str, Callable[[], int]]
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._profile = _Profile(reactor)
        self._site = _Site(_root(under_way, counts, self._profile), timeout=2 * LONGEST_PROFILE)
        self._listening: Any = None  # an IListeningPort

    def start(self) -> None:
        """Listen; a port that is taken costs one warning."""
        try:
            self._listening = self._reactor.listenTCP(self._port, self._site, interface=self._host)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            log.warning("/debug is not served", address=_address(self._host, self._port), reason=reason)
            return
        log.info("/debug is served", url=f"http://{_address(self._host, self._listening.getHost().port)}/debug/")

    async def stop(self) -> None:
        """Listen no more, and end a profile that is being taken."""
        self._profile.abandon()
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()


class _Site(Site):
    displayTracebacks = False

    def log(self, request: Any) -> None:
        """Who looks on is no event."""


def _root(under_way: UnderWay, counts: Mapping[str, Callable[[], int]], profile: Resource) -> Resource:
    pages: dict[str, Resource] = {
        "": _Page(lambda request: INDEX, "text/html"),
        "steps": _Page(lambda request: _steps(under_way, _argument(request, "format"))),
        "counts": _Page(lambda request: "".join(f"{count():>10}  {name}\n" for name, count in counts.items())),
        "children": _Page(lambda request: "".join(children(os.getpid()))),
        "stacks": _Page(lambda request: "\n".join([*threads(), *coroutines()])),
        "memory": _Page(lambda request: memory(by_type=bool(_argument(request, "types")))),
        "profile": profile,
    }
    root, debug = _ToIndex(b"/debug/"), _ToIndex(b"/debug/")
    root.putChild(b"debug", debug)
    for name, page in pages.items():
        debug.putChild(name.encode(), page)
    return root


class _ToIndex(Redirect):
    """Whoever looks for something else, such as Athens' ``/debug/pprof/``, sees what there is."""

    isLeaf = False


class _Page(Resource):
    """What a function makes of a request."""

    isLeaf = True

    def __init__(self, text: Callable[[Request], str], kind: str = "text/plain") -> None:
        super().__init__()
        self._text = text
        self._kind = kind

    def render_GET(self, request: Request) -> bytes:
        return _answer(request, self._text(request), self._kind)


class _Profile(Resource):
    """What the reactor's thread does, for a while; one at a time."""

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._profile: cProfile.Profile | None = None
        self._end: Any = None  # an IDelayedCall

    def render_GET(self, request: Request) -> bytes | int:
        try:
            seconds = float(_argument(request, "seconds") or 10)
        except ValueError:
            seconds = 0
        if not 0 < seconds <= LONGEST_PROFILE:
            return _answer(request, f"seconds must be more than 0 and at most {LONGEST_PROFILE:g}\n", code=400)
        if self._profile is not None:
            return _answer(request, "a profile is being taken already; come back later\n", code=409)
        self._profile = cProfile.Profile()
        self._end = self._reactor.callLater(seconds, self._done, request, seconds, time.process_time())
        request.notifyFinish().addErrback(self._left)
        self._profile.enable()
        return NOT_DONE_YET

    def abandon(self) -> None:
        """End what is being taken, if anything is."""
        if self._profile is not None:
            self._end.cancel()
            self._profile.disable()
            self._profile = None

    def _left(self, reason: Failure) -> None:
        self.abandon()

    def _done(self, request: Request, seconds: float, used: float) -> None:
        profile, self._profile = self._profile, None
        assert profile is not None, "abandoning it cancels this"
        profile.disable()
        if _argument(request, "format") == "pstats":
            request.write(_statistics_file(request, profile))
        else:
            head = f"{seconds:g} seconds, in which this process used {time.process_time() - used:.2f} of CPU\n\n"
            request.write(_answer(request, head + _top(profile)))
        request.finish()


def _answer(request: Request, text: str, kind: str = "text/plain", code: int = 200) -> bytes:
    request.setResponseCode(code)
    request.setHeader("content-type", f"{kind}; charset=utf-8")
    request.setHeader("cache-control", "no-store")
    request.setHeader("x-content-type-options", "nosniff")
    return text.encode("utf-8", "backslashreplace")


def _statistics_file(request: Request, profile: cProfile.Profile) -> bytes:
    """What ``pstats.Stats`` reads from a file."""
    request.setHeader("content-type", "application/octet-stream")
    request.setHeader("content-disposition", 'attachment; filename="athensd.pstats"')
    profile.create_stats()
    statistics: Any = profile
    return marshal.dumps(statistics.stats)


def _top(profile: cProfile.Profile) -> str:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(60)
    return text.getvalue()


def _argument(request: Request, name: str) -> str:
    values: list[bytes] = request.args.get(name.encode(), [b""])
    return values[0].decode("ascii", "replace")


def _steps(under_way: UnderWay, format: str) -> str:
    now = time.perf_counter()
    steps = under_way.steps()
    if format == "json":
        rows = [{"step": step.name, "seconds": round(now - step.began, 3), **step.facts} for step in steps]
        return json.dumps(rows, default=str, indent=1)
    return "".join(
        " ".join(
            [
                f"{now - step.began:>9.3f} s ",
                f"{step.name:<14}",
                *(f"{name}={shown(value)}" for name, value in step.facts.items() if value not in {"", None}),
            ]
        )
        + "\n"
        for step in steps
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
