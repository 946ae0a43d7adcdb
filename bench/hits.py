#!/usr/bin/env python3
"""What a hit costs: CPU time of athensd, as a multiple of what nginx takes to serve the same files.

    bench/hits.py [--rounds N] [--seconds N] [--server NAME=URL,PID]...

athensd writes a json line for each request and traces one in a hundred to a collector that is there; nginx writes a
line too.  Both serve one tree, and wrk loads them in turn, so that whatever else the machine does meets both.
``--server`` adds any other server of the protocol that has example.test/m (see ``lay_out``), by its URL and the id of
its process.  Needs wrk and nginx (Debian: wrk, nginx-light) and the package installed beside this Python.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

TWISTD = Path(sys.executable).with_name("twistd")
TICKS = os.sysconf("SC_CLK_TCK")
MODULE = "example.test/m"
KINDS = {
    "info": f"{MODULE}/@v/v1.0.0.info",
    "mod": f"{MODULE}/@v/v1.0.0.mod",
    "list": f"{MODULE}/@v/list",
    "latest": f"{MODULE}/@latest",
    "404": "example.test/nothing/@v/list",
    "small zip": f"{MODULE}/@v/v1.0.0.zip",
    "large zip": f"{MODULE}/@v/v1.1.0.zip",
}
SIZES = {"v1.0.0": 30_000, "v1.1.0": 33_000_000}

NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.error;
events {{ worker_connections 1024; }}
http {{
    access_log {place}/nginx.access; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    default_type text/plain; types {{ application/json info; application/zip zip; }}
    open_file_cache max=1000;
    client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
    uwsgi_temp_path {place}; scgi_temp_path {place};
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Server(NamedTuple):
    """Who is measured."""

    name: str
    url: str
    pid: int


class Cost(NamedTuple):
    """CPU seconds of one request, and requests in a second."""

    seconds: float
    rate: float


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is sent to it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def lay_out(root: Path) -> None:
    """The tree that is served: two versions, one with a small and one with a large zip."""
    folder = root / MODULE / "@v"
    folder.mkdir(parents=True)
    for version, size in SIZES.items():
        (folder / f"{version}.info").write_text(f'{{"Version":"{version}","Time":"2024-01-02T03:04:05Z"}}')
        (folder / f"{version}.mod").write_text(f"module {MODULE}\n\ngo 1.24\n")
        (folder / f"{version}.zip").write_bytes(random.Random(size).randbytes(size))
    (folder / "list").write_text("".join(f"{version}\n" for version in SIZES))
    shutil.copy(folder / "v1.1.0.info", root / MODULE / "@latest")
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def process(
    command: Sequence[str | Path], port: int, log: Path, settings: dict[str, str] | None = None
) -> Iterator[int]:
    """The id of one that listens at a port."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **(settings or {})}
    with log.open("wb") as out:
        running = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert running.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def cpu(pid: int) -> float:
    """What a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cost(server: Server, kind: str, seconds: int) -> Cost:
    """Load one server for a while."""
    before = cpu(server.pid)
    connections = "4" if kind == "large zip" else "16"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"{server.url}/{KINDS[kind]}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("Non-2xx" in said) == (kind == "404"), said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None, said
    count = int(requests[1])
    return Cost((cpu(server.pid) - before) / count, count / seconds)


def report(kind: str, costs: dict[str, list[Cost]]) -> str:
    """One line of the table: medians, and the median of the ratios to nginx, round by round."""
    cells = []
    for measured in costs.values():
        ratio = statistics.median(
            ours.seconds / its.seconds for ours, its in zip(measured, costs["nginx"], strict=True)
        )
        typical = statistics.median(each.seconds for each in measured)
        shown = f"{typical * 1e6:8.1f} us" if kind != "large zip" else f"{typical * 1e9 / SIZES['v1.1.0']:6.2f} s/GB"
        cells.append(f"{shown} x {ratio:4.2f}")
    return f"{kind:10}" + "".join(f"{cell:>26}" for cell in cells)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--server", action="append", default=[], metavar="NAME=URL,PID")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    options = parser.parse_args()
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        place = Path(name)
        place.chmod(0o755)
        lay_out(place / "store")
        ours, theirs = free_port(), free_port()
        (place / "nginx.conf").write_text(NGINX.format(place=place, port=theirs, root=place / "store"))
        nginx = process(["nginx", "-c", place / "nginx.conf", "-p", place], theirs, place / "nginx.log")
        settings = {
            "GOPROXY": f"http://127.0.0.1:{theirs}",
            "GOSUMDB": "off",
            "GO_ENV": "production",
            "ATHENS_PORT": f"127.0.0.1:{ours}",
            "ATHENS_STORAGE_TYPE": "disk",
            "ATHENS_DISK_STORAGE_ROOT": str(place / "store"),
            "ATHENS_LOG_FORMAT": "json",
            "ATHENS_TRACE_EXPORTER": "otlp",
            "ATHENS_TRACE_EXPORTER_URL": f"http://127.0.0.1:{collector.server_port}",
            "ATHENS_TRACE_SAMPLING_FRACTION": "0.01",
            **{key: value for key, value in os.environ.items() if key.startswith("ATHENS_")},
        }
        athensd = process([TWISTD, "--nodaemon", "--pidfile=", "athens"], ours, place / "athensd.log", settings)
        servers = [
            Server("nginx", f"http://127.0.0.1:{theirs}", running.enter_context(nginx)),
            Server("athensd", f"http://127.0.0.1:{ours}", running.enter_context(athensd)),
        ]
        for each in options.server:
            label, _, rest = each.partition("=")
            url, _, pid = rest.rpartition(",")
            servers.append(Server(label, url, int(pid)))
        print(" " * 10 + "".join(f"{server.name:>26}" for server in servers))
        for kind in options.kind or KINDS:
            for server in servers:
                cost(server, kind, 1)
            rounds = [
                {server.name: cost(server, kind, options.seconds) for server in servers} for _ in range(options.rounds)
            ]
            print(report(kind, {server.name: [each[server.name] for each in rounds] for server in servers}), flush=True)


if __name__ == "__main__":
    main()
