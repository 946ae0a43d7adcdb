"""Bodies: straight from a file into the socket where that is possible, else a piece at a time."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from athensd.interfaces import Blob
from athensd.web.pace import paced

AT_ONCE = 512 << 10
"""At most so many bytes in one call: other connections get their turn in between."""


async def send_body(request: Request, blob: Blob, start: int, stop: int) -> None:
    """Send the bytes from ``start`` up to ``stop`` after the head, at the client's pace.

    Returns when all are handed over.  When the client leaves, Klein cancels whoever awaits this.
    """
    file = blob.file() if _is_plain_socket(request.channel) else None
    if file is None:
        await _send_chunks(request, blob, start, stop)
    else:
        with file:
            await _send_file(request, file, start, stop)


def _is_plain_socket(channel: object) -> bool:
    """Under TLS all bytes pass through our hands, and a stream of HTTP/2 is no socket of its own."""
    transport = channel.transport if isinstance(channel, HTTPChannel) else None
    return isinstance(transport, Connection) and not transport.TLS


async def _send_file(request: Request, file: BinaryIO, start: int, stop: int) -> None:
    request.write(b"")
    channel = request.channel
    transport: Any = channel.transport
    producer = _FileProducer(transport, file, start, stop)
    # The channel itself is the transport's producer; the file takes its place for a while.
    transport.unregisterProducer()
    transport.registerProducer(producer, False)
    try:
        with paced(channel, lambda: producer.position):
            await producer.done
    finally:
        request.sentLength += producer.position - start
        transport.unregisterProducer()
        transport.registerProducer(channel, True)
        # If the channel was told to pause before, nobody else will tell it that the buffer is empty again.
        channel.resumeProducing()


@implementer(IPullProducer)
class _FileProducer:
    """Sends a part of a file whenever the transport has nothing else to send and the socket takes more."""

    def __init__(self, transport: Any, file: BinaryIO, start: int, stop: int) -> None:
        self.position = start
        self.done: Deferred[None] = Deferred()
        self._transport = transport
        self._file = file
        self._stop = stop
        self._registered = False

    def resumeProducing(self) -> None:
        if self._registered:
            self._send()
        else:
            # This call comes from registerProducer itself, with the head perhaps still in the transport's buffer.
            self._registered = True
            self._transport.startWriting()

    def stopProducing(self) -> None:
        """The connection is lost; Klein cancels the request that waits for us."""

    def _send(self) -> None:
        count = min(self._stop - self.position, AT_ONCE)
        try:
            sent = os.sendfile(self._transport.fileno(), self._file.fileno(), self.position, count)
        except BlockingIOError:
            self._transport.startWriting()
            return
        except OSError:
            sent = 0
        self.position += sent
        if not sent:
            # The peer is gone, or the file became shorter.  What was promised is not padded.
            self._transport.abortConnection()
        elif self.position < self._stop:
            self._transport.startWriting()
        else:
            self.done.callback(None)


async def _send_chunks(request: Request, blob: Blob, start: int, stop: int) -> None:
    gate = _Gate()
    request.registerProducer(gate, True)
    try:
        with paced(request.channel, lambda: request.sentLength, lambda: gate.closed):
            async for piece in blob.chunks(start, stop):
                request.write(piece)
                await gate.passed()
    finally:
        if request.channel is not None:  # the client has not left
            request.unregisterProducer()


@implementer(IPushProducer)
class _Gate:
    """Open while the client takes what it is sent."""

    def __init__(self) -> None:
        self._waiting: Deferred[None] | None = None

    @property
    def closed(self) -> bool:
        return self._waiting is not None

    async def passed(self) -> None:
        """Wait until more may be sent."""
        if self._waiting is not None:
            await self._waiting

    def pauseProducing(self) -> None:
        if self._waiting is None:
            self._waiting = Deferred()

    def resumeProducing(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; Klein cancels the request that waits at the gate."""
