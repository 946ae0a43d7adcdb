"""Headless Chromium, which looks at pages of this machine and goes nowhere else."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = shutil.which("chromium") or ""
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # it would refuse to run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # So much time the page's own clock goes on before it is looked at.
    "--virtual-time-budget=20000",
]


class Browser:
    """One with a profile of its own in ``directory``; the test is skipped where none is installed."""

    def __init__(self, directory: Path) -> None:
        if not PROGRAM:
            pytest.skip("chromium is not installed")
        self._profile = directory / "chromium"

    def text(self, url: str) -> str:
        """What a reader sees of a page, once its scripts have run; all white space is single blanks."""
        page = re.sub(r"(?s)<(script|style|!--).*?(</\1>|-->)", " ", self._run(url, "--dump-dom"))
        return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())

    def picture(self, url: str, file: Path, width: int, height: int) -> None:
        """The same as a PNG."""
        self._run(url, f"--screenshot={file.absolute()}", f"--window-size={width},{height}")

    def _run(self, url: str, *options: str) -> str:
        command = [PROGRAM, *OPTIONS, f"--user-data-dir={self._profile}", *options, url]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
