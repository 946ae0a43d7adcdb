"""/debug of a real daemon."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from pathlib import Path

from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = needs_go

ENABLED = {"ATHENS_ENABLE_PPROF": "true", "ATHENS_PPROF_PORT": ":0"}


def page(daemon: Daemon, name: str) -> str:
    """A page of the listener that the daemon's log names."""
    [url] = [line["url"] for line in daemon.lines() if line["msg"] == "/debug is served"]
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(url + name, timeout=30) as response:
        return str(response.read().decode())


def test_a_fetch_under_way_is_shown(tmp_path: Path) -> None:
    """While an upstream thinks one sees who waits for it, the oldest first; afterwards nothing."""
    add_version(tmp_path / "tree", "example.test/slow", "v1.0.0", {"slow.go": b"package slow\n"})
    upstream = Upstream(tmp_path / "tree")
    upstream.delay = 2
    try:
        with running(tmp_path / "athensd", upstream.url, **ENABLED) as daemon:
            asking = threading.Thread(target=daemon.get, args=("example.test/slow/@v/v1.0.0.info",))
            asking.start()
            eventually(lambda: upstream.requests, 10)
            steps = json.loads(page(daemon, "steps?format=json"))
            asking.join()
            assert page(daemon, "steps") == ""
    finally:
        upstream.stop()
    names = [step["step"] for step in steps]
    assert names[0] == "request"
    assert {"flight", "fetch", "origin.fetch", "http"} <= set(names)
    assert next(step["path"] for step in steps) == "/example.test/slow/@v/v1.0.0.info"
    assert [step["seconds"] for step in steps] == sorted((step["seconds"] for step in steps), reverse=True)


def test_a_port_that_is_taken_is_no_reason_to_end(tmp_path: Path) -> None:
    """There is one warning, and modules are served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {**ENABLED, "ATHENS_PPROF_PORT": f":{port}"}
        with running(tmp_path, "off", **settings) as daemon:
            assert daemon.get("healthz")[0] == 200
            [line] = [line for line in daemon.lines() if line["msg"] == "/debug is not served"]
            assert (line["level"], line["address"]) == ("warning", f"127.0.0.1:{port}")
            assert daemon.end() == 0


def test_it_is_served_only_when_that_was_asked_for(tmp_path: Path) -> None:
    """Without the setting there is no second listener."""
    with running(tmp_path, "off", ATHENS_PPROF_PORT=":0") as daemon:
        assert not [line for line in daemon.lines() if line["msg"].startswith("/debug")]
        assert daemon.get("debug/")[0] == 404
