"""Somebody else's server, as a process of its own on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "athensd"
"""Where ``script/test-servers`` puts what it installs."""


def free_ports(count: int) -> list[int]:
    """Ports at which nobody listens."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def eventually(look: Callable[[], T], seconds: float = 20) -> T:
    """What ``look`` gives, as soon as it is something."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"after {seconds} s there is still nothing"
        time.sleep(0.05)
    return found


@contextmanager
def serving(
    command: Sequence[str | Path], url: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, from when ``url`` is answered until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        eventually(lambda: _answers(url) or process.poll() is not None, 30)
        assert process.poll() is None, f"it did not start: {log.read_text()[-2000:]}"
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
