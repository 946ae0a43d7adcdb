#!/usr/bin/env python3
"""What a hit costs of our own code alone, by its parts, in microseconds of CPU; without sockets.

    bench/micro.py

Takes a few seconds and fails on no time: the figures are to be looked at from one change to the next.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from athensd.audit.file import AuditFile
from athensd.audit.recorder import Recorder
from athensd.observe.logs import configure_logs, set_log_level
from athensd.observe.metrics import Metrics
from athensd.observe.traces import Traces, resource
from athensd.steps import watch
from tests.fakes import at_once
from tests.web.fakes import ESCAPED, VERSION, Daemon

INFO = f"{ESCAPED}/@v/{VERSION}.info"
REQUEST = f"GET {INFO} HTTP/1.1\r\nHost: proxy.test\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"


def took(name: str, work: Callable[[], object], times: int, inside: int = 1) -> None:
    """Print the best of five, for each of those ``inside`` the work."""
    work()
    best = min(timeit.repeat(work, number=times, repeat=5)) / times / inside * 1e6
    print(f"{name:44}{best:8.1f} us")


def main() -> None:
    """Measure and print."""
    log = configure_logs("error", "json", io.StringIO())
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name))
        for _ in range(2):
            daemon.ask(INFO)
        connection = daemon.connect()

        def hit() -> None:
            connection.send(REQUEST.encode())
            connection.transport.clear()

        daemon.site.access = log.access
        watch()
        took("a hit in the fast lane, nobody watches", hit, 5000)
        set_log_level("info")
        took("  with a json line", hit, 5000)
        metrics = Metrics(open_connections=lambda: 0, dropped_spans=lambda: 0)
        watch(metrics)
        took("  and metrics", hit, 5000)
        traces = Traces(lambda span: None, resource("bench"), fraction=0.01, slow=5)
        watch(metrics, tracer=traces)
        took("  and one trace in a hundred", hit, 5000)
        recorder = Recorder(
            AuditFile(Path(name) / "audit", 400, 10_000_000), None, at_once, time.time, trace=traces.ids
        )
        daemon.site.access = recorder.before(log.access)
        took("  and an audit", hit, 5000)
        noted = recorder._noted[:5000]
        took("its writing in a thread, for each", lambda: recorder._write_now(noted), 1, len(noted))
        daemon.site.access = log.access
        daemon.site.rendered = None
        took("the same without the fast lane", hit, 300)


if __name__ == "__main__":
    main()
