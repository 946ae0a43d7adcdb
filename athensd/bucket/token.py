"""An access token that expires: it is fetched ahead of that, and by one asker at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, DeferredLock

from athensd.errors import StorageFailed

AHEAD = 200.0
"""So many seconds before a token expires a new one is fetched; meanwhile the old one does.

Google's metadata server gives out the old one until 240 seconds before, Azure's identities until 300.
"""
AGAIN_AFTER = 5.0
"""So soon, in seconds, nobody tries again: trying can take that long itself."""

Fetch = Callable[[], tuple[str, float]]
"""A token and when it expires, in seconds of the epoch.  It may block; its ``StorageFailed`` is in words."""


class Token:
    """The token that is valid now; ``fetch`` is run by ``in_thread``, and ``now`` is the time of the epoch."""

    def __init__(self, fetch: Fetch, in_thread: Callable[..., Awaitable[Any]], now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._in_thread = in_thread
        self._now = now
        self._turn = DeferredLock()
        self._token = ""
        self._expires = 0.0
        self._failure = ""
        self._tried = -AGAIN_AFTER

    async def __call__(self) -> str:
        """Raises ``StorageFailed`` when there is none to be had."""
        if self._is_due() and not (self._left() > 0 and self._turn.locked):
            async with self._turn:
                # Whoever had the turn before may have done it.
                if self._is_due():
                    await self._renew()
        if self._left() <= 0:
            raise StorageFailed(self._failure)
        return self._token

    def _left(self) -> float:
        return self._expires - self._now()

    def _is_due(self) -> bool:
        return self._left() < AHEAD and not 0 <= self._now() - self._tried < AGAIN_AFTER

    async def _renew(self) -> None:
        try:
            self._token, self._expires = await self._in_thread(self._fetch)
            self._failure = "the access token has expired: is the clock of this machine right?"
        except CancelledError:
            raise  # whoever asked has left; that says nothing of the token
        except Exception as error:
            known = isinstance(error, StorageFailed)
            self._failure = str(error) if known else f"no access token could be had ({type(error).__name__})"
        self._tried = self._now()
