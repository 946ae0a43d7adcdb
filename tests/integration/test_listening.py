"""Where clients come in: TLS, sockets, prefixes and endpoints of a whole daemon, with the clients that use them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import frozen
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.integration.daemon import TWISTD, Daemon, environment, running, started
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually, free_ports

pytestmark = [needs_go, pytest.mark.filterwarnings("ignore:ssl.TLSVersion")]  # they are tried, and refused

CURL = shutil.which("curl") or ""
needs_curl = pytest.mark.skipif(not CURL, reason="curl is not installed")
LARGE = 64 << 20
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
os.execv(sys.argv[2], sys.argv[2:])
"""


@frozen
class Pair:
    """Files of a certificate and its key, and of an authority that clients may trust."""

    authority: trustme.CA
    root: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"ATHENS_TLSCERT_FILE": str(self.root / "cert.pem"), "ATHENS_TLSKEY_FILE": str(self.root / "key.pem")}

    @property
    def ca(self) -> Path:
        return self.root / "ca.pem"

    def renew(self) -> int:
        """Write another certificate; its serial number."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        (self.root / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.root / "key.pem"))
        return int(self.x509("cert.pem")["serialNumber"], 16)

    def x509(self, name: str) -> dict[str, Any]:
        return ssl._ssl._test_decode_cert(str(self.root / name))  # type: ignore[attr-defined, no-any-return]

    def connect(self, port: str) -> HTTPSConnection:
        return HTTPSConnection(
            "localhost", int(port), timeout=30, context=ssl.create_default_context(cafile=str(self.ca))
        )


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate with an authority in between, as most are."""
    root = trustme.CA()
    pair = Pair(root.create_child_ca(), tmp_path)
    root.cert_pem.write_to_path(str(pair.ca))
    pair.renew()
    return pair


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    tree = tmp_path / "tree"
    files = {"go.mod": b"module example.test/Word\n", "word.go": b"package word\n"}
    add_version(tree, "example.test/Word", "v1.0.0", files)
    add_version(tree, "example.test/large", "v1.0.0", {"data": os.urandom(LARGE)})
    server = Upstream(tree)
    yield server
    server.stop()


def port_of(daemon: Daemon) -> str:
    return daemon.url.rpartition(":")[2]


def serial(connection: HTTPSConnection) -> int:
    """The number of the certificate that a connection was shown."""
    if connection.sock is None:
        connection.connect()
    return int(connection.sock.getpeercert()["serialNumber"], 16)


