"""What was stored while the database was away: remembered on disk until it is verified.

Each is a file with the line that a ``go.sum`` would have.  All of it blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import structlog
from attrs import frozen

from athensd.gomod.version import ModuleVersion
from athensd.spool import Spool

log = structlog.get_logger()
_GO_MOD = "/go.mod"


@frozen
class Sum:
    """The ``h1:`` of the zip of a version, or of its ``go.mod``."""

    version: ModuleVersion
    h1: str
    go_mod: bool = False

    @property
    def line(self) -> str:
        """As a ``go.sum`` has it."""
        return f"{self.version.path} {self.version.version}{_GO_MOD if self.go_mod else ''} {self.h1}\n"


def parse_sum(line: str) -> Sum:
    """Read a line of a ``go.sum``.  Raises ``ValueError`` when it is none."""
    path, version, h1 = line.split()
    return Sum(ModuleVersion(path, version.removesuffix(_GO_MOD)), h1, version.endswith(_GO_MOD))


class Unverified:
    """A set of sums in the directory ``root``, which is in the same file system as ``spool``.

    It survives what the store survives: adding is durable.  Everything may raise ``OSError``.
    """

    def __init__(self, root: Path, spool: Spool) -> None:
        self._root = root
        self._spool = spool

    def add(self, each: Sum) -> None:
        """Remember it; a second time is no error."""
        new = self._spool.new_path()
        self._root.mkdir(parents=True, exist_ok=True)
        with new.open("w") as file:
            file.write(each.line)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path(each))
        directory = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, each: Sum) -> None:
        """Forget it."""
        self._path(each).unlink(missing_ok=True)

    def all(self) -> list[Sum]:
        """Those that are there, in no particular order; a file that holds none is named in the log."""
        found = []
        for path in self._root.iterdir() if self._root.is_dir() else ():
            try:
                found.append(parse_sum(path.read_text()))
            except (OSError, ValueError) as error:
                log.error("what is unverified cannot be read", file=path.name, reason=str(error))
        return found

    def _path(self, each: Sum) -> Path:
        return self._root / hashlib.sha256(each.line.encode()).hexdigest()
