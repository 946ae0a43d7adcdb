"""A small upstream: a tree of files in the download protocol's layout, and a server of it that keeps count."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from athensd.gomod.escape import escape_path, escape_version

TIME = "2024-01-02T03:04:05Z"


def add_version(root: Path, path: str, version: str, files: Mapping[str, bytes], *, info: bool = True) -> None:
    """Put one version of a module there; a go.mod is made up when ``files`` has none, as the go command does."""
    folder = root / escape_path(path) / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    name = escape_version(version)
    (folder / f"{name}.mod").write_bytes(files.get("go.mod", f"module {path}\n".encode()))
    if info:
        (folder / f"{name}.info").write_text(json.dumps({"Version": version, "Time": TIME}))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(f"{path}@{version}/{file}", data)
    (folder / f"{name}.zip").write_bytes(buffer.getvalue())
    with (folder / "list").open("a") as listing:
        listing.write(f"{version}\n")


class Upstream:
    """Serves ``root`` over HTTP; ``delay`` is how long it thinks before each answer, in seconds."""

    def __init__(self, root: Path) -> None:
        self.requests: list[str] = []
        self.delay = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self, directory=str(root)))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, upstream: Upstream, *args: Any, **kwargs: Any) -> None:
        self._upstream = upstream
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self._upstream.requests.append(self.path)
        time.sleep(self._upstream.delay)
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        """Tests read ``requests``."""
