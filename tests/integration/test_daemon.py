"""The whole daemon: the real ``twistd``, the real go command, an upstream on loopback."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from tests.integration.daemon import TWISTD, Daemon, environment, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.rig.modules import make_corpus
from tests.rig.sumdb import Database, Server

pytestmark = needs_go

GREETING = b'package greeting\n\nfunc Text() string { return word.Word + ", world" }\n'
PROGRAM = b'package main\n\nimport "example.test/Greeting"\n\nfunc main() { println(greeting.Text()) }\n'


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few modules that depend on each other; one has capitals in its path, one has no go.mod."""
    root = tmp_path_factory.mktemp("tree")
    imports = b'import "example.test/word"\n'
    go_mod = b"module example.test/Greeting\n\ngo 1.20\n\nrequire example.test/word v1.1.0\n"
    for version in ("v0.9.0", "v1.0.0"):
        source = GREETING.replace(b"\n\n", b"\n\n" + imports, 1)
        add_version(root, "example.test/Greeting", version, {"go.mod": go_mod, "greeting.go": source})
    for version in ("v1.0.0", "v1.1.0", "v1.2.0-rc.1"):
        word = b'package word\n\nconst Word = "hello"\n'
        add_version(root, "example.test/word", version, {"go.mod": b"module example.test/word\n", "word.go": word})
    add_version(root, "example.test/old", "v2.0.0+incompatible", {"old.go": b"package old\n"})
    add_version(
        root, "example.test/large", "v1.0.0", {"go.mod": b"module example.test/large\n", "data": os.urandom(8 << 20)}
    )
    return root


@pytest.fixture
def upstream(tree: Path) -> Iterator[Upstream]:
    """A server of the tree."""
    server = Upstream(tree)
    yield server
    server.stop()


def test_a_program_is_built_through_the_proxy_and_again_without_the_upstream(
    tmp_path: Path, upstream: Upstream
) -> None:
    """What was served once is served again, byte for byte, with the upstream gone; each file was fetched once."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        first = _build(Client(tmp_path / "first", daemon.url))
        asked = [path for path in upstream.requests if "/@v/" in path]
        assert len(asked) == len(set(asked))
        upstream.stop()
        assert _build(Client(tmp_path / "second", daemon.url)) == first


def _build(client: Client) -> dict[str, str]:
    (client.work / "go.mod").write_text("module example.test/program\n\ngo 1.20\n")
    (client.work / "main.go").write_bytes(PROGRAM)
    client.ok("get", "example.test/Greeting@v1.0.0")
    client.ok("build", "-o", "program", ".")
    done = subprocess.run([client.work / "program"], capture_output=True, text=True, check=True)
    assert done.stderr == "hello, world\n"
    assert client.ok("list", "-m", "-versions", "example.test/word") == "example.test/word v1.0.0 v1.1.0 v1.2.0-rc.1\n"
    return client.files()


def test_a_proxy_can_stand_above_another(tmp_path: Path, upstream: Upstream) -> None:
    """The second of two in a row gives the go command what the upstream has."""
    with running(tmp_path / "one", upstream.url) as one, running(tmp_path / "two", one.url) as two:
        client = Client(tmp_path / "client", two.url)
        client.ok("mod", "download", "example.test/old@v2.0.0+incompatible", "example.test/Greeting@latest")
        assert two.get("example.test/old/@v/list") == (200, b"v2.0.0+incompatible\n")


def test_go_shows_the_reason_of_a_refusal(tmp_path: Path, upstream: Upstream) -> None:
    """A user reads on his terminal what was not found and the id under which the log has it."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        done = Client(tmp_path / "client", daemon.url).run("mod", "download", "example.test/word@v7.7.7+incompatible")
        assert done.returncode == 1
        assert "server response:\n\texample.test/word@v7.7.7+incompatible" in done.stderr
        request_id = done.stderr.rpartition("request id: ")[2].split()[0]
        line = next(line for line in daemon.lines() if line.get("request-id") == request_id and "http-status" in line)
        assert (line["http-status"], line["module"], line["http-method"]) == (404, "example.test/word", "GET")


def test_catalog_and_index_name_what_was_fetched(tmp_path: Path, upstream: Upstream) -> None:
    """A version that is stored whole is in the catalog and in the index."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        Client(tmp_path / "client", daemon.url).ok("mod", "download", "example.test/word@v1.0.0")
        assert daemon.get("catalog")[1] == b'{"modules":[{"module":"example.test/word","version":"v1.0.0"}]}\n'
        assert daemon.get("index")[1].startswith(b'{"Path":"example.test/word","Version":"v1.0.0","Timestamp":"')


def test_sigterm_lets_a_download_finish_and_exits_with_0(tmp_path: Path, upstream: Upstream) -> None:
    """A zip under way is sent to its end, new connections are refused, and the exit status is that of success."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        response = daemon.open("example.test/large/@v/v1.0.0.zip")
        head = response.read(1000)
        daemon.process.send_signal(signal.SIGTERM)
        _wait_until_refused(daemon.url)
        body = head + response.read()
        response.close()
        assert len(body) == int(response.headers["Content-Length"])
        assert daemon.process.wait(20) == 0


