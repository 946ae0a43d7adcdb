"""That nobody can tell whether the fast lane is in use, over real sockets: who stops sending, and who reads slowly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.web.fakes import PATH, VERSION, Daemon, make_zip
from tests.web.odd_streams import PLAIN, TAKEN, masked, streams, warmed

loop: Any = reactor


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Where two daemons listen with the same answers at hand, one with the lane and one without."""
    daemons = [Daemon(tmp_path / name) for name in ("one", "other")]
    archive = make_zip(PATH, VERSION, b"x" * 900_000)
    for daemon in daemons:
        daemon.origin.zip = archive
        warmed(daemon)
    daemons[1].site.rendered = None
    listening = [loop.listenTCP(0, daemon.site, interface="127.0.0.1") for daemon in daemons]
    one, other = (port.getHost().port for port in listening)
    yield one, other
    for port in listening:
        port.stopListening()


def talk(pieces: Sequence[bytes], slow: bool, port: int) -> bytes:
    """Send them and say that this was all; what is answered, read to its end, perhaps by little at a time."""
    with socket.socket() as client:
        client.settimeout(20)
        if slow:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        with suppress(OSError):  # the other side was quicker
            client.shutdown(socket.SHUT_WR)
        answer = []
        while data := client.recv(100_000):
            answer.append(data)
            if slow:
                time.sleep(0.001)
        return b"".join(answer)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("path", TAKEN)
@ensureDeferred
async def test_who_sends_no_more(ports: tuple[int, int], path: str, slow: bool) -> None:
    """He gets the whole of what he has asked for."""
    one, other = [await deferToThread(talk, [PLAIN % path.encode()], slow, port) for port in ports]
    head, _, body = one.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert masked(one) == masked(other)


@ensureDeferred
async def test_nobody_can_tell(ports: tuple[int, int]) -> None:
    """Odd streams, each from a client that then sends no more, are answered with the same bytes."""

    def compare(pieces: Sequence[bytes], slow: bool) -> bool:
        try:
            one, other = (talk(pieces, slow, port) for port in ports)
        except ConnectionError:
            return False  # it was refused while he was still sending, and then the system drops what was answered
        assert masked(one) == masked(other), pieces
        return b"HTTP/1.1 200 OK\r\n" in one

    with ThreadPoolExecutor(8) as threads:
        works = [threads.submit(compare, pieces, number % 4 == 0) for number, pieces in enumerate(streams(300))]
        taken = await deferToThread(lambda: [work.result() for work in works])
    assert sum(taken) > 100
