"""Somebody who follows a page of the documentation."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.test_documentation import ROOT, typed


class Reader:
    """Somebody at the root of a checkout who types what a page says.

    The checkout has all that is in ours, but nothing is installed: that is taken as done.  ``blocks`` are those of the
    page without what cannot be typed in a test; ``elsewhere`` says what else is somewhere else here.
    """

    def __init__(self, place: Path, page: str, goproxy: str, **environment: str) -> None:
        self.place = place
        self.goproxy = goproxy
        self.blocks = typed(ROOT / page)
        self.elsewhere: dict[str, str] = {}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = str(probe.getsockname()[1])
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(place),
            "TMPDIR": str(place),
            "GOCACHE": os.environ.get("GOCACHE") or str(Path.home() / ".cache/go-build"),
            "GOFLAGS": "-modcacherw",
            "GOTOOLCHAIN": "local",
            "GOSUMDB": "off",
            **environment,
        }
        (place / "script").mkdir(parents=True)
        (place / "script/server").symlink_to(ROOT / "script/server")
        (place / "script/prepare").symlink_to("/bin/true")
        (place / "etc").symlink_to(ROOT / "etc")
        (place / ".venv").symlink_to(Path(sys.executable).parents[1])

    def here(self, text: str) -> str:
        """The same with places of this test."""
        text = re.sub(r"\b(localhost|127\.0\.0\.1):(3000|3001|3920)\b", rf"127.0.0.1:{self.port}", text)
        for there, here in self.elsewhere.items():
            text = text.replace(there, here)
        return re.sub(r"(?<!\w)/(backup|media|srv|etc|var)/", rf"{self.place}/\1/", text)

    def run(self, block: str, answers: str = "", **environment: str) -> str:
        """Type a block, and ``answers`` where it asks; what it prints.  It must succeed."""
        done = subprocess.run(
            ["bash", "-euc", self.here(block)],
            cwd=self.place,
            env={**self.environment, **environment},
            input=answers,
            start_new_session=True,  # without a terminal, so that passwords are asked for here
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def daemon(self, block: str, **environment: str) -> Iterator[str]:
        """Type a block whose last line is an athensd in the foreground, and Ctrl-C in the end; its URL."""
        *before, last = self.here(block).strip().splitlines()
        url = f"http://127.0.0.1:{self.port}"
        settings = {"GOPROXY": self.goproxy, "ATHENS_PORT": f"127.0.0.1:{self.port}"}
        log = self.place / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-euc", "\n".join([*before, f"exec env {last}"])],
                cwd=self.place,
                env={**self.environment, **settings, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            until = time.monotonic() + 20
            while not serves(url):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield url
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def serves(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
    except OSError:
        return False
    return True
