"""The fast lane: a plain request for an answer that is at hand is answered before it is parsed.

Whatever is out of the ordinary goes on to Twisted's own parser, its bytes untouched.  So the lane can be taken out of
use without changing one byte of any answer; it makes a hit several times cheaper.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Protocol

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from zope.interface import implementer

from athensd.steps import Step
from athensd.web.access import Write, new_id, own
from athensd.web.forwarded import UNIX, Client, Proxies, plain_address
from athensd.web.pace import LEAST
from athensd.web.rendered import Rendered, RenderedAnswers, as_asked

LONGEST = 4096
"""No plain request is longer, in bytes."""

_MORE: int = getattr(socket, "MSG_MORE", 0)  # Linux has it

_MATTERS = (
    *("range", "if-[a-z-]+", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"),
    *("authorization", "traceparent", "tracestate", "athens-request-id", "disable-module-fetch"),
)
MATTERS = re.compile("|".join(_MATTERS), re.IGNORECASE)
"""The headers with which the same path may have another answer, or the connection another end."""

# One whole GET with well-formed headers, of which there must be one: HTTP/1.1 wants a Host.  A login is as go sends it.
_PLAIN = re.compile(
    rb"GET (/[!->@-~]*) HTTP/1\.1\r\n"
    rb"(?:(?:(?!(?i:%b)[ \t]*:)[!#$%%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*|Authorization: ([ -~]+))\r\n){1,100}\r\n"
    % "|".join(_MATTERS).encode()
).fullmatch


_FORWARDED = re.compile(rb"\r\n(forwarded|x-forwarded-(?:for|proto|host)):[ \t]*([^\r\n]*)", re.IGNORECASE)


class Lane(Protocol):
    """What a connection has to know of its site."""

    rendered: RenderedAnswers | None
    draining: bool
    timeOut: float | None
    access: Write
    force_ssl: bool
    proxies: Proxies

    def gone(self, channel: object) -> None:
        """This connection is lost."""


@implementer(IHalfCloseableProtocol)
class HotChannel(HTTPChannel):
    """HTTP/1.1 on one connection."""

    site: Lane
    _peer: Client | None = None
    _only_peer = False
    _active = 0.0
    _late: Any = None
    _unsent = 0
    _sends_no_more = False

    def dataReceived(self, data: bytes) -> None:
        """Answer at once what can be; the rest is for the parser."""
        answers = self.site.rendered
        # Nothing before it waits to be parsed, handled or sent: else it would overtake.
        if answers and not self.requests and not self._buffer and self._at_rest() and len(data) <= LONGEST:
            plain = _PLAIN(data)
            answer = answers.get(as_asked(*plain.groups())) if plain else None
            if answer is not None:
                client = self.peer()
                if not self._only_peer:
                    client = self.site.proxies.client(client, lambda name: _values(name, data))
                if client.secure or not self.site.force_ssl:
                    self._give(answer, client.address, answers.now())
                    return
        super().dataReceived(data)
        self._watch_head()

    def peer(self) -> Client:
        """Who is at the other end of the connection."""
        if self._peer is None:
            transport: Any = self.transport
            self._peer = Client(address_of(transport.getPeer()), self.isSecure())
            # Then no header says anything that the lane has to know.
            self._only_peer = not self.site.force_ssl and self._peer.address not in self.site.proxies
        return self._peer

    def requestDone(self, request: Any) -> None:
        """One was answered; what has begun behind it has time of its own."""
        self._forget_head()
        super().requestDone(request)
        self._watch_head()
        if self._sends_no_more:
            self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The client sends no more.  What it is being sent it gets; if it still waits for that to begin, it has left.

        From one that has left altogether it can only be told apart by sending something.
        """
        self._sends_no_more = True
        if not any(request.startedWriting for request in self.requests):
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """We never stop sending before the end."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._forget_head()
        self.site.gone(self)

    def timeoutConnection(self) -> None:
        """Who takes what the lane has sent, at the least pace, is not idle."""
        left = self._left()
        if left and self.timeOut and self._unsent - left >= LEAST * self.timeOut:
            self._unsent = left
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    def _left(self) -> int:
        """How many bytes of what was sent the system has not taken."""
        transport: Any = self.transport
        buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
        return buffered + getattr(transport, "_tempDataLen", 0)

    def _watch_head(self) -> None:
        """A request that has begun must arrive whole within the time that an idle client is given."""
        begun = bool(self._buffer or (self.requests and not self._handlingRequest))
        if begun and self._late is None and self.site.timeOut:
            self._late = self.callLater(self.site.timeOut, self._cut)
        elif not begun:
            self._forget_head()

    def _forget_head(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = None

    def _cut(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def _at_rest(self) -> bool:
        """Whether the connection stays open, and all that was sent has been taken by the system."""
        transport: Any = self.transport
        return bool(
            self.persistent
            and not self.site.draining
            and not transport.disconnecting
            and not getattr(transport, "dataBuffer", b"")
            and not getattr(transport, "_tempDataLen", 0)
        )

    def _give(self, answer: Rendered, client: str, now: float) -> None:
        began = time.perf_counter()
        if now > self._active + 1:  # not each time: it takes a microsecond
            self._active = now
            self.resetTimeout()
        request_id = new_id()
        facts = {**answer.facts, "client": client, "request_id": request_id}
        differs = {b"id": request_id.encode(), b"date": _date()}
        if answer.since is not None:
            facts["age"] = age = now - answer.since
            differs[b"age"] = b"%d" % age
        head = answer.head % differs
        if answer.file is not None:
            self._send_file(head, answer)
        else:
            self._send(head + (answer.body % differs if answer.names else answer.body))
        self._unsent = self._left()
        this = Step("request", facts, apart=True)
        this.happened(began)
        if this.mark is None:
            self.site.access(own(this), answer.alike)
        else:
            with this.inside():
                self.site.access(own(this), answer.alike)

    def _send(self, data: bytes, more: bool = False) -> None:
        """Without a round of the reactor in between, where the system takes it.  With ``more`` it need not hurry."""
        transport: Any = self.transport
        if isinstance(transport, Connection) and not transport.TLS:
            try:
                sent = transport.socket.send(data, _MORE if more else 0)
            except OSError:  # it takes none for now; or it is lost, and writing says so as it does otherwise
                sent = 0
            data = data[sent:]
        if data:
            transport.write(data)

    def _send_file(self, head: bytes, answer: Rendered) -> None:
        assert answer.file is not None
        descriptor, sent = answer.file.fileno(), 0
        # In packets of its own the head costs as much as all the rest of a small zip.
        self._send(head, more=True)
        transport: Any = self.transport
        if isinstance(transport, Connection) and not transport.TLS and self._at_rest():
            try:
                while sent < answer.length:
                    count = os.sendfile(transport.fileno(), descriptor, sent, answer.length - sent)
                    if not count:
                        break
                    sent += count
            except OSError:
                pass
        if sent < answer.length:
            rest = os.pread(descriptor, answer.length - sent, sent)
            transport.write(rest)
            if len(rest) < answer.length - sent:
                transport.abortConnection()  # the file became shorter: what was promised is not padded


def address_of(peer: object) -> str:
    """The address of Twisted's address: an IP address, or that of all sockets of this machine."""
    if isinstance(peer, UNIXAddress):
        return UNIX
    host = getattr(peer, "host", "")
    return plain_address(host) or host


def _values(name: bytes, head: bytes) -> list[bytes]:
    return [value for found, value in _FORWARDED.findall(head) if found.lower() == name]


class _Clock:
    second = 0
    text = b""


def _date() -> bytes:
    """The time as HTTP writes it, made once a second."""
    now = int(time.time())
    if now != _Clock.second:
        _Clock.second, _Clock.text = now, datetimeToString()
    return _Clock.text
