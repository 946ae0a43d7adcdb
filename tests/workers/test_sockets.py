"""Sockets that one process opens and others accept from; here all of them are this one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from athensd import listening
from athensd.workers.sockets import Given, Opening, listening_reactor
from athensd.workers.worker import Worker

loop: Any = reactor


class Named(Factory):
    """Tells each client its name."""

    noisy = False

    def __init__(self, name: bytes) -> None:
        self.name = name

    def buildProtocol(self, addr: object) -> Protocol:
        factory = self

        class Greets(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(factory.name)
                transport.loseConnection()

        return Greets()


def never() -> bool:
    return False


def always() -> bool:
    return True


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Opening, list[Any]]]:
    """A parent's sockets at these two places, and its ports."""
    opening = Opening(loop)
    ports: list[Any] = []
    for text in texts(tmp_path):
        serverFromString(opening, text).listen(Named(b"parent")).addCallback(ports.append)
    yield opening, ports
    for port in ports:
        port.stopListening()


def texts(tmp_path: Path) -> list[str]:
    return ["tcp:0:interface=127.0.0.1", f"unix:{tmp_path}/s:mode=600"]


def worker(opening: Opening, tmp_path: Path, name: bytes, gives_way: Callable[[], bool] = never) -> list[Any]:
    """The ports of one, which has descriptors of its own."""
    given = Given(loop, [(place, socket.dup(number)) for place, number in opening.sockets], gives_way)
    ports: list[Any] = []
    for text in texts(tmp_path):
        serverFromString(given, text).listen(Named(name)).addCallback(ports.append)
    return ports


def greeting(address: Any) -> bytes:
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(address)
        return client.makefile("rb").read()


@ensureDeferred
async def test_shared(opened: tuple[Opening, list[Any]], tmp_path: Path) -> None:
    """Workers take the clients of both, the parent none; whoever waits while nobody is there is taken by the next."""
    opening, [tcp, unix] = opened
    places = [("127.0.0.1", tcp.getHost().port), str(tmp_path / "s")]
    first = worker(opening, tmp_path, b"first")
    assert [port.getHost() for port in first] == [tcp.getHost(), unix.getHost()]
    assert [await deferToThread(greeting, place) for place in places] == [b"first"] * 2
    for port in first:
        await port.stopListening()
    waiting = [deferToThread(greeting, place) for place in places]
    second = worker(opening, tmp_path, b"second")
    assert [await each for each in waiting] == [b"second"] * 2
    for port in second:
        await port.stopListening()
    assert (tmp_path / "s").is_socket()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


@ensureDeferred
async def test_who_gives_way(
    opened: tuple[Opening, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their time to take a client; who waits longer is taken after all."""
    opening, [tcp, _] = opened
    place = ("127.0.0.1", tcp.getHost().port)
    monkeypatch.setattr(listening, "GIVES_WAY", 60)
    ports = [*worker(opening, tmp_path, b"full", always), *worker(opening, tmp_path, b"free")]
    assert {await deferToThread(greeting, place) for _ in range(20)} == {b"free"}
    for port in ports:
        await port.stopListening()
    monkeypatch.setattr(listening, "GIVES_WAY", 0.01)
    ports = worker(opening, tmp_path, b"full", always)
    assert await deferToThread(greeting, place) == b"full"
    for port in ports:
        await port.stopListening()


def test_what_was_not_opened() -> None:
    """A new address in the settings is not to be had by a new worker."""
    with pytest.raises(CannotListenError, match="the parent has not opened it; restart the daemon"):
        Given(loop, [("tcp 3000 ", 9)], never).listenTCP(3001, Named(b""))


def test_all_of_the_daemon() -> None:
    """A process that is no worker listens by itself."""
    assert listening_reactor(loop, Worker(), lambda: 0) is loop
