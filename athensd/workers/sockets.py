"""Sockets that a parent opens and its workers accept from.

All workers share each socket: whoever has time takes the next client, and who waits in it is not lost with a worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.tcp import Port as TCPPort
from twisted.internet.unix import Port as UNIXPort
from twisted.protocols.tls import TLSMemoryBIOFactory

from athensd.listening import FIRST_INHERITED, adopted
from athensd.workers.balance import Balance
from athensd.workers.worker import Worker


class Opening:
    """The reactor of a parent, as endpoints see it.

    ``sockets`` are those that were opened by it: what was to be listened at, and a descriptor.  Nobody is accepted.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[Any] = []  # they stay open as long as somebody holds them
        self.sockets: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def addReader(self, reader: Any) -> None:
        """Clients are for the workers."""

    def removeReader(self, reader: Any) -> None:
        """It is not read from."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._opened(_tcp(port, interface), TCPPort(port, factory, backlog, interface, self))

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self.listenTCP(port, factory, backlog, interface)  # TLS is for the workers too

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        port: Any = UNIXPort(address, factory, backlog, mode, self, wantPID)  # type: ignore[arg-type]  # it takes text
        return self._opened(_unix(address), port)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        return adopted(self, fileDescriptor, factory)

    def _opened(self, name: str, port: Any) -> Any:
        port.startListening()
        port._shouldShutdown = False  # a worker may still take the last clients
        self._ports.append(port)
        self.sockets.append((name, port.fileno()))
        return port


class Given:
    """The reactor of a worker, as endpoints see it: to listen is to take the socket that the parent has opened.

    ``gives_way`` says whether another worker should take the next client.
    """

    def __init__(self, reactor: Any, sockets: Sequence[tuple[str, int]], gives_way: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._sockets = list(sockets)
        self._gives_way = gives_way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._taken(_tcp(port, interface), factory)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        return self._taken(_unix(address), factory)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        return adopted(self._reactor, fileDescriptor, factory, self._gives_way)

    def _taken(self, name: str, factory: Any) -> Any:
        for each in self._sockets:
            if each[0] == name:
                self._sockets.remove(each)
                port = adopted(self._reactor, each[1], factory, self._gives_way)
                os.close(each[1])  # what listens is a copy, which no process that we start inherits
                return port
        raise CannotListenError(None, name, OSError("the parent has not opened it; restart the daemon"))


def listening_reactor(reactor: Any, worker: Worker, connections: Callable[[], int]) -> Any:
    """The reactor for all who listen in this process, which has so many ``connections`` at the time."""
    if not worker.number:
        return reactor
    balance = Balance(worker.balance)
    return Given(reactor, worker.sockets, lambda: balance.gives_way(worker.number, connections()))


def from_systemd() -> dict[int, int]:
    """Copies of what systemd has opened for this process, by its numbers, which Twisted closes when it listens.

    Of what says that there is something, Twisted has left no more than the names.
    """
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    with suppress(IndexError):  # they were for another one, which has started us
        serverFromString(None, "systemd:domain=INET:index=0")
        return {number: os.dup(number) for number, _ in enumerate(names, FIRST_INHERITED)}
    return {}


def _tcp(port: int, interface: str) -> str:
    return f"tcp {port} {interface}"


def _unix(address: str) -> str:
    return f"unix {address}"
