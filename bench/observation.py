#!/usr/bin/env python3
"""What it costs to be observed: CPU time of a hit with logs, traces and metrics, as a multiple of one without any.

    bench/observation.py [ROUNDS]

Two daemons serve the same store: one writes a json line for each request, traces one request in a hundred to a
collector that is there, and keeps metrics; the other does none of it.  wrk loads them in turn, so that whatever else
the machine does meets both.  Needs wrk (Debian: wrk) and the package installed beside this Python.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TWISTD = Path(sys.executable).with_name("twistd")
TICKS = os.sysconf("SC_CLK_TCK")
FILE = "example.test/m/@v/v1.0.0.info"
SECONDS = 4

BARE = {"ATHENS_LOG_LEVEL": "error", "ATHENS_STATS_EXPORTER": "none", "ATHENS_TRACE_EXPORTER": "none"}
OBSERVED = {
    "ATHENS_LOG_LEVEL": "info",
    "ATHENS_LOG_FORMAT": "json",
    "ATHENS_STATS_EXPORTER": "prometheus",
    "ATHENS_TRACE_EXPORTER": "otlp",
    "ATHENS_TRACE_SAMPLING_FRACTION": "0.01",
    "GO_ENV": "production",
}


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is sent to it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def daemon(store: Path, port: int, log: Path, settings: Mapping[str, str]) -> Iterator[int]:
    """The process id of one that serves."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "GOPROXY": "off",
        "ATHENS_PORT": f"127.0.0.1:{port}",
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(store),
        **settings,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [TWISTD, "--nodaemon", "--pidfile=", "athens"], cwd=log.parent, env=environment, stdout=out, stderr=out
        )
    try:
        time.sleep(2)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def cost(pid: int, port: int) -> float:
    """CPU time of one hit, in microseconds."""
    before = cpu(pid)
    command = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/{FILE}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None, said
    return (cpu(pid) - before) / int(requests[1]) * 1e6


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main(rounds: int) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    observed = {**OBSERVED, "ATHENS_TRACE_EXPORTER_URL": f"http://127.0.0.1:{collector.server_port}"}
    with tempfile.TemporaryDirectory() as place:
        store = Path(place, "store")
        file = store / FILE
        file.parent.mkdir(parents=True)
        file.write_text('{"Version":"v1.0.0","Time":"2024-01-02T03:04:05Z"}')
        with (
            daemon(store, 13071, Path(place, "bare.log"), BARE) as bare,
            daemon(store, 13072, Path(place, "observed.log"), observed) as watched,
        ):
            cost(bare, 13071), cost(watched, 13072)  # warm both
            pairs = [(cost(bare, 13071), cost(watched, 13072)) for _ in range(rounds)]
        lines = Path(place, "observed.log").read_text().count("incoming request")
    for without, with_all in pairs:
        print(f"{without:6.0f} us without   {with_all:6.0f} us observed   x {with_all / without:.2f}")
    print(f"median x {statistics.median(b / a for a, b in pairs):.2f}   ({lines} access lines)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
