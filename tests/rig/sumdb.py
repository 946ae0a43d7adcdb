"""A checksum database of a few records, on loopback: with a key of its own, and with all the faults one could wish.

``Database`` is the log and what it says; ``Server`` gives it out, as a database does at its own URL and as a proxy does
below ``/sumdb/<name>/``.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from athensd.errors import InvalidPath
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.sumdb.note import hash_of_key
from athensd.sumdb.tile import DATA, Tile, parse_tile_path
from athensd.sumdb.tlog import node_hash, record_hash, stored_hash_index, tree_hash


class Signer:
    """A name and an Ed25519 key, both from arguments: the same ones sign the same in every run."""

    def __init__(self, name: str = "sum.example.test", seed: int = 1) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        public = b"\x01" + self._key.public_key().public_bytes_raw()
        self.key_hash = hash_of_key(name, public)
        self.verifier_key = f"{name}+{self.key_hash.hex()}+{b64encode(public).decode()}"

    def line(self, text: str) -> str:
        """The line that stands below a text which this key has signed."""
        signature = self.key_hash + self._key.sign(text.encode())
        return f"\N{EM DASH} {self.name} {b64encode(signature).decode()}\n"

    def sign(self, text: str) -> bytes:
        """A note of this text, which ends in a line break."""
        return f"{text}\n{self.line(text)}".encode()


class Database:
    """A log of records that only grows.  ``published`` keeps its heads at an old size."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer()
        self.hashes: dict[int, bytes] = {}
        self.records: list[str] = []
        self.published: int | None = None
        self._found: dict[tuple[str, str], int] = {}

    def add(self, path: str, version: str, zip_h1: str, mod_h1: str) -> int:
        """Add the record of a version, and return its number."""
        text = f"{path} {version} {zip_h1}\n{path} {version}/go.mod {mod_h1}\n"
        self._found[path, version] = len(self.records)
        return self.add_text(text)

    def add_text(self, text: str) -> int:
        """Add a record with any text that ends in a line break, and return its number."""
        number = n = len(self.records)
        level, above = 0, record_hash(text.encode())
        self.hashes[stored_hash_index(0, n)] = above
        while n & 1:
            above = node_hash(self.hashes[stored_hash_index(level, n - 1)], above)
            level, n = level + 1, n >> 1
            self.hashes[stored_hash_index(level, n)] = above
        self.records.append(text)
        return number

    def fill(self, size: int) -> None:
        """Add records of modules that nobody asks about, until there are so many."""
        for number in range(len(self.records), size):
            self.add(f"filler.example.test/m{number}", "v1.0.0", f"h1:{number}=", f"h1:{number}/go.mod=")

    def fork(self, number: int, text: str) -> Database:
        """Another database with the same key, in which this one record has another text."""
        other = Database(self.signer)
        other._found = dict(self._found)
        for each, original in enumerate(self.records):
            other.add_text(text if each == number else original)
        return other

    def tree_text(self, size: int | None = None) -> str:
        """The description of the tree of the first ``size`` records, or of as many as are published."""
        size = size if size is not None else len(self.records) if self.published is None else self.published
        return f"go.sum database tree\n{size}\n{b64encode(tree_hash(size, self.hashes)).decode()}\n"

    def head(self, size: int | None = None) -> bytes:
        """The same, signed."""
        return self.signer.sign(self.tree_text(size))

    def lookup(self, path: str, version: str) -> bytes | None:
        """The answer to a lookup; ``None`` when the version is not there."""
        number = self._found.get((path, version))
        return None if number is None else f"{number}\n{self.records[number]}\n".encode() + self.head()

    def tile(self, tile: Tile) -> bytes | None:
        """The data of a tile; ``None`` when the log has not grown so far."""
        places = range(tile.n << tile.height, (tile.n << tile.height) + tile.width)
        if tile.level == DATA:
            return "".join(f"{self.records[n]}\n" for n in places).encode() if places[-1] < len(self.records) else None
        indexes = [stored_hash_index(tile.level * tile.height, n) for n in places]
        return b"".join(self.hashes[index] for index in indexes) if indexes[-1] in self.hashes else None

    def answer(self, path: str) -> bytes | None:
        """What a database has at this path (which begins with no slash); ``None``: nothing."""
        try:
            match path.partition("/"):
                case ["latest", "", ""]:
                    return self.head()
                case ["lookup", _, asked]:
                    module, _, version = asked.partition("@")
                    return self.lookup(unescape_path(module), unescape_version(version))
                case ["tile", _, _]:
                    return self.tile(parse_tile_path(path))
        except (InvalidPath, ValueError):
            pass
        return None


class Server:
    """Serves a database, in a thread of its own, from ``with`` to the end of it.

    ``asked`` has the path of every request.  ``faults`` (a status), ``altered`` (a change to the body) and ``delays``
    (in seconds) are keyed by the beginnings of paths as the database has them, without a leading slash; the empty one
    is for all.  ``database`` may be replaced at any time, by a fork of it for example.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asked: list[str] = []
        self.faults: dict[str, int] = {}
        self.altered: dict[str, Callable[[bytes], bytes]] = {}
        self.delays: dict[str, float] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self._answer(handler)

            def log_message(handler, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def gosumdb(self) -> str:
        """The value of ``GOSUMDB`` with which the go command asks here."""
        return f"{self.database.signer.verifier_key} {self.url}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _it: BaseException | None, _tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        proxied = f"/sumdb/{self.database.signer.name}/"
        path = handler.path.removeprefix(proxied).removeprefix("/")
        supported = handler.path == f"{proxied}supported"
        time.sleep(next((delay for start, delay in self.delays.items() if path.startswith(start)), 0))
        fault = next((status for start, status in self.faults.items() if path.startswith(start)), None)
        body = b"" if supported else self.database.answer(path)
        for start, change in self.altered.items():
            if body is not None and path.startswith(start):
                body = change(body)
        status = fault or (404 if body is None else 200)
        body = body if status == 200 and body is not None else f"not here: {path}\n".encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "text/plain; charset=UTF-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
