"""Credentials are used by the real daemon and shown by it nowhere.

Each secret is a word of its own.  While modules are fetched, well and badly, everybody's arguments and our children's
environment are looked at again and again; afterwards answers, log, traces, store and work directories.
"""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import define, field
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.internet.threads import deferToThread

from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.observe.backends import HttpBackend
from tests.rig.corpus import Commit, make_repository
from tests.rig.hosts import Hosts, World
from tests.rig.modules import day, tree

pytestmark = needs_go

TOKEN, NETRC, URL, GOAUTH, HEADER, HELPER, UPSTREAM, SETTING = SECRETS = tuple(
    f"c4n4ry{name}" for name in ("Token", "Netrc", "Url", "Goauth", "Header", "Helper", "Upstream", "Setting")
)
LOGINS = {
    "github.com/private": f"x-access-token:{TOKEN}",
    "example.test/netrc": f"me:{NETRC}",
    "example.test/goauth": f"me:{GOAUTH}",
    "example.test/header": f"me:{HEADER}",
    "example.test/helper": f"me:{HELPER}",
    "example.test/url": f"me:{URL}",
    "example.test/url2": f"me:{URL}",
    "example.test/setting": f"me:{SETTING}",
}
# What tells a secret: itself, and the header that it is sent in.
SIGNS = [*SECRETS, *(base64.b64encode(login.encode()).decode() for login in LOGINS.values())]
# git gives a URL with a login in it to its own helper as an argument, so that `ps` shows it: docs/private.md says so.
IN_ARGUMENTS = {sign for sign in SIGNS if sign in (URL, SETTING)}
PAGE = "example.test/goauth/m"
IN_PAGE = "example.test/page"
MODULES = [
    ("github.com/private/m", "v1.0.0"),
    *((f"example.test/{name}.git", "v1.0.0") for name in ("netrc", "header", "helper", "url", "setting")),
    (PAGE, "v1.0.0"),
    (IN_PAGE, "v1.0.0"),
]
REFUSED = [
    ("github.com/private/none", "v1.0.0", 404),
    ("github.com/private/m", "v9.9.9", 404),
    ("example.test/netrc.git", "v9.9.9", 404),
    ("example.test/none", "v1.0.0", 404),
    ("example.test/none2", "v1.0.0", 404),
    ("example.test/elsewhere", "v1.0.0", 404),
    ("example.test/nothing", "v1.0.0", 404),
    ("github.com/broken/m", "v1.0.0", 502),
    ("github.com/away/m", "v1.0.0", 502),
    ("github.com/private/slow", "v1.0.0", 504),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Private repositories, each for a login of its own; one host breaks down and one repository is somebody else's."""
    root = tmp_path / "corpus"
    for path, version in MODULES:
        place = {PAGE: "github.com/open/m", IN_PAGE: "example.test/url2"}.get(path, path)
        make_repository(root / f"{place.removesuffix('.git')}.git", [Commit(tree(path), day(1), tags=(version,))])
    world = World(root, private={f"{path}.git" if "example" in path else path: LOGINS[path] for path in LOGINS})
    world.private["example.test/goauth"] = world.private.pop("example.test/goauth.git")
    world.private["example.test/other.git"] = "somebody:else"
    world.pages = {
        PAGE: "git https://github.com/open/m",
        IN_PAGE: f"git https://me:{URL}@example.test/url2.git",
        "example.test/none2": f"git https://me:{URL}@example.test/url2/none.git",
        "example.test/none": "git https://example.test/url/none.git",
        "example.test/elsewhere": "git https://example.test/other.git",
    }
    world.faults = {"github.com/broken": 500, "github.com/private/slow": 0}
    return world


@pytest.fixture
def hosts(world: World, tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(reactor, world, tmp_path)
    yield hosts
    blockon(DeferredList(hosts.stop()))


def words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


@define
class Watch:
    """The arguments of all processes while it is ``watching``, and the environments of all but ``daemon``."""

    daemon: int
    arguments: set[str] = field(factory=set)
    environments: set[str] = field(factory=set)
    _over: threading.Event = field(factory=threading.Event)

    def look(self) -> None:
        # A child that has only just been forked is still the daemon, as much as its own memory is.
        ours = (words(self.daemon), words(os.getpid()))
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            with suppress(OSError):  # it may be gone, or not be ours to look at
                arguments = words(pid)
                self.arguments.add(arguments)
                if arguments not in ours:
                    self.environments.add(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace"))

    def has_seen(self, command: str) -> bool:
        return any(command in line for line in list(self.arguments))

    def keep_looking(self) -> None:
        while not self._over.wait(0.002):
            self.look()

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.keep_looking)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def prepare(home: Path) -> dict[str, str]:
    """The credentials of the host and of the settings; what names them in the environment."""
    home.mkdir()

    def write(name: str, text: str, mode: int = 0o600) -> str:
        (home / name).write_text(text)
        (home / name).chmod(mode)
        return str(home / name)

    header = base64.b64encode(LOGINS["example.test/goauth"].encode()).decode()
    said = f"https://example.test/goauth\\n\\nAuthorization: Basic {header}\\n\\n"
    # Its words are of no use to anybody, and may not be passed on.
    broken = write("broken", f"#!/bin/sh\necho {GOAUTH} >&2; echo {GOAUTH}; exit 1\n", 0o700)
    header = base64.b64encode(LOGINS["example.test/header"].encode()).decode()
    write(
        ".gitconfig",
        f'[credential "https://example.test/helper.git"]\n\thelper = "!{write("helper", _helper(), 0o700)}"\n'
        f'[http "https://example.test/header.git"]\n\textraHeader = Authorization: Basic {header}\n'
        f'[url "https://me:{URL}@example.test/url"]\n\tinsteadOf = https://example.test/url\n'
        f'[url "https://me:{URL}@127.0.0.1:1/"]\n\tinsteadOf = https://github.com/away/\n'
        "[credential]\n\tuseHttpPath = true\n",
    )
    return {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GOAUTH": f"{write('auth', f'#!/bin/sh{chr(10)}printf {chr(39)}{said}{chr(39)}', 0o700)};{broken};netrc",
        "GOSUMDB": "off",
        "ATHENS_GITHUB_TOKEN": TOKEN,
        "ATHENS_NETRC_PATH": write("netrc.of.ours", f"machine example.test login me password {NETRC}\n"),
        "ATHENS_GO_BINARY_ENV_VARS": ";".join(
            [
                "GIT_CONFIG_COUNT=1",
                f"GIT_CONFIG_KEY_0=url.https://me:{SETTING}@example.test/setting.insteadOf",
                "GIT_CONFIG_VALUE_0=https://example.test/setting",
            ]
        ),
    }


def _helper() -> str:
    return f"#!/bin/sh\necho username=me\necho password={HELPER}\n"


def ask(daemon: Daemon) -> str:
    """Fetch everything, also what cannot be had; all that the clients see."""
    seen = []

    def get(path: str, expected: int) -> None:
        with daemon.open(path) as response:
            text = response.read().decode(errors="replace")
            assert response.status == expected, f"{path}: {response.status} {text}"
            seen.append(f"{response.headers}{text}")

    for path, version in MODULES:
        for name in (f"@v/{version}.info", f"@v/{version}.mod", f"@v/{version}.zip", "@v/list", "@latest"):
            get(f"{path}/{name}", 200)
    for path, version, status in REFUSED:
        get(f"{path}/@v/{version}.zip", status)
    for page in ("metrics", "catalog", "index", ""):
        get(page, 200)
    return "\n".join(seen)


def found(text: str, but: set[str] | None = None) -> list[str]:
    return [sign for sign in SIGNS if sign in text and sign not in (but or ())]


@pytest.mark.slow
@ensureDeferred
async def test_no_secret_is_shown(tmp_path: Path, hosts: Hosts) -> None:
    """Every credential opens its repository, and none is seen in any other place."""
    collector = HttpBackend()
    collector.listen()
    settings = {
        **hosts.environment(),
        "NO_PROXY": "127.0.0.1",
        **prepare(tmp_path / "home"),
        "ATHENS_LOG_LEVEL": "debug",
        "ATHENS_STASH_TIMEOUT": "10",
        "ATHENS_TRACE_EXPORTER": "otlp",
        "ATHENS_TRACE_EXPORTER_URL": f"http://127.0.0.1:{collector.port}",
    }

    def work() -> tuple[Daemon, Watch, str]:
        with running(tmp_path / "athensd", f"http://me:{UPSTREAM}@127.0.0.1:1|direct", **settings) as daemon:
            watch = Watch(daemon.process.pid)
            with watch.watching():
                answers = ask(daemon)
                # Those that ask for the token live for a few milliseconds.
                for i in range(50):
                    if not watch.has_seen("credential-cache"):
                        daemon.get(f"github.com/private/m/@v/v8.0.{i}.info")
            listing = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
            watch.arguments.update(listing.splitlines())
            assert daemon.end() == 0
            return daemon, watch, answers

    daemon, watch, answers = await deferToThread(work)
    await collector.go_away()
    log, traces = daemon.log.read_text(), b"".join(request.body for request in collector.received).decode("latin-1")

    # That there was something to be seen.
    assert watch.has_seen("remote-https")
    assert watch.has_seen("credential-cache")
    assert any("GIT_CONFIG_COUNT" in environment for environment in watch.environments)
    assert "go mod download" in traces
    assert "could not read Username" in log
    assert "127.0.0.1:1>" in log
    assert not [path for path in MODULES if f"{path[0]}@{path[1]}" not in answers + log]

    assert found(answers) == []
    assert "internal" not in answers
    assert found(log) == []
    assert found(traces) == []
    assert found("\n".join(watch.arguments), but=IN_ARGUMENTS) == []
    # The operator's own settings of go and git are there for go and git.
    assert found("\n".join(watch.environments), but={SETTING}) == []
    kept = [path for path in (tmp_path / "athensd").rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".zip" for path in kept)
    for path in kept:
        # git keeps the URL of a clone, and with it the login that an import page gave.
        but = {URL} if "/.athensd/vcs/" in str(path) else set()
        assert found(path.read_bytes().decode("latin-1"), but) == [], path
    assert not (tmp_path / "home/.netrc").exists()


@pytest.mark.parametrize(
    ("private", "hosts_left"), [("", ["example.test, github.com"]), ("example.test,github.com/company", [])]
)
def test_warning_at_start(tmp_path: Path, private: str, hosts_left: list[str]) -> None:
    """Hosts with credentials whose modules would be asked of public servers are named in one line, by their names."""
    (tmp_path / "netrc").write_text(f"machine example.test login me password {NETRC}\n")
    settings = {"GOPRIVATE": private, "ATHENS_GITHUB_TOKEN": TOKEN, "ATHENS_NETRC_PATH": str(tmp_path / "netrc")}
    with running(tmp_path / "athensd", "off", **settings) as daemon:
        assert daemon.end() == 0
        text = daemon.log.read_text()
        assert text.count("credentials for hosts") == len(hosts_left)
        assert all(each in text for each in hosts_left)
        assert found(text) == []
