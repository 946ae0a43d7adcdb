"""The operator's rules, as a user of the real go command meets them."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = needs_go
WORD = "example.test/word"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A server of one module in three versions."""
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        files = {"go.mod": b"module example.test/word\n", "word.go": b"package word\n"}
        add_version(tmp_path / "tree", WORD, version, files)
    server = Upstream(tmp_path / "tree")
    yield server
    server.stop()


def stored(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in (daemon.log.parent / "store").glob("example.test/**/@v/*"))


def test_a_filter(tmp_path: Path, upstream: Upstream) -> None:
    """An excluded version is refused with the rule that says so, and is not seen; a new file holds after SIGHUP."""
    (tmp_path / "athensd").mkdir()
    rules = tmp_path / "athensd" / "filter.conf"
    rules.write_text(f"- {WORD} v1.2\n")
    with running(tmp_path / "athensd", upstream.url, ATHENS_FILTER_FILE="filter.conf") as daemon:
        client = Client(tmp_path / "client", daemon.url)
        (client.work / "go.mod").write_text("module example.test/program\n")
        assert client.ok("list", "-m", "-versions", WORD) == f"{WORD} v1.0.0 v1.1.0\n"
        refused = client.run("get", f"{WORD}@v1.2.0")
        assert refused.returncode == 1
        assert f"excluded by this proxy's filter, rule - {WORD} v1.2 (line 1)" in refused.stderr
        client.ok("get", f"{WORD}@latest")
        assert f"{WORD} v1.1.0" in (client.work / "go.mod").read_text()

        rules.write_text("? nonsense\n")
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: [line for line in daemon.lines() if "filter.conf:1" in line.get("problems", "")], 10)
        assert daemon.get(f"{WORD}/@v/v1.2.0.info")[0] == 403

        rules.write_text("")
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: [line for line in daemon.lines() if line["msg"] == "configuration read again"], 10)
        assert daemon.get(f"{WORD}/@v/v1.2.0.info")[0] == 200


def test_what_is_passed_on(tmp_path: Path, upstream: Upstream) -> None:
    """A module that is had directly is there for go, and never in the store; or go is sent to another proxy."""
    (tmp_path / "athensd").mkdir()
    (tmp_path / "athensd" / "filter.conf").write_text("D example.test\n")
    settings = {"ATHENS_FILTER_FILE": "filter.conf"}
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        Client(tmp_path / "client", daemon.url).ok("mod", "download", f"{WORD}@v1.0.0")
        assert stored(daemon) == []
    settings |= {"ATHENS_FILTER_DIRECT": "redirect", "ATHENS_GLOBAL_ENDPOINT": upstream.url}
    with running(tmp_path / "athensd", "off", **settings) as daemon:
        Client(tmp_path / "other", daemon.url).ok("mod", "download", f"{WORD}@v1.1.0")
        assert stored(daemon) == []


def test_download_modes(tmp_path: Path, upstream: Upstream) -> None:
    """A file says for each module what happens to what is not stored; go follows where it is sent."""
    (tmp_path / "athensd").mkdir()
    (tmp_path / "athensd" / "download.hcl").write_text(
        f'downloadURL = "{upstream.url}"\nmode = "none"\ndownload "example.test/*" {{\n  mode = "async_redirect"\n}}\n'
    )
    with running(tmp_path / "athensd", upstream.url, ATHENS_DOWNLOAD_MODE="file:download.hcl") as daemon:
        client = Client(tmp_path / "client", daemon.url)
        client.ok("mod", "download", f"{WORD}@v1.0.0")
        with daemon.open(f"{WORD}/@v/v1.1.0.mod") as answer:  # which urllib has followed
            assert answer.url.startswith(upstream.url)
        eventually(lambda: "v1.0.0.zip" in stored(daemon) and "v1.1.0.mod" in stored(daemon), 10)
        with daemon.open(f"{WORD}/@v/v1.0.0.zip") as answer:
            assert answer.url.startswith(daemon.url)
        assert daemon.get("other.test/m/@v/v1.0.0.mod")[0] == 404


def test_a_validator(tmp_path: Path, upstream: Upstream) -> None:
    """What another server forbids is refused, stored or not, and go says so; while that is away nothing is given."""
    forbidden = {"v1.1.0"}

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(403 if asked["Version"] in forbidden else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, args=(0.05,), daemon=True).start()
    settings = {
        "ATHENS_PROXY_VALIDATOR": f"http://127.0.0.1:{hook.server_port}/",
        "ATHENS_VALIDATOR_FRESH": "0",
    }
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        client = Client(tmp_path / "client", daemon.url)
        client.ok("mod", "download", f"{WORD}@v1.0.0")
        refused = client.run("mod", "download", f"{WORD}@v1.1.0")
        assert "v1.1.0: the validator of this proxy refuses it" in refused.stderr
        forbidden.add("v1.0.0")
        assert daemon.get(f"{WORD}/@v/v1.0.0.zip")[0] == 403
        assert daemon.get(f"{WORD}/@v/list")[1].split() == [b"v1.0.0", b"v1.1.0", b"v1.2.0"]
        hook.shutdown()
        hook.server_close()
        status, text = daemon.get(f"{WORD}/@v/v1.0.0.zip")
        assert (status, b"cannot be asked" in text) == (502, True)


def test_network_modes(tmp_path: Path, upstream: Upstream) -> None:
    """After a restart with the upstream gone, go can still ask for the latest version, in two modes of three."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        Client(tmp_path / "first", daemon.url).ok("mod", "download", f"{WORD}@v1.0.0")
        eventually(lambda: "v1.0.0.info" in stored(daemon), 10)
    upstream.stop()
    for mode, works in (("strict", False), ("fallback", True), ("offline", True)):
        with running(tmp_path / "athensd", upstream.url, ATHENS_NETWORK_MODE=mode) as daemon:
            done = Client(tmp_path / mode, daemon.url).run("list", "-m", f"{WORD}@latest")
            assert (done.stdout == f"{WORD} v1.0.0\n") is works, done.stderr
