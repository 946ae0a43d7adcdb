#!/usr/bin/env python3
"""How athensd bears its worst moments: hits while many misses run, many readers of a large zip, many idle clients.

    bench/steady.py

Prints the slowest of the hits that were asked for while 60 zips of 5 MB were fetched, checked and stored, how much
memory the process had at most while 50 clients read a zip of 125 MB, and what 10,000 idle connections take.  Needs only
the package installed beside this Python.
"""

from __future__ import annotations

import http.client
import io
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TWISTD = Path(sys.executable).with_name("twistd")
MISSES, READERS, IDLE = 60, 50, 10_000


class Upstream(SimpleHTTPRequestHandler):
    """A tree of files."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""


def add(root: Path, name: str, size: int) -> None:
    """One version of a module, with a file of so many random bytes in its zip."""
    path = f"example.test/{name}"
    folder = root / path / "@v"
    folder.mkdir(parents=True)
    (folder / "v1.0.0.info").write_text('{"Version":"v1.0.0","Time":"2024-01-02T03:04:05Z"}')
    mod = f"module {path}\n"
    (folder / "v1.0.0.mod").write_text(mod)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path}@v1.0.0/go.mod", mod)
        archive.writestr(f"{path}@v1.0.0/data.bin", random.Random(name).randbytes(size))
    (folder / "v1.0.0.zip").write_bytes(data.getvalue())


@contextmanager
def athensd(place: Path, goproxy: str) -> Iterator[tuple[int, int]]:
    """The port and the process of one with an empty store."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "GOPROXY": goproxy,
        "GOSUMDB": "off",
        "GO_ENV": "production",
        "ATHENS_PORT": f"127.0.0.1:{port}",
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(place / "store"),
        "ATHENS_LOG_FORMAT": "json",
        "ATHENS_MAX_CONNECTIONS": "0",
    }
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [TWISTD, "--nodaemon", "--pidfile=", "athens"], cwd=place, env=environment, stdout=log, stderr=log
        )
    try:
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def get(port: int, path: str) -> int:
    """How many bytes come."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    total = 0
    while data := response.read(1 << 16):
        total += len(data)
    return total


def memory(pid: int, field: str) -> float:
    """VmRSS or VmHWM, in megabytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@contextmanager
def hits(port: int) -> Iterator[list[str]]:
    """Ask for hits meanwhile; at the end the list has what came out."""
    said: list[str] = []
    watching = subprocess.Popen([sys.executable, "-c", HITS, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield said
    said.append(watching.communicate()[0].decode().strip())


def main() -> None:
    """Measure and print."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        tree = place / "tree"
        add(tree, "hot", 1000)
        add(tree, "large", 125_000_000)
        for number in range(MISSES):
            add(tree, f"m{number}", 5_000_000)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Upstream, directory=str(tree)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with athensd(place, f"http://127.0.0.1:{server.server_port}") as (port, pid):
            for kind in ("info", "mod", "zip"):
                get(port, f"/example.test/hot/@v/v1.0.0.{kind}")
            print(f"at rest: {memory(pid, 'VmRSS'):.0f} MB", flush=True)
            with hits(port) as said, ThreadPoolExecutor(MISSES) as clients:
                time.sleep(1)
                list(clients.map(lambda number: get(port, f"/example.test/m{number}/@v/v1.0.0.zip"), range(MISSES)))
            print(f"during {MISSES} misses: {said[0]}; memory at most {memory(pid, 'VmHWM'):.0f} MB", flush=True)
            get(port, "/example.test/large/@v/v1.0.0.zip")
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            command = [sys.executable, "-c", READ, str(port), str(READERS)]
            subprocess.run(command, check=True)
            print(f"{READERS} readers of 125 MB: memory at most {memory(pid, 'VmHWM'):.0f} MB", flush=True)
            before = memory(pid, "VmRSS")
            with ExitStack() as idle:
                for _ in range(IDLE):
                    connection = http.client.HTTPConnection("127.0.0.1", port)
                    idle.callback(connection.close)
                    connection.request("GET", "/example.test/hot/@v/v1.0.0.info")
                    connection.getresponse().read()
                taken = (memory(pid, "VmRSS") - before) * 1024 / IDLE
                with hits(port) as said:
                    time.sleep(5)
            print(f"{IDLE} idle connections: {taken:.1f} kB each; {said[0]}")


# From a process of its own, which is kept from its work by nothing else.
HITS = """
import http.client, select, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
took = []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    for kind in ("info", "mod", "zip"):
        began = time.perf_counter()
        connection.request("GET", "/example.test/hot/@v/v1.0.0." + kind)
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
took.sort()
slowest, most = took[-1] * 1000, took[int(len(took) * 0.99)] * 1000
print(f"of {len(took)} hits the slowest {slowest:.0f} ms, 99 % within {most:.1f} ms")
"""
READ = """
import http.client, sys, threading
def read():
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/example.test/large/@v/v1.0.0.zip")
    response = connection.getresponse()
    while response.read(1 << 16):
        pass
threads = [threading.Thread(target=read) for _ in range(int(sys.argv[2]))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""

if __name__ == "__main__":
    main()
