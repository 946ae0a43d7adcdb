"""Who may come in, with the real go command as the visitor: netrc, GOAUTH and tokens, over TLS."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
from attrs import frozen

from tests.integration import go
from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = needs_go

OPEN, SECRET, DENIED = "example.test/open", "corp.test/secret", "no.test/m"
TOKEN = "0123456789abcdef0123456789abcdef"
RULES = "group pay alice\nallow pay corp.test\nhide * corp.test\ndeny * no.test\n"


def line_of(name: str, password: str) -> str:
    """As ``htpasswd -B`` writes it."""
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode().replace('$2b$', '$2y$')}\n"


@frozen
class Site:
    """A closed athensd behind TLS, its files, and what clients trust."""

    daemon: Daemon
    url: str
    files: Path
    upstream: Upstream

    def client(self, directory: Path, **settings: str) -> Client:
        return Client(directory, self.url, SSL_CERT_FILE=str(self.files / "ca.pem"), **settings)

    def get(self, path: str, login: str = "") -> int:
        """The status, over TLS, for ``NAME:PASSWORD``."""
        trusting = ssl.create_default_context(cafile=str(self.files / "ca.pem"))
        connection = HTTPSConnection(self.url.removeprefix("https://"), timeout=30, context=trusting)
        header = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
        with closing(connection):
            connection.request("GET", f"/{path}", headers=header)
            return connection.getresponse().status


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all visitors: alice may have all, bob nothing of corp.test, ci has a token and the group of alice."""
    files = tmp_path_factory.mktemp("site")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(files / "ca.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(files / "both.pem"))
    for path in (OPEN, SECRET, DENIED):
        add_version(files / "tree", path, "v1.0.0", {"m.go": b"package m\n"})
    upstream = Upstream(files / "tree")
    write(files)
    settings = {
        "ATHENS_TLSCERT_FILE": str(files / "both.pem"),
        "ATHENS_TLSKEY_FILE": str(files / "both.pem"),
        "ATHENS_USERS_FILE": str(files / "users"),
        "ATHENS_TOKENS_FILE": str(files / "tokens"),
        "ATHENS_RULES_FILE": str(files / "rules"),
        "BASIC_AUTH_USER": "go",
        "BASIC_AUTH_PASS": "athens",
    }
    with running(files / "athensd", upstream.url, **settings) as daemon:
        yield Site(daemon, f"https://localhost:{daemon.url.rpartition(':')[2]}", files, upstream)
    upstream.stop()


def write(files: Path) -> None:
    (files / "users").write_text(line_of("alice", "right") + line_of("bob", "better"))
    (files / "tokens").write_text(f"ci sha256:{sha256(TOKEN.encode()).hexdigest()} pay\n")
    (files / "rules").write_text(RULES)


def visitor(site: Site, directory: Path, way: str, **settings: str) -> Client:
    """A client that logs in this way."""
    kind, _, rest = way.partition(" ")
    directory.mkdir()
    if kind == "netrc":
        name, password = rest.split()
        # Go, unlike others, wants the port in it.
        machine = site.url.removeprefix("https://")
        (directory / ".netrc").write_text(f"machine {machine} login {name} password {password}\n")
        (directory / ".netrc").chmod(0o600)
        return site.client(directory, **settings)
    if kind == "command":
        script = directory / "credentials"
        script.write_text(f"#!/bin/sh\nprintf '{site.url}\\n\\nAuthorization: Bearer {rest}\\n\\n'\n")
        script.chmod(0o700)
        return site.client(directory, GOAUTH=str(script))
    if kind == "git":
        (directory / ".gitconfig").write_text("[credential]\nhelper = store\n")
        (directory / ".git-credentials").write_text(site.url.replace("//", f"//{rest.replace(' ', ':')}@") + "\n")
        return site.client(directory, GOAUTH=f"git {directory}")
    return site.client(directory)


IN, HIDDEN, OUT = "", "404 Not Found", "401 Unauthorized"
NETRC = [
    ("netrc alice right", IN, IN),
    (f"netrc ci {TOKEN}", IN, IN),
    ("netrc go athens", IN, HIDDEN),
    ("netrc bob better", IN, HIDDEN),
    ("netrc bob right", OUT, OUT),
    ("nothing", OUT, OUT),
]
GOAUTH = [
    (f"command {TOKEN}", IN, IN),
    ("command wrong", OUT, OUT),
    ("git alice right", IN, IN),
    ("git bob better", IN, HIDDEN),
]


def check(site: Site, directory: Path, way: str, open: str, secret: str) -> None:
    """Fail unless the go command is given both modules, or is told why not; each visitor in his turn."""
    client = visitor(site, directory, way)
    for path, refused in ((OPEN, open), (SECRET, secret)):
        done = client.run("mod", "download", f"{path}@v1.0.0")
        assert (refused in done.stderr, done.returncode) == (True, 1 if refused else 0), done.stderr


@pytest.mark.parametrize(("way", "open", "secret"), [*NETRC, *GOAUTH])
def test_visitors(site: Site, tmp_path: Path, way: str, open: str, secret: str) -> None:
    """Whoever says who he is, in any way that go knows, may have his own, and nobody else may have it."""
    reload(site)  # failures of the one before him are forgotten with the keys
    check(site, tmp_path / "visitor", way, open, secret)


def test_hidden_and_denied_for_a_client_with_two_proxies(site: Site, tmp_path: Path) -> None:
    """Go asks the next one for what is hidden here, as for what is not there, and stops at what is denied."""
    reload(site)
    client = visitor(site, tmp_path / "bob", "netrc bob better", GOPROXY=f"{site.url},{site.upstream.url}")
    client.ok("mod", "download", f"{SECRET}@v1.0.0")
    refused = client.run("mod", "download", f"{DENIED}@v1.0.0")
    assert "403 Forbidden" in refused.stderr
    assert f"{DENIED}: the rules of access keep it from bob, line 4\n" in refused.stderr


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(("way", "open", "secret"), NETRC)
@pytest.mark.parametrize("release", ["go1.21.13", "go1.23.12"])
def test_visitors_of_old(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, way: str, open: str, secret: str
) -> None:
    """Older releases know netrc, and a token is the password of its name."""
    found = subprocess.run(
        [go.GO, "env", "GOROOT"],
        env={**os.environ, "GOTOOLCHAIN": release},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"{release} is not to be had: {found.stderr}")
    monkeypatch.setattr(go, "GO", f"{found.stdout.strip()}/bin/go")
    reload(site)
    check(site, tmp_path / "visitor", way, open, secret)


def test_a_token_is_not_sent_in_the_clear(tmp_path: Path, site: Site) -> None:
    """Without TLS the go command keeps its logins to itself, and so stays outside."""
    settings = {"BASIC_AUTH_USER": "go", "BASIC_AUTH_PASS": "athens"}
    with running(tmp_path / "athensd", site.upstream.url, **settings) as plain:
        home = tmp_path / "client"
        home.mkdir()
        (home / ".netrc").write_text(f"machine {plain.url.removeprefix('http://')} login go password athens\n")
        done = Client(home, plain.url).run("mod", "download", f"{OPEN}@v1.0.0")
        assert OUT in done.stderr
        header = f"Basic {b64encode(b'go:athens').decode()}"
        assert plain.get(f"{OPEN}/@v/list", Authorization=header)[0] == 200
        assert [plain.get(path)[0] for path in ("healthz", "readyz", "metrics", "catalog")] == [200, 200, 401, 401]


def reload(site: Site, message: str = "configuration read again") -> dict[str, Any]:
    """The answer to SIGHUP, which must be this."""
    before = len(site.daemon.lines())
    site.daemon.process.send_signal(signal.SIGHUP)
    [line] = eventually(lambda: [each for each in site.daemon.lines()[before:] if "configuration" in each["msg"]], 10)
    assert line["msg"] == message, line
    return line


def test_the_files_are_read_again(site: Site) -> None:
    """SIGHUP takes over new users and rules at once; a fault in any file leaves all as it was, and says where."""
    name = f"{SECRET}/@v/list"
    assert [site.get(name, who) for who in ("alice:right", "bob:better", "carol:new", "")] == [200, 404, 401, 401]
    (site.files / "users").write_text(line_of("bob", "better") + line_of("carol", "new"))
    (site.files / "rules").write_text("group pay bob\nallow pay corp.test\ndeny * corp.test\nallow anonymous *\n")
    assert "needs-a-restart" not in reload(site)
    after = [401, 200, 403, 401]
    assert [site.get(name, who) for who in ("alice:right", "bob:better", "carol:new", "")] == after
    assert site.get(f"{OPEN}/@v/list") == 200
    (site.files / "users").write_text("carol:plain\n")
    problems = reload(site, "the configuration stays as it was")["problems"]
    assert problems.startswith(f"{site.files / 'users'}, line 1: the hash of carol is not bcrypt")
    assert "plain" not in problems
    assert [site.get(name, who) for who in ("alice:right", "bob:better", "carol:new", "")] == after
    write(site.files)
    reload(site)


def test_nothing_secret_is_in_the_log(site: Site) -> None:
    """Names are, of whoever was let in."""
    reload(site)
    assert site.get("catalog", "alice:right") == 200
    log = site.daemon.log.read_text()
    assert eventually(lambda: [each for each in site.daemon.lines() if each.get("user") == "alice"])
    secrets = ("right", "better", TOKEN, 'athens"', b64encode(b"alice:right").decode())
    assert not [secret for secret in secrets if secret in log]
