"""A git that writes down what it is asked to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class GitLog:
    """Put ``path`` in front of a PATH, and every git command of go is known; git's own helpers are not."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._log = directory / "log"
        self._log.touch()
        self.path = f"{directory}:{os.environ['PATH']}"
        script = directory / "git"
        script.write_text(f'#!/bin/sh\necho "$*" >> {self._log}\nexec {shutil.which("git")} "$@"\n')
        script.chmod(0o755)

    def count(self, command: str) -> int:
        """How many commands, such as ``fetch``, there have been."""
        return sum(command in line.split() for line in self._log.read_text().splitlines())

    def all(self) -> int:
        """How many there have been of any kind."""
        return len(self._log.read_text().splitlines())
