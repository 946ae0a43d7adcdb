"""``athensd warm`` and a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athensd.cli.warm import own_url
from athensd.config.kinds import Listen
from athensd.config.settings import Config
from tests.cli.command import Command
from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import free_ports

pytestmark = needs_go
LOGIN = {"BASIC_AUTH_USER": "joe", "BASIC_AUTH_PASS": "hunter2"}


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    root = tmp_path / "tree"
    for name in ("one", "Two", "three"):
        add_version(root, f"example.test/{name}", "v1.0.0", {"m.go": b"package m\n"})
    server = Upstream(root)
    yield server
    server.stop()


@pytest.fixture
def daemon(tmp_path: Path, upstream: Upstream) -> Iterator[Daemon]:
    with running(tmp_path / "athensd", upstream.url, **LOGIN, ATHENS_FETCH_AHEAD="false") as daemon:
        yield daemon


@pytest.fixture
def command(tmp_path: Path, daemon: Daemon) -> Command:
    """With the login in the place where the go command has it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login joe password hunter2\n")
    return Command(tmp_path, NETRC=str(tmp_path / "netrc"))


def stored(tmp_path: Path) -> set[str]:
    root = tmp_path / "athensd/store/example.test"
    return {f"{path.parent.parent.name}{path.suffix}" for path in root.glob("*/@v/v*") if path.suffix != ".ziphash"}


def test_what_a_build_needs(command: Command, daemon: Daemon, tmp_path: Path) -> None:
    """It is stored: of all files of a project together, and of those that are needed for their go.mod just that."""
    (tmp_path / "go.mod").write_text("module m\n\nrequire example.test/one v1.0.0\n")
    (tmp_path / "go.sum").write_text("example.test/three v1.0.0/go.mod h1:x=\nexample.test/one v1.0.0 h1:y=\n")
    what = ["go.mod", "go.sum", "example.test/Two@v1.0.0"]
    status, lines, error = command.run("warm", *what, "--url", daemon.url, "-j", "1")
    assert (status, lines, error) == (0, ["warm: 2, only the go.mod: 1, faults: 0"], "")
    whole = {f"{name}.{kind}" for name in ("one", "!two") for kind in ("info", "mod", "zip")}
    assert stored(tmp_path) == {*whole, "three.mod"}


def test_again(command: Command, daemon: Daemon, upstream: Upstream) -> None:
    """What is stored is not fetched a second time, so that a run can be started again."""
    what = ["warm", "example.test/one@v1.0.0", "--url", daemon.url]
    assert command.run(*what)[0] == 0
    upstream.stop()
    assert command.run(*what) == (0, ["warm: 1, faults: 0"], "")


def test_what_is_not_to_be_had(command: Command, daemon: Daemon, tmp_path: Path) -> None:
    """It is a line with what the daemon says, and the rest goes on."""
    (tmp_path / "go.sum").write_text("example.test/no v1.0.0 h1:x=\nexample.test/one v1.0.0 h1:y=\n")
    status, lines, error = command.run("warm", "go.sum", "--url", daemon.url, "-j", "1")
    assert (status, error) == (1, "")
    assert lines[0].startswith("example.test/no@v1.0.0: ")
    assert lines[0].endswith(" (404)")
    assert lines[1] == "failed: 1, warm: 1, faults: 1"
    assert "one.zip" in stored(tmp_path)


def test_logins(command: Command, daemon: Daemon) -> None:
    """The one in the URL goes before that of the file; a wrong one is said, and never shown."""
    what = "example.test/one@v1.0.0"
    del command.environment["NETRC"]
    command.environment["HOME"] = str(command.directory)
    assert command.run("warm", what, "--url", daemon.url)[1][-1] == "failed: 1, faults: 1"
    right = daemon.url.replace("//", "//joe:hunter2@")
    assert command.run("warm", what, "--url", right)[0] == 0
    (command.directory / ".netrc").write_text("machine 127.0.0.1 login joe password hunter2\n")
    assert command.run("warm", what, "--url", daemon.url)[0] == 0
    status, lines, error = command.run("warm", what, "--url", right.replace("hunter2", "hunter3"))
    assert (status, lines[-1]) == (1, "failed: 1, faults: 1")
    assert "(401)" in lines[0]
    assert "hunter" not in "".join(lines) + error


def test_the_own_daemon(command: Command, daemon: Daemon) -> None:
    """Without a URL it is that of the settings."""
    command.environment["ATHENS_PORT"] = daemon.url.removeprefix("http://")
    assert command.run("warm", "example.test/one@v1.0.0") == (0, ["warm: 1, faults: 0"], "")
    command.environment["ATHENS_UNIX_SOCKET"] = "socket"
    assert command.run("warm", "example.test/one@v1.0.0")[2].startswith("athensd: the settings have Listen")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://localhost:3000"),
        ({"listen": Listen("0.0.0.0", 80), "path_prefix": "/go"}, "http://localhost:80/go"),
        ({"listen": Listen("::1", 443), "tls_cert_file": "cert"}, "https://[::1]:443"),
    ],
)
def test_where_it_is(settings: dict[str, Any], url: str) -> None:
    """As whoever is on the same machine reaches it."""
    assert own_url(Config(**settings)) == url


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nowhere/go.mod", "nowhere/go.mod cannot be read"),
        ("a.test@main", "a.test@main is no version of a module"),
        ("other.lock", "other.lock is neither a go.mod, a go.sum nor a modules.txt"),
        ("a.test@v1.0.0 --url host:3000", "--url must be an address"),
        ("a.test@v1.0.0 --url http://u:secret@127.0.0.1:PORT", "refused"),
        ("a.test@v1.0.0 --url DAEMON/else", "its /healthz answers"),
        ("a.test@v1.0.0 -c nowhere.toml", "nowhere.toml cannot be read"),
    ],
)
def test_what_cannot_be_done(command: Command, daemon: Daemon, arguments: str, said: str) -> None:
    """One clear line, and no secret."""
    (command.directory / "other.lock").touch()
    words = arguments.replace("PORT", str(free_ports(1)[0])).replace("DAEMON", daemon.url)
    status, lines, error = command.run("warm", *words.split())
    assert (status, lines) == (2, [])
    assert error.startswith("athensd: ")
    assert said in error
    assert "secret" not in error
