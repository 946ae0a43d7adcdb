"""A way to a server of a test that can be cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

HOST = "127.0.0.1"


@frozen
class Cut:
    """After how many bytes a connection is cut: those to the server, those from it; ``None`` is never.

    These bytes arrive, and then both ends are closed (FIN).  With ``reset`` they are broken off (RST), which may
    overtake the bytes before it.
    """

    upstream: int | None = None
    downstream: int | None = None
    reset: bool = False


class CuttingProxy:
    """Passes on TCP connections from ``port`` to the port ``target``, both on loopback.

    Who does not read holds up who sends.  ``connections`` and ``cuts`` count those that were taken and cut so far.
    """

    def __init__(self, reactor: Any, target: int) -> None:
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self._reactor = reactor
        self._target = target
        self._listener: Any = None
        self._ends: set[_End] = set()
        self._plan: Iterator[Cut] = iter(())
        self._hanging = False

    @classmethod
    async def listening(cls, reactor: Any, target: int) -> CuttingProxy:
        """One that takes connections."""
        proxy = cls(reactor, target)
        proxy._listen()
        return proxy

    def follow(self, plan: Iterable[Cut]) -> None:
        """Give each connection that carries something from now on the next cut, until there are no more.

        A connection that is open already counts, with what it carries from now on.
        """
        self._plan = iter(plan)

    def cut(
        self, *, upstream: int | None = None, downstream: int | None = None, connections: int = 1, reset: bool = False
    ) -> None:
        """Cut the next so many connections."""
        self.follow(repeat(Cut(upstream, downstream, reset), connections))

    def cut_at_random(self, random: Random, most: int) -> None:
        """Cut every connection after at most so many bytes in one direction, by FIN or RST."""

        def plan() -> Iterator[Cut]:
            while True:
                direction = random.choice(("upstream", "downstream"))
                yield Cut(**{direction: random.randint(0, most)}, reset=random.random() < 0.5)

        self.follow(plan())

    def hang(self) -> None:
        """Take connections and pass on nothing, of those that are open neither."""
        self._hanging = True
        self._adjust()

    async def refuse(self) -> None:
        """Be as if nobody were there: what is open is broken off, and a new connection refused."""
        listener, self._listener = self._listener, None
        if listener:
            await maybeDeferred(listener.stopListening)
        while self._ends:
            for end in self._ends:
                end.transport.abortConnection()
            await deferLater(self._reactor, 0)

    def mend(self) -> None:
        """Pass on everything again, what hangs too."""
        self._plan = iter(())
        self._hanging = False
        self._adjust()
        if not self._listener:
            self._listen()

    async def close(self) -> None:
        """Listen no more, and break off what is open."""
        await self.refuse()

    def _listen(self) -> None:
        self._listener = self._reactor.listenTCP(self.port, _Taking(self), interface=HOST)
        self.port = self._listener.getHost().port

    def _adjust(self) -> None:
        for end in self._ends:
            end.adjust()


class _Connection:
    """The two ends of one, and how much it may carry still."""

    def __init__(self, proxy: CuttingProxy) -> None:
        self.proxy = proxy
        self.client, self.server = _End(self), _End(self)
        self.client.other, self.server.other = self.server, self.client
        self._plan: Iterator[Cut] | None = None
        self._cut = Cut()
        self._left: dict[_End, int | None] = {}

    def carry(self, end: _End, data: bytes) -> None:
        """Pass on what this end has read, as far as it may."""
        if self._plan is not self.proxy._plan:
            self._plan = self.proxy._plan
            self._cut = next(self._plan, Cut())
            self._left = {self.client: self._cut.upstream, self.server: self._cut.downstream}
        left = self._left[end]
        end.other.transport.write(data[:left])
        if left is None:
            return
        self._left[end] = left - len(data)
        if len(data) >= left:
            self.proxy.cuts += 1
            self.client.finish(reset=self._cut.reset)
            self.server.finish(reset=self._cut.reset)


class _End(Protocol):
    """One end of a connection; it reads no faster than the other end writes."""

    other: _End
    connector: Any
    _full = False
    _finished = False

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection

    def connectionMade(self) -> None:
        proxy = self.connection.proxy
        proxy._ends.add(self)
        if self is self.connection.client:
            self.connector = proxy._reactor.connectTCP(HOST, proxy._target, _Reaching(self.connection))
        else:
            self.transport.registerProducer(self.other, True)
            self.other.transport.registerProducer(self, True)
            self.other.adjust()
        self.adjust()

    def dataReceived(self, data: bytes) -> None:
        if not self._finished:
            self.connection.carry(self, data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted always gives one
        self.connection.proxy._ends.discard(self)
        self.other.finish(reset=not reason.check(ConnectionDone))
        if not self.other.transport:
            self.connector.disconnect()

    def finish(self, *, reset: bool) -> None:
        """Close it once what was written has gone, or break it off; nothing, if it is closed or gone."""
        if self._finished or self not in self.connection.proxy._ends:
            return
        self._finished = True
        self.transport.unregisterProducer()
        if reset:
            self.transport.abortConnection()
        else:
            # To close it while there is something to be read would break it off.
            self.transport.loseWriteConnection()
        self.adjust()

    def adjust(self) -> None:
        """Read, if what is read has somewhere to go."""
        has_way = self.other.transport and not self._full and not self.connection.proxy._hanging
        if self._finished or has_way:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def pauseProducing(self) -> None:
        self._full = True
        self.adjust()

    def resumeProducing(self) -> None:
        self._full = False
        self.adjust()

    def stopProducing(self) -> None:
        """The other end is lost, and says so itself."""


class _Taking(Factory):
    noisy = False

    def __init__(self, proxy: CuttingProxy) -> None:
        self.proxy = proxy

    def buildProtocol(self, addr: Any) -> _End:
        self.proxy.connections += 1
        return _Connection(self.proxy).client


class _Reaching(ClientFactory):
    noisy = False

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection

    def buildProtocol(self, addr: Any) -> _End:
        return self.connection.server

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.connection.client.finish(reset=True)