def curl(*arguments: str | Path) -> str:
    done = subprocess.run([CURL, "-sS", "--fail", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(directory: Path, **settings: str) -> str:
    """What a daemon prints that does not start."""
    done = subprocess.run(
        [TWISTD, "--nodaemon", "--pidfile=", "athens"],
        cwd=directory,
        env=environment(directory, "off", settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


@contextmanager
def as_systemd(directory: Path, given: socket.socket, **settings: str) -> Iterator[Daemon]:
    """A daemon that is given a socket as systemd would."""
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, str(given.fileno()), str(TWISTD), "--nodaemon", "--pidfile=", "athens"],
            cwd=directory,
            env=environment(directory, "off", settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=[given.fileno()],
        )
    try:
        yield started(process, log)
    finally:
        process.kill()
        process.wait()


def test_go_through_tls_and_a_prefix(tmp_path: Path, pair: Pair, upstream: Upstream) -> None:
    """The real go command asks below a prefix over HTTPS, trusting the authority alone."""
    settings = {**pair.settings, "ATHENS_PATH_PREFIX": "/go/proxy", "PROXY_FORCE_SSL": "true"}
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        url = f"https://localhost:{port_of(daemon)}/go/proxy"
        client = Client(tmp_path / "client", url, SSL_CERT_FILE=str(pair.ca))
        client.ok("mod", "download", "example.test/Word@v1.0.0", "example.test/Word@latest")
        assert client.ok("list", "-m", "-versions", "example.test/Word") == "example.test/Word v1.0.0\n"
        assert Client(tmp_path / "stranger", url).run("mod", "download", "example.test/Word@v1.0.0").returncode == 1
        [line] = [line for line in daemon.lines() if line["msg"] == "Starting application"]
        assert line["listening"] == f"https://127.0.0.1:{port_of(daemon)}"
        assert daemon.end() == 0


def test_what_tls_offers(tmp_path: Path, pair: Pair) -> None:
    """TLS 1.2 and 1.3 and nothing older; HTTP/1.1, to those too who know more."""
    with running(tmp_path / "athensd", "off", **pair.settings) as daemon:
        found = {}
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=str(pair.ca))
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, version
            context.set_alpn_protocols(["h2", "http/1.1"])
            with socket.create_connection(("127.0.0.1", int(port_of(daemon))), 10) as raw:
                try:
                    with context.wrap_socket(raw, server_hostname="localhost") as secured:
                        found[version.name] = (secured.version(), secured.selected_alpn_protocol())
                except (ssl.SSLError, ConnectionError):
                    found[version.name] = None
        assert found == {
            "TLSv1_1": None,
            "TLSv1_2": ("TLSv1.2", "http/1.1"),
            "TLSv1_3": ("TLSv1.3", "http/1.1"),
        }


def test_sighup_changes_the_certificate(tmp_path: Path, pair: Pair, upstream: Upstream) -> None:
    """New connections are shown the new one; a download under way goes on to its end, as does its connection."""
    with running(tmp_path / "athensd", upstream.url, **pair.settings) as daemon:
        old = pair.connect(port_of(daemon))
        first = serial(old)
        old.request("GET", "/example.test/large/@v/v1.0.0.zip")
        answer = old.getresponse()
        received = len(answer.read(1000))

        second = pair.renew()
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: [line for line in daemon.lines() if line["msg"] == "configuration read again"])
        assert serial(pair.connect(port_of(daemon))) == second != first

        (tmp_path / "key.pem").write_text("nothing")
        daemon.process.send_signal(signal.SIGHUP)
        [line] = eventually(lambda: [line for line in daemon.lines() if "stays as it was" in line["msg"]])
        assert line["problems"] == f"{tmp_path / 'key.pem'} holds no key in PEM that can be used"
        assert serial(pair.connect(port_of(daemon))) == second

        received += len(answer.read())
        assert received == int(answer.headers["Content-Length"]) > LARGE
        old.request("GET", "/version")
        assert old.getresponse().status == 200
        assert serial(old) == first


@needs_curl
def test_a_unix_socket(tmp_path: Path, upstream: Upstream) -> None:
    """It is there instead of the port, for those whom its mode lets in; it goes at the end, and any dead one before."""
    path = tmp_path / "s"
    settings = {"ATHENS_UNIX_SOCKET": str(path), "ATHENS_UNIX_SOCKET_MODE": "0600", "ATHENS_TRUSTED_PROXIES": "unix"}
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        ask = ["--unix-socket", path, "-H", "X-Forwarded-For: 192.0.2.1"]
        assert curl(*ask, "http://x/example.test/!word/@v/list") == "v1.0.0\n"
        [line] = [line for line in daemon.lines() if line["msg"] == "incoming request"]
        assert line["client"] == "192.0.2.1"
        [line] = [line for line in daemon.lines() if line["msg"] == "Starting application"]
        assert (line["unixSocket"], line["listening"], "tcpPort" in line) == (str(path), f"http+unix:{path}", False)

        assert refusal(tmp_path, ATHENS_UNIX_SOCKET=str(path)) == (
            f"athensd: cannot listen on the socket {path}: another process listens there"
        )
        daemon.end(signal.SIGKILL)
        assert path.exists()
    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        curl("--unix-socket", path, "http://x/healthz")
        assert daemon.end() == 0
    assert not path.exists()


@needs_curl
def test_many_endpoints(tmp_path: Path, pair: Pair) -> None:
    """Each description in ``Listen`` is a way in, beside ``UnixSocket``; PROXY's first line tells who the client is."""
    plain, secret, proxied = free_ports(3)
    settings = {
        "ATHENS_LISTEN": ",".join(
            [
                f"tcp:{plain}:interface=127.0.0.1",
                f"tls:tcp:{secret}:interface=127.0.0.1",
                f"haproxy:tcp:{proxied}:interface=127.0.0.1",
                f"unix:{tmp_path}/one",
            ]
        ),
        "ATHENS_UNIX_SOCKET": str(tmp_path / "two"),
        **pair.settings,
    }
    with running(tmp_path / "athensd", "off", **settings) as daemon:
        curl(f"http://127.0.0.1:{plain}/healthz")
        curl("--cacert", pair.ca, f"https://localhost:{secret}/healthz")
        curl("--unix-socket", tmp_path / "one", "http://x/healthz")
        curl("--cacert", pair.ca, "--unix-socket", tmp_path / "two", "https://localhost/healthz")
        for line in (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", b"PROXY TCP6 2001:db8::1 2001:db8::2 5 6\r\n"):
            with socket.create_connection(("127.0.0.1", proxied), 10) as client:
                client.sendall(line + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        clients = [line["client"] for line in daemon.lines() if line["msg"] == "incoming request"]
        assert clients == ["127.0.0.1", "127.0.0.1", "unix", "unix", "192.0.2.1", "2001:db8::1"]
        assert daemon.end() == 0


@pytest.mark.parametrize("family", ["INET", "UNIX"])
@needs_curl
def test_sockets_of_systemd(tmp_path: Path, family: str) -> None:
    """What systemd has opened is taken instead of the port, and is its own again at the end."""
    path, [port] = tmp_path / "s", free_ports(1)
    given = socket.socket(getattr(socket, f"AF_{family}"))
    given.bind(("127.0.0.1", port) if family == "INET" else str(path))
    given.listen()
    if family == "UNIX":
        path.chmod(0o600)
    where = [f"http://127.0.0.1:{port}/healthz"] if family == "INET" else ["--unix-socket", path, "http://x/healthz"]
    for _ in range(2):
        with as_systemd(tmp_path, given) as daemon:
            curl(*where)
            assert daemon.end() == 0
    if family == "UNIX":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_is_no_other_file(tmp_path: Path) -> None:
    """A file that is no socket is left alone."""
    (tmp_path / "s").write_text("precious")
    assert refusal(tmp_path, ATHENS_UNIX_SOCKET=str(tmp_path / "s")) == (
        f"athensd: cannot listen on the socket {tmp_path}/s: there is a file of this name that is no socket"
    )
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"ATHENS_TLSCERT_FILE": "cert.pem"}, "TLSCertFile and TLSKeyFile are needed both, or none of them"),
        (
            {"ATHENS_TLSCERT_FILE": "none", "ATHENS_TLSKEY_FILE": "key.pem"},
            "the certificate in none cannot be read: No such file or directory",
        ),
        (
            {"ATHENS_TLSCERT_FILE": "key.pem", "ATHENS_TLSKEY_FILE": "key.pem"},
            "key.pem holds no certificate in PEM that can be used",
        ),
        (
            {"ATHENS_TLSCERT_FILE": "ca.pem", "ATHENS_TLSKEY_FILE": "key.pem"},
            "the key in key.pem is not that of the certificate in ca.pem",
        ),
        (
            {"ATHENS_TLSCERT_FILE": "cert.pem", "ATHENS_TLSKEY_FILE": "key.pem", "ATHENS_LISTEN": "tcp:0"},
            "Listen has nothing with tls: before it, so nobody would see the certificate of TLSCertFile",
        ),
        (
            {"ATHENS_TLSCERT_FILE": "cert.pem", "ATHENS_TLSKEY_FILE": "locked.pem"},
            "locked.pem holds no key in PEM that can be used",
        ),
        ({"ATHENS_LISTEN": "tls:tcp:0"}, "Listen: tls:tcp:0 needs TLSCertFile and TLSKeyFile"),
        ({"ATHENS_LISTEN": "3000"}, "Listen: 3000 cannot be used: "),
        ({"ATHENS_LISTEN": "systemd:domain=INET:index=0"}, "Listen: systemd:domain=INET:index=0 cannot be used: "),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, pair: Pair, settings: dict[str, str], line: str) -> None:
    """A certificate or an endpoint that cannot be used ends the process, which names the file or the setting."""
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    assert refusal(tmp_path, **settings).startswith(f"athensd: {line}")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Also among many."""
    [free] = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        assert refusal(tmp_path, ATHENS_LISTEN=f"tcp:{free}:interface=127.0.0.1,{text}") == (
            f"athensd: cannot listen on {text}: Address already in use"
        )
