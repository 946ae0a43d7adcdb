"""How late the reactor is: what blocks it makes every request wait, and no step shows it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL = 0.25
"""Seconds between two measurements."""


class ReactorLag:
    """Sets a timer again and again, and tells ``observe`` by how many seconds each one was late."""

    def __init__(self, clock: IReactorTime, observe: Callable[[float], None]) -> None:
        self._clock = clock
        self._observe = observe
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Measure from now on."""
        self._due = self._clock.seconds() + INTERVAL
        self._timer = self._clock.callLater(INTERVAL, self._measure)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _measure(self) -> None:
        self._observe(max(0.0, self._clock.seconds() - self._due))
        self.start()
