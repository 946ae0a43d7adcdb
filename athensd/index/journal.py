"""What an index could not take, on disk until it does."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import structlog

from athensd.gomod.version import ModuleVersion

log = structlog.get_logger()


class Journal:
    """A set of versions in the directory ``root``, a file for each.  Several processes may share it.

    Everything blocks, and may raise ``OSError``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, version: ModuleVersion) -> None:
        """Remember it durably; a second time is no error."""
        path = self._path(version)
        unfinished = path.with_suffix(f".{os.getpid()}")
        self._root.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w") as file:
            file.write(f"{version.path} {version.version}\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        directory = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, version: ModuleVersion) -> None:
        """Forget it; it need not be there."""
        self._path(version).unlink(missing_ok=True)

    def all(self) -> list[ModuleVersion]:
        """Those that are there, the oldest first; a file that holds none is named in the log."""
        found = []
        for path in sorted(self._root.glob("*.late"), key=_age):
            try:
                name, version = path.read_text().split()
            except FileNotFoundError:
                continue  # another process has it done
            except (OSError, ValueError) as error:
                log.error("what is missing in the index cannot be read", file=path.name, reason=str(error))
            else:
                found.append(ModuleVersion(name, version))
        return found

    def _path(self, version: ModuleVersion) -> Path:
        return self._root / f"{hashlib.sha256(str(version).encode()).hexdigest()}.late"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
