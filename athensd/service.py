"""The daemon's life: listen, serve, drain, end."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any

import structlog
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver
from twisted.python.components import Componentized

from athensd import __version__
from athensd.errors import TimedOut
from athensd.waiting import within
from athensd.web.request import AthensSite

log = structlog.get_logger()
BACKLOG = 1024


class AthensService(Service):
    """Serves ``site``; at the end lets requests finish (``shutdown_timeout``, seconds), then calls each of ``stop``.

    Each of ``start`` is called when the reactor runs, and each of ``kill`` before an end at once, for whoever does not
    want to wait: no child process may be left.  SIGHUP calls ``reload``.
    """

    def __init__(
        self,
        reactor: Any,
        site: AthensSite,
        host: str,
        port: int,
        *,
        shutdown_timeout: float,
        log_observer: ILogObserver,
        start: Sequence[Callable[[], None]] = (),
        stop: Sequence[Callable[[], Awaitable[None] | None]],
        kill: Sequence[Callable[[], None]],
        reload: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._site = site
        self._host = host or _any_host()
        self._port = port
        self._shutdown_timeout = shutdown_timeout
        self._log_observer = log_observer
        self._start = start
        self._stop = stop
        self._kill = kill
        self._reload = reload
        self._terminal = False
        self._listening: Any = None  # an IListeningPort
        self._ending = False

    def setServiceParent(self, parent: Any) -> None:
        """twistd asks its application for a log observer: that is ours."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Listen; a port that is taken ends the process with one line."""
        try:
            self._listening = self._reactor.listenTCP(self._port, self._site, BACKLOG, self._host)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            # By now twistd has taken over the standard error for its log.
            print(f"athensd: cannot listen on port {self._port}: {reason}", file=sys.__stderr__)
            raise SystemExit(1) from error

    def startService(self) -> None:
        super().startService()
        if self._listening is None:
            self.privilegedStartService()
        self._reactor.callWhenRunning(self._running)

    async def _stopped(self) -> None:
        log.info("Shutting down server", requests=len(self._site.busy))
        if self._listening is not None:
            await self._listening.stopListening()
        try:
            await within(self._reactor, self._shutdown_timeout, self._site.drained(), "finishing requests")
        except TimedOut as error:
            log.warning("requests cut off", requests=len(self._site.busy), reason=str(error))
        for stop in self._stop:
            result = stop()
            if isawaitable(result):
                await result

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stopped())

    def _running(self) -> None:
        # Twisted's own handlers would have twistd end by the signal; a stop that was asked for is no failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._terminal = os.isatty(0)
        signal.signal(signal.SIGHUP, self._hung_up)
        for start in self._start:
            start()
        address = self._listening.getHost() if self._listening is not None else None
        # A thread that exports or compresses gives the reactor its turn within half a millisecond instead of five.
        sys.setswitchinterval(0.0005)
        # What exists by now stays to the end: it need not be looked through at each collection of garbage.
        gc.collect()
        gc.freeze()
        log.info("Starting application", version=__version__, tcpPort=getattr(address, "port", None))

    def _hung_up(self, number: int, frame: object) -> None:
        if not self._terminal or os.isatty(0):
            self._reactor.callFromThread(self._reload)
        elif not self._ending:
            # The window in which we ran was closed; the system may say so twice.
            self._signalled(number, frame)

    def _signalled(self, number: int, frame: object) -> None:
        if self._ending:
            # Asked twice: at once.  What is unfinished on disk is swept at the next start.
            for kill in self._kill:
                kill()
            os._exit(128 + number)
        self._ending = True
        self._reactor.callFromThread(self._reactor.stop)


def _any_host() -> str:
    """All addresses: IPv6 with IPv4 inside it where the system has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"  # noqa: S104 - what an empty host means
    return "::"
