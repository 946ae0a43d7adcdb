"""Very many connections on which nothing is asked, and as many as the system has descriptors for."""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration import daemon as daemons
from tests.integration.daemon import Daemon, running
from tests.integration.goproxy_tree import add_version
from tests.integration.process import eventually

PATH = "example.test/m/@v/v1.0.0.info"
IDLE = 10_000
TIMEOUT = 20
"""``ClientTimeout``: seconds."""


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    """One module."""
    add_version(tmp_path / "tree", "example.test/m", "v1.0.0", {"m.go": b"package m\n"})
    return f"file://{tmp_path / 'tree'}"


@contextmanager
def connections(daemon: Daemon, count: int) -> Iterator[Sequence[socket.socket]]:
    """Each has been opened, and nothing asked on it yet."""
    address = urlsplit(daemon.url)
    with ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection((address.hostname, address.port), 20)) for _ in range(count)
        ]


def ask(connection: socket.socket) -> bytes:
    """The beginning of the answer; empty where the connection was closed instead."""
    try:
        connection.sendall(f"GET /{PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection.recv(4096)
    except ConnectionError:
        return b""


def memory(daemon: Daemon) -> int:
    """What the process has in memory, in bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def busy(daemon: Daemon) -> float:
    """The seconds of a processor that the process has taken until now."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_ten_thousand_idle_ones(tmp_path: Path, upstream: str) -> None:
    """They cost a few kilobytes each and no time, others are answered meanwhile, and their own time ends."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < IDLE + 1000:
        pytest.skip(f"a process has only {limits[1]} file descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        settings = {"ATHENS_MAX_CONNECTIONS": str(IDLE + 100), "ATHENS_CLIENT_TIMEOUT": str(TIMEOUT)}
        with running(tmp_path / "athensd", upstream, **settings) as daemon:
            assert daemon.get(PATH)[0] == 200
            before = memory(daemon)
            with connections(daemon, IDLE) as idle:
                assert all(ask(each).startswith(b"HTTP/1.1 200 OK\r\n") for each in idle)
                assert memory(daemon) - before < IDLE * 8192
                for _ in range(100):
                    assert daemon.get(PATH)[0] == 200
                began, at = busy(daemon), time.monotonic()
                assert closed(idle) == IDLE
                assert busy(daemon) - began < max(5, (time.monotonic() - at) / 2)
            assert daemon.get(PATH)[0] == 200
            assert daemon.end() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def closed(sockets: Sequence[socket.socket]) -> int:
    """How many of them the other side closes, waited for as long as that may take."""
    poll, gone = select.epoll(), 0
    for each in sockets:
        poll.register(each, select.EPOLLIN)
    until = time.monotonic() + 3 * TIMEOUT
    with poll:
        while gone < len(sockets) and time.monotonic() < until:
            for number, _ in poll.poll(1):
                poll.unregister(number)
                gone += 1
    return gone


def test_more_than_the_system_has_descriptors_for(
    tmp_path: Path, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said at the start; who comes too many is sent away and keeps nobody busy, and the others are served."""
    limited = tmp_path / "twistd"
    limited.write_text(f'#!/bin/sh\nulimit -n 600\nexec "{daemons.TWISTD}" "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr(daemons, "TWISTD", limited)
    with running(tmp_path / "athensd", upstream) as daemon:
        (said,) = [line for line in daemon.lines() if line["msg"] == "fewer connections than MaxConnections"]
        allowed = said["connections"]
        assert (said["file_descriptors"], said["level"]) == (600, "warning")
        with connections(daemon, allowed) as first:
            assert ask(first[0]).startswith(b"HTTP/1.1 200 OK\r\n")
            with connections(daemon, 200) as more:
                assert [ask(each) for each in more] == [b""] * 200
                before = busy(daemon)
                time.sleep(1)  # that nothing happens can only be seen by waiting
                assert busy(daemon) - before < 0.3
            assert all(ask(each).startswith(b"HTTP/1.1 200 OK\r\n") for each in first)
        assert eventually(lambda: answers(daemon))
        assert [line["bound"] for line in daemon.lines() if line["msg"] == "connections refused"] == ["MaxConnections"]


def answers(daemon: Daemon) -> bool:
    """Whether there is room for one more connection."""
    with connections(daemon, 1) as (one,):
        return ask(one).startswith(b"HTTP/1.1 200 OK\r\n")
