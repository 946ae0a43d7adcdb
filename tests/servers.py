"""The real servers that athensd talks to, each as a process of its own on free ports of loopback.

Every one is a context manager: it answers when the block begins and is gone when it ends.  What it keeps lies in
``directory``, so one started there again with the same ``port`` is the same server come back.  Where a server is not
installed the test is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from trustme import LeafCert

from tests.integration.process import CACHE, eventually, free_ports

HOST = "127.0.0.1"
Command = Sequence[str | Path]


@frozen
class Server:
    """Where it listens, and who may do everything there; both are empty where nobody is asked who he is."""

    host: str
    port: int
    user: str = ""
    password: str = ""


@frozen
class Azurite:
    """Where it listens, and the account in it; the key is in base64."""

    host: str
    port: int
    account: str
    key: str


@frozen
class Sentinel:
    """Where it listens, its own password, and the one Redis that it watches, under the name ``master``."""

    host: str
    port: int
    password: str
    master: str
    redis: Server


# Object stores


@contextmanager
def minio(directory: Path, port: int = 0) -> Iterator[Server]:
    """MinIO without buckets."""
    server = Server(HOST, port or _free_port(), "athens", "minio-secret")
    command = [
        *(_built("minio"), "server", "--quiet", "--address", f"{HOST}:{server.port}"),
        *("--console-address", f"{HOST}:{_free_port()}", directory / "minio"),
    ]
    who = {"MINIO_ROOT_USER": server.user, "MINIO_ROOT_PASSWORD": server.password}
    with _running(command, directory, _ok(f"http://{HOST}:{server.port}/minio/health/cluster"), environment=who):
        yield server


@contextmanager
def fake_gcs(directory: Path, port: int = 0) -> Iterator[Server]:
    """fake-gcs-server without buckets; it asks nobody who he is, and forgets all when it ends."""
    port = port or _free_port()
    command = [
        *(_built("fake-gcs-server"), "-scheme", "http", "-host", HOST, "-port", str(port), "-backend", "memory"),
        *("-public-host", f"{HOST}:{port}", "-log-level", "warn"),
    ]
    with _running(command, directory, _ok(f"http://{HOST}:{port}/_internal/healthcheck")):
        yield Server(HOST, port)


@contextmanager
def azurite(directory: Path, port: int = 0) -> Iterator[Azurite]:
    """Azurite's blobs, without containers."""
    program = next(CACHE.glob("azurite-*/node_modules/.bin/azurite-blob"), None)
    server = Azurite(HOST, port or _free_port(), "athens", b64encode(b"azurite-secret").decode())
    command = [
        *(program or _absent("azurite-blob"), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        *("--location", directory, "--blobHost", HOST, "--blobPort", str(server.port)),
    ]
    accounts = {"AZURITE_ACCOUNTS": f"{server.account}:{server.key}"}
    with _running(command, directory, _takes(server.port), environment=accounts):
        yield server


# Databases


@contextmanager
def ferretdb(directory: Path, port: int = 0) -> Iterator[Server]:
    """FerretDB, which speaks as MongoDB does, over SQLite; users log in by SCRAM."""
    server = Server(HOST, port or _free_port(), "athens", "ferret-secret")
    command = [
        *(_built("ferretdb"), "--handler=sqlite", f"--sqlite-url=file:{directory}/", f"--state-dir={directory}"),
        *(f"--listen-addr={HOST}:{server.port}", "--debug-addr=-", "--telemetry=disable", "--log-level=warn"),
        *("--test-enable-new-auth", "--setup-database=admin"),
        *(f"--setup-username={server.user}", f"--setup-password={server.password}"),
    ]
    with _running(command, directory, _takes(server.port)):
        yield server


@contextmanager
def postgres(directory: Path, port: int = 0) -> Iterator[Server]:
    """PostgreSQL, with the database ``postgres`` for a start."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
    initdb, program, is_ready = (_installed(name, *places[-1:]) for name in ("initdb", "postgres", "pg_isready"))
    server = Server(HOST, port or _free_port(), "postgres", "postgres-secret")
    as_user, data, password = _as("postgres"), directory / "postgres", directory / "password"
    if _new_for("postgres", data):
        password.write_text(server.password)
        _finish(
            *(*as_user, initdb, "-D", data, "-U", server.user, "-A", "scram-sha-256", "--pwfile", password),
            *("--encoding=UTF8", "--no-locale", "--no-sync"),
        )
    command = [
        *(*as_user, program, "-D", data, "-p", str(server.port), "-c", f"listen_addresses={HOST}"),
        *("-c", "unix_socket_directories=", "-c", "fsync=off"),
    ]

    def ready() -> bool:
        return subprocess.run([is_ready, "-q", "-h", HOST, "-p", str(server.port)], check=False).returncode == 0

    # Of its signals to end this is the one that waits for no client.
    with _running(command, directory, ready, ending=signal.SIGINT):
        yield server


@contextmanager
def mariadb(directory: Path, port: int = 0) -> Iterator[Server]:
    """MariaDB without databases."""
    program, install = _installed("mariadbd", Path("/usr/sbin")), _installed("mariadb-install-db")
    server = Server(HOST, port or _free_port(), "athens", "mariadb-secret")
    as_user, data, first = _as("mysql"), directory / "mariadb", directory / "first.sql"
    if _new_for("mysql", data):
        _finish(*as_user, install, "--no-defaults", f"--datadir={data}", "--skip-test-db")
    first.write_text(
        f"CREATE USER IF NOT EXISTS {server.user} IDENTIFIED BY '{server.password}';\n"
        f"GRANT ALL ON *.* TO {server.user} WITH GRANT OPTION;\n"
    )
    command = [
        *(*as_user, program, "--no-defaults", f"--datadir={data}", f"--port={server.port}", f"--bind-address={HOST}"),
        *("--socket=socket", "--pid-file=pid", f"--init-file={first}", "--skip-name-resolve"),
        *("--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M"),
    ]
    with _running(command, directory, _takes(server.port)):
        yield server


# Lock services


@contextmanager
def redis(directory: Path, password: str = "", certificate: LeafCert | None = None, port: int = 0) -> Iterator[Server]:
    """Redis; with a certificate it speaks TLS alone.  It forgets all when it ends."""
    port = port or _free_port()
    listens = ["--port", str(port)]
    if certificate:
        file = directory / "certificate.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
        listens = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        listens += ["--tls-cert-file", str(file), "--tls-key-file", str(file)]
    command = [_installed("redis-server"), *listens, "--requirepass", password, *_redis_options(directory)]
    with _running(command, directory, _takes(port)):
        yield Server(HOST, port, password=password)


@contextmanager
def redis_cluster(directory: Path) -> Iterator[list[Server]]:
    """Three nodes of Redis, among which the keys are divided."""
    program = _installed("redis-server")
    ports = free_ports(6)
    nodes = [Server(HOST, port) for port in ports[:3]]
    with ExitStack() as stack:
        for node, bus in zip(nodes, ports[3:], strict=True):
            place = directory / str(node.port)
            place.mkdir()
            cluster = ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
            command = [program, "--port", str(node.port), *cluster, *_redis_options(place)]
            stack.enter_context(_running(command, place, _takes(node.port)))
        _finish("redis-cli", "--cluster", "create", *(f"{HOST}:{node.port}" for node in nodes), "--cluster-yes")
        for node in nodes:
            eventually(lambda node=node: "cluster_state:ok" in _redis_cli(node, "cluster", "info"))
        yield nodes


@contextmanager
def redis_sentinel(directory: Path) -> Iterator[Sentinel]:
    """A Redis and a sentinel that watches it, each with a password of its own."""
    program = _installed("redis-sentinel")
    with redis(directory, "redis-secret") as watched:
        sentinel = Sentinel(HOST, _free_port(), "sentinel-secret", "redis-1", watched)
        place = directory / "sentinel"
        place.mkdir()
        file = place / "sentinel.conf"  # it writes there what it finds out
        file.write_text(
            f"bind {HOST}\nport {sentinel.port}\ndir {place}\nrequirepass {sentinel.password}\n"
            f"sentinel monitor {sentinel.master} {HOST} {watched.port} 1\n"
            f"sentinel auth-pass {sentinel.master} {watched.password}\n"
        )
        asked = Server(HOST, sentinel.port, password=sentinel.password)

        def ready() -> bool:
            return "\nmaster\n" in _redis_cli(asked, "sentinel", "master", sentinel.master)  # not master,disconnected

        with _running([program, file], place, ready):
            yield sentinel


@contextmanager
def etcd(directory: Path, port: int = 0) -> Iterator[Server]:
    """etcd, one member, without users."""
    port = port or _free_port()
    url, peer = f"http://{HOST}:{port}", f"http://{HOST}:{_free_port()}"
    command = [
        *(_installed("etcd"), "--data-dir", directory / "etcd", "--initial-cluster", f"default={peer}"),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
    ]
    with _running(command, directory, _ok(f"{url}/health")):
        yield Server(HOST, port)


# How they are found and started


def _installed(name: str, *places: Path) -> str:
    path = os.pathsep.join(map(str, [os.environ["PATH"], *places]))
    return shutil.which(name, path=path) or _absent(name)


def _built(name: str) -> Path | str:
    """The newest of those that ``script/build-server`` has built."""
    found = CACHE.glob(f"bin/{name}-*[0-9a-f]")
    return max(found, key=lambda file: file.stat().st_mtime, default=None) or _absent(name)


def _absent(name: str) -> str:
    pytest.skip(f"{name} is not installed: script/test-servers does that")


def _free_port() -> int:
    return free_ports(1)[0]


def _as(user: str) -> list[str]:
    """What stands before a command that root may not run: it becomes this user's, who may enter root's directories."""
    if os.getuid() != 0:
        return []
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
    ]


def _new_for(user: str, data: Path) -> bool:
    """Makes the directory for what this user's server keeps; false if it is there."""
    if data.exists():
        return False
    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        shutil.chown(data, user, user)
    return True


def _finish(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def _redis_options(directory: Path) -> list[str]:
    return ["--bind", HOST, "--dir", str(directory), "--save", "", "--appendonly", "no"]


def _redis_cli(server: Server, *words: str) -> str:
    command = ["redis-cli", "-h", server.host, "-p", str(server.port), *words]
    environment = {**os.environ, **({"REDISCLI_AUTH": server.password} if server.password else {})}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _takes(port: int) -> Callable[[], bool]:
    """Whether it takes connections."""

    def look() -> bool:
        try:
            socket.create_connection((HOST, port), 5).close()
        except OSError:
            return False
        return True

    return look


def _ok(url: str) -> Callable[[], bool]:
    """Whether it answers 200."""

    def look() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    return look


@contextmanager
def _running(
    command: Command,
    directory: Path,
    ready: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    ending: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """The process, from when it is ready until the end of the block; what it says goes to ``log`` in the directory.

    That is its home too, so that it finds nothing of the tester's, and leaves nothing there.
    """
    log = directory / "log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "HOME": str(directory), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: process.poll() is not None or ready(), 30)
        assert process.poll() is None, f"it did not start: {log.read_text(errors='replace')[-2000:]}"
        yield
    finally:
        process.send_signal(ending)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