def test_a_second_sigterm_ends_at_once(tmp_path: Path, upstream: Upstream) -> None:
    """Whoever asks twice does not wait for a client that reads slowly."""
    with running(tmp_path / "athensd", upstream.url) as daemon:
        with daemon.open("example.test/large/@v/v1.0.0.zip") as response:
            response.read(1000)
            daemon.process.send_signal(signal.SIGTERM)
            _wait_until_refused(daemon.url)
            began = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(20) != 0
            assert time.monotonic() - began < 2


def test_the_wait_for_requests_has_an_end(tmp_path: Path, upstream: Upstream) -> None:
    """After ``ShutdownTimeout`` a client that reads slowly is cut off, and the exit status is still 0."""
    with running(tmp_path / "athensd", upstream.url, ATHENS_SHUTDOWN_TIMEOUT="1") as daemon:
        with daemon.open("example.test/large/@v/v1.0.0.zip") as response:
            response.read(1000)
            assert daemon.end() == 0
        assert any(line["msg"] == "requests cut off" for line in daemon.lines())


def _wait_until_refused(url: str) -> None:
    port = int(url.rpartition(":")[2])
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise AssertionError("it still listens")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"GO_BINARY_PATH": "no-such-go"}, "athensd: the go command 'no-such-go' was not found"),
        ({"ATHENS_DISK_STORAGE_ROOT": "/dev/null/store"}, "athensd: the directory /dev/null/store"),
        ({"GOPROXY": "ftp://example.test"}, "athensd: GOPROXY: 'ftp://example.test' is neither"),
        ({"ATHENS_LOG_LEVEL": "loud"}, "athensd: environment: ATHENS_LOG_LEVEL"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    """No traceback, one clear line, exit status 1."""
    done = _failed_start(tmp_path, settings)
    assert done.returncode == 1
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    """The line names the port and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _failed_start(tmp_path, {"ATHENS_PORT": f"127.0.0.1:{port}"})
    assert done.returncode == 1
    assert done.stderr == f"athensd: cannot listen on port {port}: Address already in use\n"


def _failed_start(directory: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TWISTD, "--nodaemon", "--pidfile=", "athens"],
        cwd=directory,
        env=environment(directory, "off", settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_fifty_clients_of_a_cold_zip_cost_one_transfer(tmp_path: Path, upstream: Upstream) -> None:
    """All get the same bytes, though the one that came first hangs up."""
    upstream.delay = 0.3
    path = "example.test/large/@v/v1.0.0.zip"
    with running(tmp_path / "athensd", upstream.url) as daemon:
        port = int(daemon.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(0.1)
        answers: list[tuple[int, bytes]] = []
        clients = [threading.Thread(target=lambda: answers.append(daemon.get(path))) for _ in range(50)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert [status for status, _ in answers] == [200] * 50
    assert len({body for _, body in answers}) == 1
    assert upstream.requests.count(f"/{path}") == 1


def test_fetches_may_be_made_on_another_file_system_than_the_store(tmp_path: Path, upstream: Upstream) -> None:
    """With ``GoGetDir`` elsewhere, what was fetched is copied into the store, and nothing is left there."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system")
    with tempfile.TemporaryDirectory(dir=other) as elsewhere:
        with running(tmp_path / "athensd", upstream.url, ATHENS_GOGET_DIR=elsewhere) as daemon:
            status, body = daemon.get("example.test/large/@v/v1.0.0.zip")
            assert (status, len(body) > 8 << 20) == (200, True)
            assert daemon.end() == 0
        assert not [path for path in Path(elsewhere).rglob("*") if path.is_file()]


