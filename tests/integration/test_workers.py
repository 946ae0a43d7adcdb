"""``Workers``: several processes that serve as one, whatever becomes of one of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cli.command import Command
from tests.integration.daemon import TWISTD, Daemon, environment, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually, free_ports
from tests.integration.test_listening import Pair, as_systemd, curl, needs_curl, pair, refusal
from tests.rig.sumdb import Database, Server

pytestmark = needs_go
__all__ = ["pair"]  # a fixture of theirs

SETTINGS = {"ATHENS_WORKERS": "2", "ATHENS_INDEX_TYPE": "sqlite", "ATHENS_SHUTDOWN_TIMEOUT": "5"}
MODULES = [f"example.test/m{number}" for number in range(30)]


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    for path in MODULES:
        add_version(
            tmp_path / "tree", path, "v1.0.0", {"go.mod": f"module {path}\n".encode(), "data": os.urandom(9999)}
        )
    server = Upstream(tmp_path / "tree")
    yield server
    server.stop()


@contextmanager
def workers(directory: Path, goproxy: str, **settings: str) -> Iterator[Daemon]:
    """A daemon of two workers, both of which serve; at the end no process of it is left."""
    with running(directory, goproxy, **{**SETTINGS, **settings}) as daemon:
        eventually(lambda: len(pids(daemon)) == 2)
        yield daemon
        left = pids(daemon)
    eventually(lambda: not any(alive(pid) for pid in left))


def said(daemon: Daemon, text: str) -> list[dict[str, object]]:
    """The lines of the log with this message."""
    return [line for line in daemon.lines() if line["msg"] == text]


def pids(daemon: Daemon) -> dict[int, object]:
    """The processes that serve, and the number of each as a worker."""
    there = {line["pid"]: line["worker"] for line in said(daemon, "worker serves")}
    gone = {line["pid"] for text in ("worker has left", "worker ended") for line in said(daemon, text)}
    return {int(str(pid)): number for pid, number in there.items() if pid not in gone}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def connect(daemon: Daemon) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", int(daemon.url.rpartition(":")[2]), timeout=30)


def ask(connection: HTTPConnection, path: str) -> tuple[int, bytes, str]:
    """Status, body, and the id of the request."""
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers["Athens-Request-ID"]


def one_each(daemon: Daemon) -> dict[object, HTTPConnection]:
    """A connection to each worker: whoever has time takes it, so it takes some tries."""
    found: dict[object, HTTPConnection] = {}
    for _ in range(500):
        connection = connect(daemon)
        _, _, request = ask(connection, "healthz")
        [line] = eventually(
            lambda: [line for line in said(daemon, "incoming request") if line["request-id"] == request]
        )
        found.setdefault(line["worker"], connection)
        if len(found) == 2:
            return found
    raise AssertionError("one worker takes all")


def test_go_downloads(tmp_path: Path, upstream: Upstream) -> None:
    """The real go command sees no difference; both workers have served it, and both know what is in the index."""
    with workers(tmp_path / "athensd", upstream.url) as daemon:
        client = Client(tmp_path / "client", daemon.url)
        client.ok("mod", "download", *(f"{path}@v1.0.0" for path in MODULES))
        assert {line["worker"] for line in said(daemon, "incoming request")} == {1, 2}
        for connection in one_each(daemon).values():
            status, body, _ = ask(connection, "index")
            assert status == 200
            assert {json.loads(line)["Path"] for line in body.splitlines()} == set(MODULES)
        assert daemon.end() == 0


def test_one_transfer_for_many_askers(tmp_path: Path, upstream: Upstream) -> None:
    """Fifty clients ask both workers for one cold zip: it is fetched once, and everybody has it."""
    upstream.delay = 0.3
    with workers(tmp_path / "athensd", upstream.url) as daemon:
        path = f"{MODULES[0]}/@v/v1.0.0.zip"
        with ThreadPoolExecutor(50) as clients:
            answers = list(clients.map(lambda _: daemon.get(path), range(50)))
        assert set(answers) == {(200, (tmp_path / "tree" / path).read_bytes())}
        assert upstream.requests.count(f"/{path}") == 1
        assert len({line["worker"] for line in said(daemon, "incoming request")}) == 2, "both were asked"


def test_what_one_learns_all_know(tmp_path: Path, upstream: Upstream) -> None:
    """What was not there for both, and is stored by one, is there for the other at once; so are rules read anew."""
    path = "example.test/new"
    filter_file = tmp_path / "filter"
    filter_file.write_text("")
    settings = {"ATHENS_FILTER_FILE": str(filter_file), "ATHENS_LIST_FRESH": "3600"}
    add_version(tmp_path / "tree", path, "v1.0.0", {})
    with workers(tmp_path / "athensd", upstream.url, **settings) as daemon:
        one, other = one_each(daemon).values()
        for connection in (one, other):
            assert ask(connection, f"{path}/@v/v1.1.0.info")[0] == 404
            assert ask(connection, f"{path}/@v/list")[1] == b"v1.0.0\n"
        add_version(tmp_path / "tree", path, "v1.1.0", {})
        assert ask(one, f"{path}/@v/v1.1.0.zip")[0] == 200
        eventually(lambda: ask(other, f"{path}/@v/v1.1.0.info")[0] == 200, 1)
        assert ask(other, f"{path}/@v/list")[1] == b"v1.0.0\nv1.1.0\n"

        filter_file.write_text(f"- {path}\n")
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(said(daemon, "configuration read again")) == 2)
        assert [ask(connection, f"{path}/@v/list")[0] for connection in (one, other)] == [403, 403]


def test_what_is_revoked(tmp_path: Path, upstream: Upstream) -> None:
    """No worker gives it any more, whatever it has at hand; and all their answers are recorded in one file."""
    place, version = tmp_path / "athensd", f"{MODULES[0]}@v1.0.0"
    path = f"{MODULES[0]}/@v/v1.0.0.info"
    audit = {"ATHENS_AUDIT_FILE": str(tmp_path / "audit")}
    with workers(place, upstream.url, **audit) as daemon:
        both = one_each(daemon).values()
        for connection in both:
            assert [ask(connection, path)[0] for _ in range(20)] == [200] * 20
        assert Command(place).run("revoke", version, "--reason", "it is bad")[0] == 0
        for connection in both:
            eventually(lambda connection=connection: ask(connection, path)[0] == 403, 5)
        assert daemon.end() == 0
    _, lines, _ = Command(tmp_path, **audit).run("who", version)
    assert lines[0].startswith("127.0.0.1 200 info ")
    assert lines[1].startswith("127.0.0.1 403 info 2x ")
    answered = sum(line["http-path"] == f"/{path}" for line in said(daemon, "incoming request"))
    assert int(lines[0].split()[3].removesuffix("x")) == answered - 2


@pytest.mark.slow
def test_what_one_deletes_is_gone(tmp_path: Path, upstream: Upstream) -> None:
    """What turns out to be wrong is put into quarantine by one worker; the other serves that copy no more."""
    database = Database()
    database.add(MODULES[0], "v1.0.0", "h1:wrong", "h1:wrong")
    path = f"{MODULES[0]}/@v/v1.0.0.zip"
    with Server(database) as sums:
        sums.faults[""] = 500
        with workers(tmp_path / "athensd", upstream.url, GOSUMDB=sums.gosumdb) as daemon:
            by_number = one_each(daemon)
            assert [ask(each, path)[0] for each in by_number.values()] == [200, 200]
            sums.faults = {}
            victim, survivor = pids(daemon)
            other = by_number[pids(daemon)[survivor]]
            os.kill(victim, signal.SIGKILL)  # whoever starts verifies what could not be verified before
            eventually(lambda: said(daemon, "in quarantine"))
            eventually(lambda: ask(other, path) and upstream.requests.count(f"/{path}") == 2, 1)


@contextmanager
def load(daemon: Daemon, tree: Path) -> Iterator[Counter[object]]:
    """Clients that ask all the time for what is right; what they got, wrong bytes under that word."""
    right = {path: hashlib.sha256((tree / path).read_bytes()).digest() for path in files()}
    answers: Counter[object] = Counter()
    over = threading.Event()

    def ask_on() -> None:
        for path, expected in cycle(right.items()):
            if over.is_set():
                return
            try:
                status, body = daemon.get(path)
            except (OSError, HTTPException) as error:
                reason = getattr(error, "reason", error)
                answers[type(reason).__name__] += 1
                continue
            good = hashlib.sha256(body).digest() == expected
            answers[status if good or status != 200 else "wrong bytes"] += 1

    threads = [threading.Thread(target=ask_on) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def files() -> list[str]:
    return [f"{path}/@v/v1.0.0.{kind}" for path in MODULES for kind in ("info", "mod", "zip")]


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path: Path, upstream: Upstream) -> None:
    """Under load no answer is wrong, those that it owed are cut off, and soon there is another one."""
    with workers(tmp_path / "athensd", upstream.url) as daemon:
        with load(daemon, tmp_path / "tree") as answers:
            for _ in range(2):
                victim, survivor = pids(daemon)
                os.kill(victim, signal.SIGKILL)
                eventually(lambda: len(set(pids(daemon)) - {victim}) == 2)
                assert survivor in pids(daemon)
        lost = {kind: count for kind, count in answers.items() if kind != 200}
        assert set(lost) <= {"RemoteDisconnected", "ConnectionResetError", "IncompleteRead"}
        assert sum(lost.values()) <= 2 * 6, "no more than each client had under way"
        assert answers[200] > 100
        spool = tmp_path / "athensd" / "store" / ".athensd" / "spool"
        assert len(list(spool.iterdir())) == 2, "what the dead had begun is swept, and no more than that"
        assert daemon.end() == 0
        assert not list(spool.iterdir())


@pytest.mark.slow
def test_workers_are_exchanged(tmp_path: Path, upstream: Upstream) -> None:
    """SIGUSR2 under load: new processes with new settings, not one request refused or cut off, a slow one finished."""
    with workers(tmp_path / "athensd", upstream.url, ATHENS_SHUTDOWN_TIMEOUT="20") as daemon:
        before = set(pids(daemon))
        upstream.delay = 0.5
        with load(daemon, tmp_path / "tree") as answers:
            daemon.process.send_signal(signal.SIGUSR2)
            eventually(lambda: said(daemon, "workers were exchanged"), 60)
            eventually(lambda: len(set(pids(daemon)) - before) == 2 == len(pids(daemon)), 30)
        assert set(answers) == {200}
        assert len(pids(daemon)) == 2


def test_new_workers_that_cannot_serve(tmp_path: Path, upstream: Upstream) -> None:
    """With settings that make no sense the old ones stay, and the log has the reason."""
    (tmp_path / "athensd").mkdir()
    settings = tmp_path / "athensd" / "athens.toml"
    settings.write_text("Timeout = 30")
    with workers(tmp_path / "athensd", upstream.url) as daemon:
        before = pids(daemon)
        settings.write_text("Timeout = 0")
        daemon.process.send_signal(signal.SIGUSR2)
        [line] = eventually(lambda: said(daemon, "workers stay as they are: a new one does not serve"))
        assert line["reason"] == "athensd: athens.toml: Timeout is 0; it must be at least 1"
        assert pids(daemon) == before
        assert daemon.get("healthz")[0] == 200


def test_the_parent_is_killed(tmp_path: Path, upstream: Upstream) -> None:
    """Its workers finish what they do, and end."""
    with workers(tmp_path / "athensd", upstream.url) as daemon:
        left = pids(daemon)
        daemon.end(signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in left), 10)


@pytest.mark.slow
def test_a_slow_request_is_finished(tmp_path: Path, upstream: Upstream) -> None:
    """SIGTERM: what is under way goes on to its end, and no process is left; a second one ends all at once."""
    upstream.delay = 2
    with workers(tmp_path / "athensd", upstream.url) as daemon, ThreadPoolExecutor(1) as client:
        answer = client.submit(daemon.get, f"{MODULES[0]}/@v/v1.0.0.zip")
        eventually(lambda: upstream.requests)
        assert daemon.end() == 0
        assert answer.result()[0] == 200
        assert pids(daemon) == {}
    upstream.delay = 10
    with workers(tmp_path / "athensd", upstream.url) as daemon, ThreadPoolExecutor(1) as client:
        left = pids(daemon)
        answer = client.submit(daemon.get, f"{MODULES[1]}/@v/v1.0.0.zip")
        eventually(lambda: f"/{MODULES[1]}/@v/v1.0.0.zip" in upstream.requests)
        daemon.process.send_signal(signal.SIGTERM)
        eventually(lambda: len(said(daemon, "Shutting down server")) == 3)
        assert daemon.end() == 128 + signal.SIGTERM
        eventually(lambda: not any(alive(pid) for pid in left), 5)
        assert answer.exception() is not None


@pytest.mark.slow
def test_all_are_told_to_end(tmp_path: Path, upstream: Upstream) -> None:
    """SIGTERM to each process, as systemd does unless ``KillMode`` says otherwise: what is under way is finished."""
    upstream.delay = 1
    with workers(tmp_path / "athensd", upstream.url) as daemon, ThreadPoolExecutor(1) as client:
        answer = client.submit(daemon.get, f"{MODULES[0]}/@v/v1.0.0.zip")
        eventually(lambda: upstream.requests)
        for pid in pids(daemon):
            os.kill(pid, signal.SIGTERM)
        assert daemon.end() == 0
        assert answer.result()[0] == 200


@pytest.mark.slow
def test_what_is_fetched(tmp_path: Path, upstream: Upstream) -> None:
    """The page of what is being fetched has what the other worker fetches."""
    upstream.delay = 3
    with workers(tmp_path / "athensd", upstream.url) as daemon, ThreadPoolExecutor(2) as clients:
        fetches = [
            clients.submit(ask, connection, f"{path}/@v/v1.0.0.zip")
            for connection, path in zip(one_each(daemon).values(), MODULES, strict=False)
        ]
        eventually(lambda: len(upstream.requests) == 2)
        page = daemon.get("now")[1].decode()
        assert [path in page for path in MODULES[:3]] == [True, True, False]
        assert [fetch.result()[0] for fetch in fetches] == [200, 200]


def test_metrics_of_all(tmp_path: Path, upstream: Upstream) -> None:
    """Whoever is asked for metrics has those of the other too, told apart, and all requests are counted."""
    with workers(tmp_path / "athensd", upstream.url, ATHENS_ENABLE_PPROF="true") as daemon:
        by_number = one_each(daemon)
        for number, connection in by_number.items():
            for _ in range(10 * int(str(number))):
                assert ask(connection, f"{MODULES[0]}/@v/v1.0.0.mod")[0] == 200
        for connection in by_number.values():
            for accept in ("text/plain", "application/openmetrics-text"):
                connection.request("GET", "/metrics", headers={"Accept": accept})
                text = connection.getresponse().read().decode()
                counts = re.findall(r"proxy_requests_total{(.*)} (\S+)", text)
                mods = [(labels, float(count)) for labels, count in counts if 'http_route="mod"' in labels]
                by_worker = Counter[str]()
                for labels, count in mods:
                    by_worker[re.findall('worker="(.)"', labels)[0]] += int(count)
                assert by_worker == {"1": 10, "2": 20}
                assert len(re.findall("# TYPE proxy_http_server_request_duration ", text)) == 1
                assert len(re.findall("python_info{", text)) == 2, "those of earlier questions are not there too"


@needs_curl
def test_ways_in(tmp_path: Path, upstream: Upstream, pair: Pair) -> None:
    """TLS and unix sockets are shared too, and stay when a worker leaves; at the end they are gone."""
    [port] = free_ports(1)
    paths = [tmp_path / "one", tmp_path / "two"]
    settings = {
        "ATHENS_LISTEN": f"tls:tcp:{port}:interface=127.0.0.1,unix:{paths[0]}",
        "ATHENS_UNIX_SOCKET": str(paths[1]),
        **pair.settings,
    }

    def all_answer() -> None:
        for _ in range(4):
            curl("--cacert", pair.ca, f"https://localhost:{port}/healthz")
            curl("--unix-socket", paths[0], "http://x/healthz")
            curl("--cacert", pair.ca, "--unix-socket", paths[1], "https://localhost/healthz")

    with workers(tmp_path / "athensd", upstream.url, **settings) as daemon:
        before = set(pids(daemon))
        all_answer()
        daemon.process.send_signal(signal.SIGUSR2)
        eventually(lambda: said(daemon, "workers were exchanged"))
        eventually(lambda: not before & set(pids(daemon)))
        all_answer()
        assert [stat.S_IMODE(paths[1].stat().st_mode)] == [0o660]
        assert daemon.end() == 0
    assert not any(path.exists() for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["INET", "UNIX"])
@needs_curl
def test_sockets_of_systemd(tmp_path: Path, family: str) -> None:
    """What systemd has opened is given to the workers, and still is what it was when they and their parent are gone."""
    path, [port] = tmp_path / "s", free_ports(1)
    given = socket.socket(getattr(socket, f"AF_{family}"))
    given.bind(("127.0.0.1", port) if family == "INET" else str(path))
    given.listen()
    where = [f"http://127.0.0.1:{port}/healthz"] if family == "INET" else ["--unix-socket", path, "http://x/healthz"]
    with as_systemd(tmp_path, given, **SETTINGS) as daemon:
        eventually(lambda: len(pids(daemon)) == 2)
        before = set(pids(daemon))
        curl(*where)
        daemon.process.send_signal(signal.SIGUSR2)
        eventually(lambda: said(daemon, "workers were exchanged"))
        eventually(lambda: not before & set(pids(daemon)))
        for _ in range(4):
            curl(*where)
        assert daemon.end() == 0
    with as_systemd(tmp_path, given) as daemon:
        curl(*where)


def test_in_the_background(tmp_path: Path, upstream: Upstream) -> None:
    """twistd as a daemon: the pid file is the parent's, and the log file has the lines of all.

    Workers read the settings where the parent has read them, and have no more of Python's modules than it has.
    """
    pid_file, log, elsewhere = tmp_path / "pid", tmp_path / "log", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "settings").write_text("")
    (tmp_path / "structlog.py").write_text("raise SystemExit")
    subprocess.run(
        [TWISTD, "--pidfile", pid_file, "--logfile", log, "--rundir", elsewhere, "athens", "--config-file", "settings"],
        cwd=tmp_path,
        env=environment(tmp_path, upstream.url, SETTINGS),
        check=True,
        timeout=30,
    )
    parent = int(pid_file.read_text())
    try:
        eventually(lambda: log.exists() and log.read_text().count('"worker serves"') == 2)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        [port] = {line["tcpPort"] for line in lines if line["msg"] == "Starting application"}
        with ThreadPoolExecutor(20) as clients:
            fetches = clients.map(lambda path: urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30).read(), files())
            assert list(fetches) == [(tmp_path / "tree" / path).read_bytes() for path in files()]
        os.kill(parent, signal.SIGTERM)
        eventually(lambda: not pid_file.exists())
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert sum(line["msg"] == "incoming request" for line in lines) == len(files())
    finally:
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGKILL)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"ATHENS_STORAGE_TYPE": "memory"},
            'athensd: athens.toml: StorageType "memory" is of one process alone: it does not go with Workers above 1',
        ),
        (
            {"ATHENS_FILTER_FILE": "nothing"},
            "athensd: the filter in nothing cannot be read: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    """Also when only a worker finds out."""
    assert refusal(tmp_path, **{**SETTINGS, **settings}) == reason
