"""Whether what was observed arrives where it is sent: one line when it does not any more, one when it does again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from athensd.observe.address import shown

InReactor = Callable[..., Any]
"""Has a function called, with its arguments, by the thread of the reactor: ``reactor.callFromThread``."""


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Delivery:
    """The state of one exporter.  All threads may call it.

    ``what`` is "traces" or "metrics", ``exporter`` its name in the settings, ``address`` where it sends to: it is
    shown without its user, password and query.
    """

    def __init__(
        self, what: str, exporter: str, address: str, in_reactor: InReactor, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._what = what
        self._where = {"exporter": exporter, "address": shown(address)}
        self._in_reactor = in_reactor
        self._now = now
        self._lock = threading.Lock()
        self._tried = False
        self._away: datetime | None = None
        self._dropped = 0
        self._dropped_before = 0  # when it was last told
        self._log = structlog.get_logger()

    @property
    def name(self) -> str:
        """What goes where, in words."""
        return f"{self._what} to {self._where['exporter']}"

    @property
    def tried(self) -> bool:
        """Whether anything was sent until now, or should have been."""
        return self._tried

    @property
    def away(self) -> datetime | None:
        """Since when nothing arrives; ``None`` unless the last thing did not."""
        return self._away

    @property
    def dropped(self) -> int:
        """How many spans did not arrive or did not fit, so far."""
        return self._dropped

    def drop(self, count: int = 1) -> None:
        """So many did not fit."""
        with self._lock:
            self._dropped += count

    def arrived(self) -> None:
        """Something arrived.  That is a line only after ``failed``."""
        with self._lock:
            self._tried = True
            if self._away is None:
                return
            self._away = None
            dropped = self._dropped - self._dropped_before
            self._dropped_before = self._dropped
            self._say(f"{self._what} are delivered again", dropped=dropped)

    def failed(self, reason: str, lost: int = 0) -> None:
        """Something did not arrive, and so many were lost by it.  It is a line only when the last thing arrived."""
        with self._lock:
            self._dropped += lost
            self._tried = True
            if self._away is not None:
                return
            self._away = self._now()
            self._say(f"{self._what} are not delivered", reason=reason)

    def _say(self, text: str, **more: object) -> None:
        self._in_reactor(lambda: self._log.info(text, **self._where, **more))
