"""The daemon's life: listen, serve, drain, end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence, Sized
from contextlib import suppress
from inspect import isawaitable
from typing import Any, Protocol

import structlog
from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from athensd import __version__
from athensd.errors import TimedOut
from athensd.listening import Listener, address_of
from athensd.waiting import within

log = structlog.get_logger()


class Served(Protocol):
    """What is served: its open ``connections``, the requests under way, and their end."""

    draining: bool

    @property
    def connections(self) -> int: ...

    @property
    def busy(self) -> Sized: ...

    async def drained(self) -> None: ...


class AthensService(Service):
    """Serves ``site`` at all ``listeners``; at the end lets requests finish, for ``shutdown_timeout`` seconds at most.

    Then each of ``stop`` is called.  Each of ``start`` is called when the reactor runs, and each of ``kill`` before an
    end at once, for whoever does not want to wait: no child process may be left.  SIGHUP calls ``reload``, and SIGUSR2
    ``exchange`` if there is one.  Where others go on, whoever has just connected is served for ``linger`` seconds.
    """

    def __init__(
        self,
        reactor: Any,
        site: Served,
        listeners: Sequence[Listener],
        *,
        shutdown_timeout: float,
        log_observer: ILogObserver,
        start: Sequence[Callable[[], None]] = (),
        stop: Sequence[Callable[[], Awaitable[None] | None]],
        kill: Sequence[Callable[[], None]],
        reload: Callable[[], object],
        exchange: Callable[[], object] | None = None,
        linger: float = 0.0,
    ) -> None:
        self._reactor = reactor
        self._site = site
        self._listeners = listeners
        self._shutdown_timeout = shutdown_timeout
        self._log_observer = log_observer
        self._start = start
        self._stop = stop
        self._kill = kill
        self.reload = reload
        self.exchange = exchange
        self._linger = linger
        self._terminal = False
        self._ports: list[Any] = []  # an IListeningPort for each listener
        self._ending = False

    def setServiceParent(self, parent: Any) -> None:
        """twistd asks its application for a log observer: that is ours."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Listen; a port that is taken ends the process with one line."""
        for listener in self._listeners:
            failures: list[Failure] = []
            # Servers' endpoints have a result at once.
            listener.endpoint.listen(self._site).addCallbacks(self._ports.append, failures.append)
            for failure in failures:
                error = failure.value
                cause = error.socketError if isinstance(error, CannotListenError) else error
                reason = getattr(cause, "strerror", None) or cause
                # By now twistd has taken over the standard error for its log.
                print(f"athensd: cannot listen on {listener.name}: {reason}", file=sys.__stderr__)
                raise SystemExit(1) from error

    def startService(self) -> None:
        super().startService()
        if not self._ports:
            self.privilegedStartService()
        self._reactor.callWhenRunning(self._running)

    def finish(self) -> None:
        """End as by SIGTERM, unless it is ending already."""
        if not self._ending:
            self._signalled(signal.SIGTERM, None)

    async def _stopped(self) -> None:
        log.info("Shutting down server", requests=len(self._site.busy))
        for port in self._ports:
            with suppress(FileNotFoundError):  # somebody has deleted the socket
                await port.stopListening()
        if self._linger and self._site.connections:
            self._site.draining = True  # each answer is the last one of its connection
            await deferLater(self._reactor, self._linger)
        try:
            await within(self._reactor, self._shutdown_timeout, self._site.drained(), "finishing requests")
        except TimedOut as error:
            log.warning("requests cut off", requests=len(self._site.busy), reason=str(error))
        for stop in self._stop:
            try:
                result = stop()
                if isawaitable(result):
                    await result
            except Exception:
                log.exception("something could not be stopped")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stopped())

    def _running(self) -> None:
        # Twisted's own handlers would have twistd end by the signal; a stop that was asked for is no failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._terminal = os.isatty(0)
        signal.signal(signal.SIGHUP, self._hung_up)
        if self.exchange is not None:
            signal.signal(signal.SIGUSR2, self._to_be_exchanged)
        for start in self._start:
            start()
        # A thread that exports or compresses gives the reactor its turn within half a millisecond instead of five.
        sys.setswitchinterval(0.0005)
        # What exists by now stays to the end: it need not be looked through at each collection of garbage.
        gc.collect()
        gc.freeze()
        log.info("Starting application", version=__version__, **self._addresses())

    def _addresses(self) -> dict[str, object]:
        """Where we are: as Athens says it, and all of it."""
        hosts = [port.getHost() for port in self._ports]
        ports = [host.port for host in hosts if hasattr(host, "port")]
        sockets = [os.fsdecode(host.name or b"") for host in hosts if isinstance(host, UNIXAddress)]
        return {
            **({"tcpPort": ports[0]} if ports else {}),
            **({"unixSocket": sockets[0]} if sockets else {}),
            "listening": ", ".join(map(address_of, self._listeners, self._ports)),
        }

    def _hung_up(self, number: int, frame: object) -> None:
        if not self._terminal or os.isatty(0):
            self._reactor.callFromThread(self.reload)
        elif not self._ending:
            # The window in which we ran was closed; the system may say so twice.
            self._signalled(number, frame)

    def _to_be_exchanged(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self.exchange)

    def _signalled(self, number: int, frame: object) -> None:
        if self._ending:
            # Asked twice: at once.  What is unfinished on disk is swept at the next start.
            for kill in self._kill:
                kill()
            os._exit(128 + number)
        self._ending = True
        self._reactor.callFromThread(self._reactor.stop)
