"""The console command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ATHENSD = Path(sys.executable).with_name("athensd")


class Command:
    """Runs ``athensd`` in ``directory``, whose folder ``store`` is the store of its environment."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "GOCACHE") if name in os.environ}
        self.environment = {
            **kept,
            "GOFLAGS": "",
            "GOPROXY": "off",
            "GOSUMDB": "off",
            "GOPRIVATE": "",
            "GONOPROXY": "",
            "ATHENS_STORAGE_TYPE": "disk",
            "ATHENS_DISK_STORAGE_ROOT": str(directory / "store"),
            **settings,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin."""
        return subprocess.Popen(
            [ATHENSD, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, list[str], str]:
        """The status, the lines of standard output, and what went to standard error."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=300)
        return process.returncode, out.splitlines(), err
