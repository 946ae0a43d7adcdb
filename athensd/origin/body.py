"""The body of a response: bounded in size and in silence, unpacked, and whole or an error."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import GzipDecoder, ResponseDone
from twisted.web.http import PotentialDataLoss

from athensd.errors import VerificationFailed


class Garbled(Exception):
    """A compressed body that cannot be unpacked or has no end."""


async def read_body(
    response: Any, sink: Callable[[bytes], Any], limit: int, idle: float, clock: IReactorTime, what: str
) -> None:
    """Hand the body of ``what`` to ``sink`` as it comes; cancelling closes the connection.

    Raises ``VerificationFailed`` beyond ``limit`` bytes, Twisted's ``TimeoutError`` after ``idle`` seconds of silence,
    ``Garbled``, what ``sink`` raises of ``OSError``, and Twisted's own errors when the connection breaks.
    """
    original: Any = getattr(response, "original", None)
    compressed = isinstance(original, GzipDecoder)
    done: Deferred[None] = Deferred(lambda _: body.abort())
    body = _Body(sink, limit, what, idle, clock, done, compressed)
    # Twisted's decoder takes a broken body for an empty one.
    (original.original if compressed else response).deliverBody(body)
    await done


class _Body(Protocol):
    """Hands a body on as it comes, and ends it when it is too long or too slow."""

    def __init__(
        self,
        sink: Callable[[bytes], Any],
        limit: int,
        what: str,
        idle: float,
        clock: IReactorTime,
        done: Deferred[None],
        compressed: bool,
    ) -> None:
        self._sink, self._left, self._what, self._done = sink, limit, what, done
        self._idle = idle
        self._failure: BaseException | None = None
        self._timer = clock.callLater(idle, self._silent)
        self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if compressed else None

    def dataReceived(self, data: bytes) -> None:
        if self._failure is not None:
            return
        self._timer.reset(self._idle)
        try:
            piece = data if self._gzip is None else self._gzip.decompress(data, self._left + 1)
            self._left -= len(piece)
            if self._left >= 0:
                self._sink(piece)
            else:
                self._end(VerificationFailed(f"{self._what}: the upstream sends more than Go allows"))
        except zlib.error:
            self._end(Garbled("a compressed answer cannot be unpacked"))
        except OSError as error:
            self._end(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self._done.called:
            return
        if self._failure is not None:
            self._done.errback(self._failure)
        # PotentialDataLoss: neither a length nor chunks, so only the upstream's closing tells the end (HTTP/1.0).
        elif not reason.check(ResponseDone, PotentialDataLoss):
            self._done.errback(reason)
        elif self._gzip is not None and not self._gzip.eof:
            self._done.errback(Garbled("a compressed answer breaks off"))
        else:
            self._done.callback(None)

    def abort(self) -> None:
        """The asker is no longer interested: do not let the rest come."""
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    def _silent(self) -> None:
        self._end(DeferredTimeout(f"nothing came for {self._idle:g} seconds"))

    def _end(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
            self.abort()
