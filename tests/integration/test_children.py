"""However it ends, a request leaves no go and no git behind it: counted beside a daemon whose git host says nothing."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.process import eventually

pytestmark = [needs_go, pytest.mark.skipif(not shutil.which("git"), reason="there is no git")]
MODULE = "github.com/pkg/errors"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a proxy that takes connections and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def children(store: Path) -> list[str]:
    """The programs that work below a store."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it is gone, or not ours
            if process.name.isdecimal() and f"TMPDIR={store}/".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def ask(daemon: Daemon, path: str) -> socket.socket:
    """A client that has asked and waits."""
    host, port = daemon.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


def busy(daemon: Daemon, store: Path) -> socket.socket:
    """A client for whom a git is at work."""
    client = ask(daemon, f"{MODULE}/@v/v0.9.1.zip")
    eventually(lambda: any("git" in each for each in children(store)))
    return client


def test_time_out(tmp_path: Path, silent: str) -> None:
    """After the time-out there is neither process nor file of the request, and the client knows."""
    store = tmp_path / "store"
    with running(tmp_path, "direct", HTTPS_PROXY=silent, ATHENS_STASH_TIMEOUT="2") as daemon:
        with busy(daemon, store) as client:
            assert b" 504 " in client.recv(100)
        eventually(lambda: not children(store), 5)
        eventually(lambda: not list(store.glob(".athensd/spool/*/*")), 5)


def test_client_gone(tmp_path: Path, silent: str) -> None:
    """What a client has left goes on for whoever asks next, up to its time-out and no longer."""
    store = tmp_path / "store"
    with running(tmp_path, "direct", HTTPS_PROXY=silent, ATHENS_STASH_TIMEOUT="3") as daemon:
        busy(daemon, store).close()
        eventually(lambda: any(line.get("http-status") == 499 for line in daemon.lines()))
        assert children(store)
        eventually(lambda: not children(store), 8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_end_of_the_daemon(tmp_path: Path, silent: str, number: int) -> None:
    """Five seconds after the daemon nothing is left that it had started, were it killed or told to stop."""
    store = tmp_path / "store"
    with running(tmp_path, "direct", HTTPS_PROXY=silent, ATHENS_SHUTDOWN_TIMEOUT="1") as daemon:
        with busy(daemon, store):
            daemon.end(number)
        eventually(lambda: not children(store), 5)
