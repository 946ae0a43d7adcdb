"""Metrics that are sent: again and again, by a thread, so that nobody waits for whoever takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from prometheus_client import Metric
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from athensd.observe.delivery import Delivery
from athensd.observe.quiet import in_words

Send = Callable[[Iterable[Metric]], None]
"""Sends all metrics, and raises the reason when they did not arrive."""

GOODBYE = 1.0
"""Seconds that the last sending may take."""


class Undelivered(Exception):
    """Metrics did not arrive; the text says why."""


@frozen
class Destination:
    """Where metrics are sent to, and every how many seconds.  ``connect`` may take its time, and may fail."""

    address: str
    interval: float
    connect: Callable[[], Send]


class Push:
    """Sends what ``collect`` gives to a destination: at once, every ``interval`` seconds, and at the end."""

    def __init__(
        self, destination: Destination, collect: Callable[[], Iterable[Metric]], delivery: Delivery, reactor: Any
    ) -> None:
        self._destination = destination
        self._collect = collect
        self._delivery = delivery
        self._reactor = reactor
        self._send: Send | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._over: Deferred[None] = Deferred()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """Send a last time; whatever takes longer than ``GOODBYE`` is left to itself."""
        if not self._thread.is_alive():
            return
        self._ending.set()
        try:
            await self._over.addTimeout(GOODBYE, self._reactor)
        except TimeoutError:
            self._delivery.failed("they could not be sent in time at the end")
            await deferLater(self._reactor, 0)  # so that the line is still written

    def _run(self) -> None:
        self._try()
        while not self._ending.wait(self._destination.interval):
            self._try()
        self._try()
        self._reactor.callFromThread(self._end)

    def _try(self) -> None:
        try:
            if self._send is None:
                self._send = self._destination.connect()
            self._send(self._collect())
        except Exception as error:  # whatever a library raises, it is a reason and no more
            self._delivery.failed(in_words(error))
        else:
            self._delivery.arrived()

    def _end(self) -> None:
        if not self._over.called:
            self._over.callback(None)
