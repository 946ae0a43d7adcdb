"""``athensd revoke`` beside running daemons, with the real go command as the one who is refused."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = needs_go

PATH = "example.test/Us/m"
ESCAPED = "example.test/!us/m/@v"
BAD = f"{PATH}@v1.1.0"
REASON = "SEC-12: published with a stolen token"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    for version in ("v1.0.0", "v1.1.0"):
        add_version(tmp_path / "tree", PATH, version, {"m.go": b"package m\n"})
    server = Upstream(tmp_path / "tree")
    yield server
    server.stop()


def revoke(place: Path, *arguments: str) -> list[str]:
    status, lines, error = Command(place).run("revoke", *arguments)
    assert (status, error) == (0, "")
    return lines


def status(daemon: Daemon, name: str) -> int:
    return daemon.get(f"{ESCAPED}/{name}")[0]


def test_a_bad_version(tmp_path: Path, upstream: Upstream) -> None:
    """It is refused within a second, in the words of the reason, also after a restart, until that is undone."""
    place = tmp_path / "athensd"
    with running(place, upstream.url) as daemon:
        client = Client(tmp_path / "before", daemon.url)
        client.ok("mod", "download", BAD)
        lane = f"{ESCAPED}/v1.1.0.info"
        assert daemon.plain(lane, times=3) == [200] * 3
        [line] = revoke(place, BAD, "--reason", REASON)
        began = time.monotonic()
        assert line.startswith(f"revoked {BAD} 2")
        eventually(lambda: daemon.plain(lane) == [403], 10)
        assert time.monotonic() - began < 2  # a second is promised, and this machine may be busy
        for name in ("v1.1.0.info", "v1.1.0.mod", "v1.1.0.zip"):
            code, body = daemon.get(f"{ESCAPED}/{name}")
            assert (code, REASON in body.decode()) == (403, True)
        assert daemon.get(f"{ESCAPED}/list") == (200, b"v1.0.0\n")
        assert b'"v1.0.0"' in daemon.get("example.test/!us/m/@latest")[1]
        assert daemon.end() == 0
    asked = len(upstream.requests)
    with running(place, upstream.url) as daemon:
        refused = Client(tmp_path / "after", daemon.url).run("mod", "download", BAD)
        assert refused.returncode != 0
        assert f"{BAD}: revoked on this proxy since 2" in refused.stderr
        assert REASON in refused.stderr
        assert Client(tmp_path / "latest", daemon.url).ok("list", "-m", f"{PATH}@latest") == f"{PATH} v1.0.0\n"
        assert [name for name in upstream.requests[asked:] if "v1.1.0" in name] == []
        assert revoke(place) == [line.removeprefix("revoked ")]
        revoke(place, BAD, "--undo")
        eventually(lambda: status(daemon, "v1.1.0.info") == 200, 10)
        Client(tmp_path / "undone", daemon.url).ok("mod", "download", BAD)
        assert revoke(place) == []


def test_a_reason_that_cannot_be_shown(tmp_path: Path) -> None:
    """Bytes that are no text, and what would move a terminal's cursor, are refused; nothing is revoked."""
    (tmp_path / "store").mkdir()
    for reason in ("\udcff", "\x1b[2J"):
        code, _, error = Command(tmp_path).run("revoke", BAD, "--reason", reason)
        assert (code, error) == (2, "athensd: --reason must be text that can be shown, in UTF-8\n")
    assert revoke(tmp_path) == []


def test_what_was_never_stored(tmp_path: Path, upstream: Upstream) -> None:
    """It is not fetched, by whatever name it is asked for."""
    place = tmp_path / "athensd"
    place.mkdir()
    (place / "store").mkdir()
    revoke(place, BAD, "--reason", REASON)
    with running(place, upstream.url) as daemon:
        for name in ("v1.1.0.info", "v1.1.0.mod", "v1.1.0.zip", "v1.info", "v1.zip"):
            assert status(daemon, name) == 403
        assert daemon.get(f"{ESCAPED}/list") == (200, b"v1.0.0\n")
        assert [name for name in upstream.requests if "v1.1.0" in name] == []


def test_a_file_that_makes_no_sense(tmp_path: Path, upstream: Upstream) -> None:
    """It changes nothing while daemons run, and each problem is named; nor does a file that is gone."""
    place = tmp_path / "athensd"
    file = place / "store/.athensd/revoked"
    with running(place, upstream.url) as daemon:
        revoke(place, BAD, "--reason", REASON)
        eventually(lambda: status(daemon, "v1.1.0.info") == 403, 10)
        good = file.read_text()

        def problems() -> list[str]:
            return [line["problems"] for line in daemon.lines() if line["msg"] == "what is revoked stays as it was"]

        file.write_text(f"nonsense\nrevoked {PATH}@v1 2026-01-01 because\n")
        [said] = eventually(problems, 10)
        assert f"{file}:1: must be revoked or restored" in said
        assert f'{file}:2: "{PATH}@v1" is no version of a module' in said
        code, lines, error = Command(place).run("revoke", f"{PATH}@v1.0.0", "--reason", "it too")
        assert (code, lines) == (2, [])
        assert f"athensd: {file}:1: must be" in error
        file.unlink()
        eventually(lambda: problems()[1:] == ["it is gone"], 10)
        assert status(daemon, "v1.1.0.info") == 403
        file.write_text(good.replace("v1.1.0", "v1.0.0"))
        eventually(lambda: status(daemon, "v1.1.0.info") == 200, 10)
        assert status(daemon, "v1.0.0.info") == 403
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration read again" in daemon.log.read_text(), 10)
        assert status(daemon, "v1.0.0.info") == 403
        assert len(problems()) == 2


def test_several_instances(tmp_path: Path, upstream: Upstream) -> None:
    """All that read the same file know it, with whatever store they have."""
    file = str(tmp_path / "revoked")
    with (
        running(tmp_path / "one", upstream.url, ATHENS_REVOKED_FILE=file) as one,
        running(tmp_path / "two", upstream.url, ATHENS_REVOKED_FILE=file, ATHENS_STORAGE_TYPE="memory") as two,
    ):
        command = Command(tmp_path, ATHENS_REVOKED_FILE=file, ATHENS_STORAGE_TYPE="memory")
        assert command.run("revoke", BAD, "-r", REASON)[0] == 0
        for daemon in (one, two):
            eventually(lambda daemon=daemon: status(daemon, "v1.1.0.zip") == 403, 10)
