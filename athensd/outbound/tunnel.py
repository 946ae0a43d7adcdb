"""A way through a proxy: CONNECT (RFC 9110, 9.3.6), as an endpoint that can be used like any other."""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError, TCPTimedOutError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.outbound.proxies import ProxyURL

ANSWER_LIMIT = 64 * 1024
"""The longest answer to CONNECT, in bytes."""
_END = b"\r\n\r\n"


class ProxyFailed(ConnectError):
    """A proxy cannot be reached, or does not let us through.  The text is whole, and has no credential in it."""

    def __init__(self, text: str) -> None:
        super().__init__(string=text)
        self._text = text

    def __str__(self) -> str:
        return self._text


def refused(proxy: ProxyURL, status: int) -> ProxyFailed:
    """What a proxy's answer other than 200 means."""
    if status != 407:
        return ProxyFailed(f"{proxy} opens no way to it ({status})")
    return ProxyFailed(f"{proxy} {'does not accept our login' if proxy.authorization else 'asks for a login'} (407)")


@implementer(IStreamClientEndpoint)
@frozen
class ProxyEndpoint:
    """``way`` to a proxy, whose failures are not taken for those of the hosts behind it."""

    way: IStreamClientEndpoint
    proxy: ProxyURL

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """As ``IStreamClientEndpoint`` says; raises ``ProxyFailed``."""
        return self.way.connect(factory).addErrback(self._say)

    def _say(self, failure: Failure) -> Failure:
        if failure.check(ConnectTimeout, TCPTimedOutError):
            raise ProxyFailed(f"{self.proxy} did not answer in time")
        if failure.check(DNSLookupError):
            raise ProxyFailed(f"the name of {self.proxy} could not be resolved")
        if failure.check(ConnectError):
            raise ProxyFailed(f"{self.proxy} cannot be reached")
        return failure


@implementer(IStreamClientEndpoint)
@frozen
class Tunnel:
    """A connection to ``target``, a host and a port, made by ``proxy``, to which ``way`` leads.

    The proxy may take ``timeout`` seconds for it.
    """

    way: IStreamClientEndpoint
    proxy: ProxyURL
    target: str
    clock: IReactorTime
    timeout: float

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """As ``IStreamClientEndpoint`` says; raises ``ProxyFailed``."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        digging: Digging = await connectProtocol(self.way, Digging(self.proxy, self.target))
        try:
            await digging.through.addTimeout(self.timeout, self.clock)
        except DeferredTimeout:
            raise ProxyFailed(f"{self.proxy} did not answer in time") from None
        return digging.hand_over(factory)


class Digging(Protocol):
    """Asks for a tunnel.  When ``through`` fires it is there, and all that comes is for the protocol at our end."""

    transport: Any
    _within: Any = None

    def __init__(self, proxy: ProxyURL, target: str) -> None:
        self._proxy = proxy
        self._target = target
        self._answer = b""
        self.through: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        login = f"Proxy-Authorization: {self._proxy.authorization}\r\n" if self._proxy.authorization else ""
        head = f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\nUser-Agent: athensd\r\n{login}\r\n"
        self.transport.write(head.encode("ascii"))

    def dataReceived(self, data: bytes) -> None:
        if self._within is not None:
            self._within.dataReceived(data)
        elif not self.through.called:
            self._answer += data
            if _END in self._answer or len(self._answer) > ANSWER_LIMIT:
                self._answered()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._within is not None:
            self._within.connectionLost(reason)
        elif not self.through.called:
            self.through.errback(ProxyFailed(f"{self._proxy} {_ending(reason.value)}"))

    def hand_over(self, factory: IProtocolFactory) -> IProtocol:
        """The protocol at our end, connected."""
        self._within = within = factory.buildProtocol(self.transport.getPeer())
        assert within is not None, "factories for one connection have a protocol for it"
        within.makeConnection(self.transport)
        early = self._answer.partition(_END)[2]
        if early:
            within.dataReceived(early)
        return within

    def _answered(self) -> None:
        status = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r\n", self._answer)
        if not status or _END not in self._answer:
            self._fail(ProxyFailed(f"{self._proxy} does not answer as a proxy does"))
        elif int(status[1]) != 200:
            self._fail(refused(self._proxy, int(status[1])))
        else:
            self.through.callback(None)

    def _fail(self, error: ProxyFailed) -> None:
        self.through.errback(error)
        self.transport.abortConnection()


def _ending(error: BaseException | None) -> str:
    """Why there will be no answer; only a proxy that has a certificate can have a wrong one."""
    if isinstance(error, VerificationError):
        return "has a certificate for another name"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return f"cannot be spoken to by TLS ({error.args[0][-1][-1]})"  # the last of (library, function, reason)
    return "closed the connection"
