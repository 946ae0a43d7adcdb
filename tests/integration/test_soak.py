"""A while of everything at once: an upstream that fails, clients that leave, rules that change."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.daemon import Daemon, running
from tests.integration.goproxy_tree import add_version

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("SOAK_SECONDS", "30"))
CLIENTS = 8
PATHS = [f"example.test/m{number}" for number in range(30)]
VERSIONS = ["v1.0.0", "v1.1.0", "v2.0.0+incompatible"]
EXCLUDED = PATHS[7]
REFUSALS = {403, 404, 500, 502, 503, 504}


class Faulty(SimpleHTTPRequestHandler):
    """A tree of files that is served badly: one answer in ten is an error, one in ten breaks off, some take long."""

    protocol_version = "HTTP/1.1"
    chance = random.Random(5)

    def do_GET(self) -> None:
        lot = self.chance.random()
        if lot < 0.1:
            self.send_error(random.choice((500, 503)))
        elif lot < 0.2:
            file = Path(self.translate_path(self.path))
            data = file.read_bytes() if file.is_file() else b"nothing"
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: self.chance.randrange(len(data))])
            self.close_connection = True
        else:
            if lot < 0.25:
                time.sleep(0.5)
            super().do_GET()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Client:
    """Asks for this and that on one connection, until it is told to stop; counts what it sees."""

    def __init__(self, url: str, tree: Path, seed: int) -> None:
        self._host = urlsplit(url).netloc
        self._tree = tree
        self._chance = random.Random(seed)
        self._connection = http.client.HTTPConnection(self._host, timeout=30)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.ask()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                self._again()

    def ask(self) -> None:
        name = self._name()
        self._connection.request("GET", f"/{name}")
        response = self._connection.getresponse()
        if self._chance.random() < 0.1:
            response.read(self._chance.randrange(2000))
            self.seen["left"] += 1
            self._again()
            return
        body = response.read()
        self.seen[str(response.status)] += 1
        if response.status == 200:
            file = self._tree / name
            if file.suffix in {".info", ".mod", ".zip"} and file.is_file() and body != file.read_bytes():
                self.wrong.append(f"{name}: {len(body)} bytes that nobody put there")
        elif response.status not in REFUSALS:
            self.wrong.append(f"{name}: {response.status} {body[:200]!r}")

    def _name(self) -> str:
        path = self._chance.choice(PATHS)
        version = self._chance.choice(VERSIONS)
        ends = [f"v/{version}.{kind}" for kind in ("info", "mod", "zip")] * 3
        return f"{path}/@{self._chance.choice([*ends, 'v/list', 'latest', 'v/v9.9.9.info', 'v/main.info'])}"

    def _again(self) -> None:
        self._connection.close()
        self._connection = http.client.HTTPConnection(self._host, timeout=30)


def holds(daemon: Daemon) -> tuple[float, int, int]:
    """Megabytes of memory, file descriptors, and children."""
    process = Path(f"/proc/{daemon.process.pid}")
    status = process.joinpath("status").read_text()
    memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    children = process.joinpath(f"task/{daemon.process.pid}/children").read_text().split()
    return memory, len(list(process.joinpath("fd").iterdir())), len(children)


def test_soak(tmp_path: Path) -> None:
    """No wrong byte, no unexpected error; memory, file descriptors and children are in the end what they were."""
    tree = tmp_path / "tree"
    for path in PATHS:
        for version in VERSIONS:
            data = random.Random(path + version).randbytes(20_000)
            add_version(tree, path, version, {"m.go": b"package m\n", "data.bin": data})
    rules = tmp_path / "filter.conf"
    rules.write_text("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Faulty, directory=str(tree)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"ATHENS_LIST_FRESH": "1", "ATHENS_NOT_FOUND_FRESH": "1", "ATHENS_FILTER_FILE": str(rules)}
    url = f"http://127.0.0.1:{server.server_port}"
    with running(tmp_path / "athensd", url, **settings) as daemon, ThreadPoolExecutor(CLIENTS) as threads:
        stop = threading.Event()
        clients = [Client(daemon.url, tree, seed) for seed in range(CLIENTS)]
        work = [threads.submit(client.run, stop) for client in clients]
        time.sleep(SECONDS / 3)
        before = holds(daemon)
        until = time.monotonic() + SECONDS * 2 / 3
        while time.monotonic() < until:
            rules.write_text("" if rules.read_text() else f"- {EXCLUDED}\n")
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(1)
        stop.set()
        for each in work:
            each.result()
        time.sleep(1)
        after = holds(daemon)
        assert [wrong for client in clients for wrong in client.wrong] == []
        seen = sum((client.seen for client in clients), Counter())
        assert seen["200"] > 1000
        assert {"left", "403", "404"} <= seen.keys()
        assert after[0] < before[0] + 15, (before, after)
        assert after[1] < before[1] + 20, (before, after)
        assert after[2] <= before[2]
        assert [line for line in daemon.lines() if line["level"] == "error"] == []
        assert daemon.end() == 0
    server.shutdown()
    server.server_close()