def test_no_child_outlives_a_second_sigterm(tmp_path: Path) -> None:
    """A go command that hangs, and what it started, are ended with the daemon, however hasty its end."""
    go = tmp_path / "go"
    go.write_text(
        "#!/bin/sh\n"
        '[ "$1" = env ] && { echo \'{"GOPROXY":"direct","GONOPROXY":"",'
        '"GOSUMDB":"off","GONOSUMDB":"","GOPRIVATE":"","GOINSECURE":"","GOVCS":"","GOAUTH":""}\'; exit; }\n'
        "trap '' TERM\n"
        f"sleep 1000 & echo $! $$ > {tmp_path}/pids.tmp; mv {tmp_path}/pids.tmp {tmp_path}/pids; wait; wait\n"
    )
    go.chmod(0o755)
    with running(tmp_path / "athensd", "direct", GO_BINARY_PATH=str(go)) as daemon:
        asking = threading.Thread(target=_ask_in_vain, args=(daemon,))
        asking.start()
        pids = tmp_path / "pids"
        while not pids.exists():
            time.sleep(0.02)
        daemon.process.send_signal(signal.SIGTERM)
        _wait_until_refused(daemon.url)
        assert daemon.end() != 0
        asking.join()
        for pid in pids.read_text().split():
            until = time.monotonic() + 5
            while _is_alive(pid) and time.monotonic() < until:
                time.sleep(0.02)
            assert not _is_alive(pid)


def _ask_in_vain(daemon: Daemon) -> None:
    with suppress(OSError, HTTPException):
        daemon.get("example.test/hangs/@v/v1.0.0.zip")


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_modules_come_straight_from_their_repositories(tmp_path: Path) -> None:
    """With ``GOPROXY=direct`` a client gets versions, a branch and a list out of git, and later out of the store."""
    make_corpus(tmp_path / "corpus")
    git = f"url.file://{tmp_path}/corpus/.insteadOf"
    settings = (
        f"GOPROXY=direct;GIT_ALLOW_PROTOCOL=file;GIT_CONFIG_COUNT=1;GIT_CONFIG_KEY_0={git};GIT_CONFIG_VALUE_0=https://"
    )
    with running(tmp_path / "athensd", "off", ATHENS_GO_BINARY_ENV_VARS=settings) as daemon:
        client = Client(tmp_path / "client", daemon.url)
        client.ok("mod", "download", "github.com/pkg/errors@v0.9.1", "github.com/BurntSushi/Capital@latest")
        assert client.ok("list", "-m", "-versions", "github.com/BurntSushi/Capital").split()[1:] == ["v1.0.0-RC1"]
        (client.work / "go.mod").write_text("module example.test/program\n")
        client.ok("get", "github.com/pkg/errors@main")
        commands = [line for line in daemon.lines() if line["msg"] == "go command"]
        assert {line["exit"] for line in commands} == {0}
        downloads = [line["version"] for line in commands if line["command"].startswith("mod download")]
        assert len(downloads) == len(set(downloads))
        shutil.rmtree(tmp_path / "corpus")
        again = Client(tmp_path / "again", daemon.url)
        again.ok("mod", "download", "github.com/pkg/errors@v0.9.1", "github.com/BurntSushi/Capital@latest")
        assert again.files().items() <= client.files().items()


def test_sums_are_checked_through_and_by_the_proxy(tmp_path: Path) -> None:
    """A go command with only us to ask verifies what it gets; what others were not given is refused and not kept."""
    with Server(Database()) as server:
        for version, mod in (("v1.0.0", b"module example.test/sum\n"), ("v1.1.0", b"module example.test/sum\n\n")):
            add_version(tmp_path / "tree", "example.test/sum", version, {"go.mod": mod, "s.go": b"package s\n"})
            archive = tmp_path / f"tree/example.test/sum/@v/{version}.zip"
            h1 = check_zip(io.BytesIO(archive.read_bytes()), ModuleVersion("example.test/sum", version)).h1
            told = h1 if version == "v1.0.0" else h1_of_mod(b"something else")
            server.database.add("example.test/sum", version, told, h1_of_mod(mod))
        upstream = Upstream(tmp_path / "tree")
        settings = {"GOSUMDB": server.gosumdb, "ATHENS_SUM_DBS": server.gosumdb}
        with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
            key = server.gosumdb.split()[0]
            client = Client(tmp_path / "client", daemon.url, GOSUMDB=key)
            client.ok("mod", "download", "example.test/sum@v1.0.0")
            refused = client.run("mod", "download", "example.test/sum@v1.1.0")
            assert "SECURITY ERROR" in refused.stderr
            assert daemon.get("example.test/sum/@v/v1.1.0.zip")[0] == 403
            assert not list((tmp_path / "athensd/store").rglob("v1.1.0.zip"))
            assert [line["level"] for line in daemon.lines() if line["msg"] == "checksum mismatch"] == ["error"] * 2
        upstream.stop()
        server.faults.clear()
    with running(tmp_path / "athensd", upstream.url, ATHENS_NETWORK_MODE="offline", **settings) as daemon:
        Client(tmp_path / "other", daemon.url, GOSUMDB=key).ok("mod", "download", "example.test/sum@v1.0.0")
