"""What is kept of a database on disk.  All of it blocks: call it in a thread.

    latest                              the newest signed tree head that was checked
    tile/8/<level>/x001/234             the hashes of a tile, as many as were proven
    lookup/<module>@<version>           a record that is in the tree, without a head

Files are whole, as they come by a new name, but not more than that: nothing is synced, since it can be fetched again,
and several processes may write over each other's.  So whoever reads one proves it anew.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from athensd.gomod.version import ModuleVersion
from athensd.spool import Spool
from athensd.sumdb.head import Head
from athensd.sumdb.record import lookup_path
from athensd.sumdb.tile import Tile


class Cache:
    """The files below ``root``, which is in the same file system as ``spool``.

    Reading gives ``None`` for what is not there or cannot be read; writing raises ``OSError``.
    """

    def __init__(self, root: Path, spool: Spool) -> None:
        self._root = root
        self._spool = spool
        self._lock = Lock()
        self._size = 0

    def head(self) -> bytes | None:
        """The message of the newest head."""
        return self._read("latest")

    def put_head(self, head: Head) -> None:
        """Keep a head, unless a larger one has been kept in the meantime."""
        with self._lock:
            if head.tree.size > self._size:
                self._write("latest", head.message)
                self._size = head.tree.size

    def tile(self, tile: Tile) -> bytes | None:
        """The hashes of a tile, cut from a wider one if need be."""
        data = self._read(tile.complete.path) or b""
        return data[: tile.size] if len(data) >= tile.size else None

    def put_tile(self, tile: Tile, data: bytes) -> None:
        """Keep the hashes of a tile in place of a narrower one."""
        self._write(tile.complete.path, data)

    def record(self, version: ModuleVersion) -> bytes | None:
        """What was kept as the record of a version."""
        return self._read(lookup_path(version))

    def put_record(self, version: ModuleVersion, data: bytes) -> None:
        """Keep the record of a version."""
        self._write(lookup_path(version), data)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except OSError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        path, new = self._root / name, self._spool.new_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
