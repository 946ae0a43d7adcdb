"""``twistd athens`` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from attrs import frozen

TWISTD = Path(sys.executable).with_name("twistd")


@frozen
class Daemon:
    """A running athensd, its address and its log."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def open(self, path: str, **headers: str) -> HTTPResponse:
        """The answer to GET, whatever its status."""
        request = urllib.request.Request(f"{self.url}/{path}", headers=headers)
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            return error  # type: ignore[return-value]  # it has status, headers and read() all the same
        return response

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        with self.open(path, **headers) as response:
            return response.status, response.read()

    def plain(self, path: str, times: int = 1) -> list[int]:
        """The statuses of plain requests on one connection: from the second on they are for the fast lane."""
        statuses = []
        with closing(HTTPConnection(self.url.removeprefix("http://"), timeout=30)) as connection:
            for _ in range(times):
                connection.request("GET", f"/{path}")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
        return statuses

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)


def start(directory: Path, goproxy: str, **settings: str) -> Daemon:
    """Start one with disk storage in ``directory`` on a free port, and wait until it serves."""
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(TWISTD), "--nodaemon", "--pidfile=", "athens"],
            cwd=directory,
            env=environment(directory, goproxy, settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return started(process, log)


def started(process: subprocess.Popen[bytes], log: Path) -> Daemon:
    """Wait until it serves; it has a ``url`` if it has a port."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"Starting application"' in line:
                return Daemon(process, f"http://127.0.0.1:{json.loads(line).get('tcpPort')}", log)
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"athensd did not start: {log.read_text()}")


def environment(directory: Path, goproxy: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What a daemon of a test is started with."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
    return {
        **kept,
        "GOFLAGS": "",
        "GOPROXY": goproxy,
        "GOPRIVATE": "",
        "GONOPROXY": "",
        "GOSUMDB": "off",
        "ATHENS_PORT": "127.0.0.1:0",
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(directory / "store"),
        "ATHENS_LOG_FORMAT": "json",
        "ATHENS_INDEX_TYPE": "memory",
        **settings,
    }


@contextmanager
def running(directory: Path, goproxy: str, **settings: str) -> Iterator[Daemon]:
    """One that is gone at the end, however the test ended."""
    directory.mkdir(parents=True, exist_ok=True)
    daemon = start(directory, goproxy, **settings)
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
