#!/usr/bin/env python3
"""What more workers give: requests per second, CPU time of a request, and memory, for each number of them.

    bench/workers.py [--workers N]... [--parsed] [--rounds N] [--seconds N]

wrk asks for one small file by 64 connections.  It needs a part of the same cores; less of them with ``--parsed``, which
asks for what the fast lane leaves to the parser.  Needs wrk, and the package installed beside this Python.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from hits import KINDS, TWISTD, cpu, free_port, lay_out, process


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def memory(pid: int) -> float:
    """What a process has for itself and its part of what it shares, in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE)[1]) / 1000  # type: ignore[index]


def load(url: str, pid: int, seconds: int, header: str) -> tuple[float, float]:
    """Requests per second, and the CPU seconds of one."""
    before = sum(map(cpu, family(pid)))
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "-H", header, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    return requests / seconds, (sum(map(cpu, family(pid))) - before) / requests


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--parsed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    header = "Range: bytes=0-5" if options.parsed else "Accept: */*"
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        lay_out(Path(name, "store"))
        served = {}
        for workers in options.workers or [1, 2]:
            port = free_port()
            settings = {
                "GOPROXY": "off",
                "GOSUMDB": "off",
                "ATHENS_WORKERS": str(workers),
                "ATHENS_PORT": f"127.0.0.1:{port}",
                "ATHENS_STORAGE_TYPE": "disk",
                "ATHENS_DISK_STORAGE_ROOT": str(Path(name, "store")),
                "ATHENS_LOG_FORMAT": "json",
                **{key: value for key, value in os.environ.items() if key.startswith("ATHENS_")},
            }
            command = [TWISTD, "--nodaemon", "--pidfile=", "athens"]
            log = Path(name, f"log{workers}")
            pid = running.enter_context(process(command, port, log, settings))
            while log.read_text().count('"Starting application"') < len(family(pid)):
                time.sleep(0.1)
            served[workers] = (f"http://127.0.0.1:{port}/{KINDS['mod']}", pid)
            load(*served[workers], 1, header)
        rounds = [
            {workers: load(*each, options.seconds, header) for workers, each in served.items()}
            for _ in range(options.rounds)
        ]
        for workers, (_, pid) in served.items():
            rate = statistics.median(each[workers][0] for each in rounds)
            cost = statistics.median(each[workers][1] for each in rounds)
            parts = ", ".join(f"{memory(each):.0f}" for each in family(pid))
            print(f"{workers} workers: {rate:8.0f} a second, {cost * 1e6:5.1f} us each, MB of each process: {parts}")


if __name__ == "__main__":
    main()
