#!/usr/bin/env python3
"""How long a cold ``go mod download`` takes: straight from an upstream that is far away, and through athensd.

    bench/cold.py [--module PATH@VERSION] [--delay SECONDS] [--rounds N]

The go.mod of the module is the main one.  All it needs is fetched once, by an athensd that then plays the upstream;
what goes to and from it is held up, half of ``--delay`` each way.  Then, in turn: a go command with an empty module
cache asks it straight, through a new athensd, and through one that fetches nothing ahead.  Needs go and a network.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TWISTD = Path(sys.executable).with_name("twistd")
OPEN = {
    "GOSUMDB": "off",
    "GONOSUMDB": "",
    "GOPRIVATE": "",
    "GONOPROXY": "",
    "GOFLAGS": "-modcacherw -mod=mod",
    "GOWORK": "off",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def athensd(place: Path, goproxy: str, **settings: str) -> Iterator[str]:
    """The URL of one with an empty store, or with what is in ``place`` already."""
    port = free_port()
    place.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **OPEN,
        "GOPROXY": goproxy,
        "GO_ENV": "production",
        "ATHENS_PORT": f"127.0.0.1:{port}",
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(place / "store"),
        **settings,
    }
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(
            [TWISTD, "--nodaemon", "--pidfile=", "athens"], cwd=place, env=environment, stdout=log, stderr=log
        )
    try:
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, (place / "log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Distance:
    """Passes on connections to a port, each piece of data half of ``delay`` seconds later."""

    def __init__(self, target: int, delay: float) -> None:
        self.port = free_port()
        self._target, self._delay = target, delay
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=1 << 20))
        self._loop.run_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            self._loop.call_later(self._delay / 2, writer.write, data)
            if writer.transport.get_write_buffer_size() > 1 << 22:
                await writer.drain()
        self._loop.call_later(self._delay / 2, writer.close)


def download(go_mod: str, goproxy: str, place: Path) -> float:
    """Seconds that a go command with an empty module cache takes."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        work = Path(name, "work")
        work.mkdir()
        (work / "go.mod").write_text(go_mod)
        environment = {
            **os.environ,
            **OPEN,
            "GOPROXY": goproxy,
            "GOMODCACHE": str(Path(name, "cache")),
            "GOTOOLCHAIN": "local",
        }
        began = time.monotonic()
        done = subprocess.run(
            ["go", "mod", "download"], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", default="github.com/go-kit/kit@v0.13.0")
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    real = subprocess.run(["go", "env", "GOPROXY"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        place = Path(name)
        command = ["go", "mod", "download", "-json", options.module]
        found = subprocess.run(command, env={**os.environ, **OPEN}, cwd="/", capture_output=True, text=True, check=True)
        go_mod = Path(found.stdout.split('"GoMod": "')[1].split('"')[0]).read_text()
        upstream = running.enter_context(athensd(place / "upstream", real))
        print(f"warm-up: {download(go_mod, upstream, place):.1f} s", flush=True)
        far = f"http://127.0.0.1:{Distance(int(upstream.rpartition(':')[2]), options.delay).port}"
        took: dict[str, list[float]] = {"straight": [], "athensd": [], "nothing ahead": []}
        for number in range(options.rounds):
            took["straight"].append(download(go_mod, far, place))
            for label, ahead in (("athensd", "true"), ("nothing ahead", "false")):
                with athensd(place / f"{label}{number}", far, ATHENS_FETCH_AHEAD=ahead) as url:
                    took[label].append(download(go_mod, url, place))
            line = "   ".join(f"{label} {seconds[-1]:5.1f} s" for label, seconds in took.items())
            print(line, flush=True)
        for label in ("athensd", "nothing ahead"):
            ratios = [ours / straight for ours, straight in zip(took[label], took["straight"], strict=True)]
            print(f"{label}: x {statistics.median(ratios):.2f} of straight")


if __name__ == "__main__":
    main()
