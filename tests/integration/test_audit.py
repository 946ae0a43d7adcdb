"""``athensd who`` over what running daemons have recorded."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.integration.daemon import running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = needs_go

PATH = "example.test/Us/m"
ALICE = f"Basic {b64encode(b'alice:right').decode()}"
V1, V2 = f"{PATH}@v1.0.0", f"{PATH}@v1.1.0"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    for version in ("v1.0.0", "v1.1.0"):
        add_version(tmp_path / "tree", PATH, version, {"m.go": b"package m\n"})
    server = Upstream(tmp_path / "tree")
    yield server
    server.stop()


def test_who(tmp_path: Path, upstream: Upstream) -> None:
    """Just those who had it are named, with what they had, by the fast lane too, and the end loses nothing."""
    command = Command(tmp_path, ATHENS_AUDIT_FILE=str(tmp_path / "audit"))
    assert command.run("who", V1)[2] == f"athensd: there is no file {tmp_path}/audit: nothing was recorded yet\n"
    login = {"BASIC_AUTH_USER": "alice", "BASIC_AUTH_PASS": "right"}
    with running(tmp_path / "open", upstream.url, ATHENS_AUDIT_FILE=str(tmp_path / "audit")) as daemon:
        Client(tmp_path / "one", daemon.url).ok("mod", "download", V1)
        assert daemon.plain("example.test/%21us/m/@v/v1.0.0.mod", times=3) == [200] * 3
        # It is there while the daemon runs, a second later.
        eventually(lambda: "visitors: 1" in command.run("who", V1)[1], 20)
        assert daemon.end() == 0
    settings = {"ATHENS_AUDIT_FILE": str(tmp_path / "audit"), "ATHENS_PATH_PREFIX": "/go", **login}
    with running(tmp_path / "closed", upstream.url, **settings) as daemon:
        assert daemon.get("go/example.test/%21us/m/@v/v1.1.0.zip")[0] == 401
        for kind in ("info", "mod", "zip"):
            assert daemon.get(f"go/example.test/%21us/m/@v/v1.1.0.{kind}", Authorization=ALICE)[0] == 200
        assert daemon.end() == 0
    status, lines, error = command.run("who", V1)
    assert (status, error, lines[-1]) == (0, "", "visitors: 1")
    assert [line.partition("x ")[0] for line in lines[:-1]] == ["127.0.0.1 200 info,mod,zip 6"]
    lines = command.run("who", V2)[1]
    assert [line.partition("x ")[0] for line in lines] == [
        "127.0.0.1 401 zip 1",
        "alice@127.0.0.1 200 info,mod,zip 3",
        "visitors: 2",
    ]
    assert command.run("who", V2, "--since", "1h")[1] == lines
    assert command.run("who", V2, "--since", "2099-01-01")[1] == ["visitors: 0"]
    told = [json.loads(line) for line in command.run("who", V1, "--json")[1]]
    assert [each["cache"] for each in told][3:] == ["hit"] * 3
    log = map(json.loads, (tmp_path / "open/log").read_text().splitlines())
    ids = {line.get("request-id") for line in log}
    assert {each["request"] for each in told} <= ids


def test_it_cannot_be_written(tmp_path: Path, upstream: Upstream) -> None:
    """That is one line, and everything is served."""
    file = tmp_path / "audit"
    file.write_text("this is something else, and no database")
    with running(tmp_path / "athensd", upstream.url, ATHENS_AUDIT_FILE=str(file)) as daemon:
        Client(tmp_path / "one", daemon.url).ok("mod", "download", V1)

        def said() -> list[str]:
            return [line["reason"] for line in daemon.lines() if line["msg"] == "answers are not recorded"]

        assert eventually(said, 10) == [f"{file}: file is not a database"]
        file.unlink()
        eventually(lambda: "answers are recorded again" in daemon.log.read_text(), 10)
        assert len(said()) == 1
    assert Command(tmp_path, ATHENS_AUDIT_FILE=str(file)).run("who", V1)[1][-1] == "visitors: 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (V1, "AuditFile (or ATHENS_AUDIT_FILE) names no file"),
        (f"{V1} --since 999999d", "AuditFile (or ATHENS_AUDIT_FILE) names no file"),
        (f"{V1} --since yesterday", "--since yesterday: must be as 7d, 12h, 30m"),
        (PATH, f"{PATH} is no version of a module"),
    ],
)
def test_what_cannot_be_done(tmp_path: Path, arguments: str, said: str) -> None:
    """One clear line."""
    status, lines, error = Command(tmp_path).run("who", *arguments.split())
    assert (status, lines) == (2, [])
    assert error.startswith(f"athensd: {said}")
