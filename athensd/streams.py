"""HTTP exchanges with a datastore: bodies of any size in constant memory, both ways, and the words for what fails.

Each side waits for the other: what is sent is read no faster than the connection takes it, and what comes is left in
the socket while whoever reads it is busy.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError, UserError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from athensd.errors import AthensError, StorageFailed
from athensd.interfaces import Blob

_CANCELLED = (CancelledError, ConnectingCancelledError)


class Broken(StorageFailed):
    """A connection that was there broke off: asking again may help."""


def plain_client(agent: IAgent) -> HTTPClient:
    """A client whose bodies are as the server stores them: it asks for no compression and undoes none."""
    return HTTPClient(_PlainAgent(agent))


async def exchange(
    client: HTTPClient,
    clock: IReactorTime,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    blob: Blob | None = None,
    idle: float = 30.0,
) -> Any:
    """Send a request, with ``blob`` as its body, and return the response; its body is still to be read (``pieces``).

    No redirect is followed.  Raises ``Broken`` when the connection breaks off, ``StorageFailed`` when there is none,
    when nothing moves for ``idle`` seconds, or when the blob cannot be read to its end.
    """
    body = None if blob is None else BlobProducer(blob)
    asked: Deferred[Any] = client.request(
        method,
        url,
        headers=Headers({name: [value] for name, value in headers.items()}),
        data=body,
        allow_redirects=False,
        unbuffered=True,
    )
    silence = clock.callLater(idle, asked.cancel)
    if body is not None:
        body.progress = lambda: _postpone(silence, idle)
    try:
        return await asked
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, _CANCELLED) and silence.active():
            raise CancelledError from error  # whoever asked has left
        raise _word(cause, urlsplit(url).netloc, idle) from error
    finally:
        if silence.active():
            silence.cancel()


async def pieces(response: Any, idle: float, clock: IReactorTime) -> AsyncGenerator[bytes, None]:
    """The body of a response as it comes.  Who ends it early drops the connection.

    Raises ``Broken`` when the connection breaks off, ``StorageFailed`` after ``idle`` seconds of silence.  The end of a
    body that has neither a length nor chunks is where its connection ends.
    """
    body = _Body()
    response.deliverBody(body)
    try:
        while piece := await body.next(idle, clock):
            yield piece
    finally:
        body.drop()


async def read_bounded(response: Any, limit: int, idle: float, clock: IReactorTime) -> bytes:
    """A small body, or the first ``limit`` bytes of a larger one.  Raises what ``pieces`` does."""
    found = bytearray()
    async with aclosing(pieces(response, idle, clock)) as body:
        async for piece in body:
            found += piece
            if len(found) > limit:
                break
    return bytes(found[:limit])


@implementer(IBodyProducer)
class BlobProducer:
    """A blob as the body of a request; ``progress`` is called whenever a piece of it was taken."""

    def __init__(self, blob: Blob) -> None:
        self.length = blob.length
        self.progress: Callable[[], None] = lambda: None
        self._blob = blob
        self._gate: Deferred[None] | None = None
        self._work: Deferred[None] | None = None
        self._writing = False
        self._stopped = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._work = Deferred.fromCoroutine(self._produce(consumer))
        # A producer that was stopped says no more (IBodyProducer).
        self._work.addCallbacks(
            lambda _: None if self._stopped else done.callback(None),
            lambda failure: None if self._stopped else done.errback(failure),
        )
        return done

    def pauseProducing(self) -> None:
        if self._gate is None:
            self._gate = Deferred()

    def resumeProducing(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.callback(None)

    def stopProducing(self) -> None:
        self._stopped = True
        # In the middle of a write the work is running, and sees for itself that it was stopped.
        if self._work is not None and not self._writing:
            self._work.cancel()

    async def _produce(self, consumer: IConsumer) -> None:
        left = self.length
        async for piece in self._blob.chunks():
            left -= len(piece)
            if left < 0:
                break
            self._writing = True
            consumer.write(piece)
            self._writing = False
            if self._stopped:
                return
            if self._gate is not None:
                await self._gate
            self.progress()
        if left:
            raise OSError(errno.EIO, "it is not as long as it was")


class _Body(Protocol):
    """A body from which one piece after the other is taken; the connection waits while there is one to take."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting: Deferred[None] | None = None
        self._reason: Failure | None = None
        self._paused = False

    async def next(self, idle: float, clock: IReactorTime) -> bytes:
        """The next piece; nothing at the end."""
        while not self._pieces and self._reason is None:
            self._waiting = Deferred()
            waiting = self._waiting.addTimeout(idle, clock)
            self._pause(False)
            try:
                await waiting
            except DeferredTimeout as error:
                raise StorageFailed(f"nothing came for {idle:g} seconds") from error
        if self._pieces:
            return self._pieces.popleft()
        if self._reason is not None and not self._reason.check(ResponseDone, PotentialDataLoss):
            raise _word(_cause(self._reason.value), "", idle)
        return b""

    def drop(self) -> None:
        """The rest is not wanted; what has ended by itself is left as it is."""
        if self._reason is None and self.transport is not None:
            # Twisted shows only loseConnection, which under TLS waits for the goodbye of a server that may send on.
            connection: Any = getattr(self.transport, "_producer", None)
            getattr(connection, "abortConnection", self.transport.loseConnection)()

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._wake()
        if self._pieces:
            self._pause(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reason = reason
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def _pause(self, wanted: bool) -> None:
        transport: Any = self.transport
        if transport is not None and wanted != self._paused:
            self._paused = wanted
            (transport.pauseProducing if wanted else transport.resumeProducing)()


@implementer(IAgent)
class _PlainAgent:
    """Stands between treq, which has its own mind about compression, and the network."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        plain = Headers() if headers is None else headers.copy()
        plain.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, plain, bodyProducer).addCallback(_undecoded)


def _undecoded(response: IResponse) -> IResponse:
    """An object may have been stored compressed, by its own metadata: then these bytes are the object."""
    response.headers.removeHeader(b"Content-Encoding")
    return response


def _postpone(silence: IDelayedCall, idle: float) -> None:
    if silence.active():
        silence.reset(idle)


def _cause(error: BaseException | None) -> BaseException:
    """What is wrapped in Twisted's collections of reasons."""
    assert error is not None, "a failure has an error"
    reasons: list[Failure] = getattr(error, "reasons", [])
    return _cause(reasons[0].value) if reasons else error


def _word(cause: BaseException, host: str, idle: float) -> StorageFailed:
    where = host or "the server"
    if isinstance(cause, (*_CANCELLED, DeferredTimeout, ConnectTimeout)):
        return StorageFailed(f"{where} did not answer in time")
    if isinstance(cause, DNSLookupError):
        return StorageFailed(f"the name {where} could not be resolved")
    if isinstance(cause, AthensError):
        return StorageFailed(str(cause))
    if isinstance(cause, ConnectError | UserError | SSL.Error | VerificationError | ValueError):
        return StorageFailed(f"no connection to {where} ({_reason(cause)})")
    if isinstance(cause, OSError):
        return StorageFailed(f"what was to be sent could not be read: {cause.strerror}")
    return Broken(f"the connection to {where} broke off ({_reason(cause)})")


def _reason(cause: BaseException) -> str:
    """A reason in a few words, such as 'Connection was refused by other side'."""
    if isinstance(cause, VerificationError):
        return "its certificate is for another name"
    if isinstance(cause, SSL.Error) and cause.args and cause.args[0]:
        return str(cause.args[0][-1][-1])  # the last of (library, function, reason)
    return str(cause).split("\n")[0].split(": ")[0].strip(" .") or type(cause).__name__
