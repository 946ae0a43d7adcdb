"""SIGHUP: the settings are read again while the daemon serves."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import TWISTD, Daemon, environment, running
from tests.integration.go import needs_go
from tests.integration.process import eventually

pytestmark = needs_go


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One that takes its log level from a file."""
    (tmp_path / "athens.toml").write_text('LogLevel = "info"')
    with running(tmp_path, "off") as daemon:
        yield daemon


def answer(daemon: Daemon, settings: str | None = None) -> dict[str, Any]:
    """The one line with which it answers a SIGHUP; ``settings`` are put into its file before."""
    before = len(daemon.lines())
    if settings is not None:
        (daemon.log.parent / "athens.toml").write_text(settings)
    daemon.process.send_signal(signal.SIGHUP)
    [line] = eventually(lambda: [line for line in daemon.lines()[before:] if "configuration" in line["msg"]], 10)
    return line


def requests(daemon: Daemon) -> int:
    """How many request lines there are after one more request."""
    assert daemon.get("healthz")[0] == 200
    return [line["msg"] for line in daemon.lines()].count("incoming request")


def test_the_log_level_changes(daemon: Daemon) -> None:
    """The level in the file holds from now on, and the answer is seen whatever it is."""
    assert requests(daemon) == 1
    line = answer(daemon, 'LogLevel = "error"')
    assert (line["level"], line["msg"], line["log-level"]) == ("info", "configuration read again", "error")
    assert "needs-a-restart" not in line
    assert requests(daemon) == 1
    assert answer(daemon, 'LogLevel = "info"')["log-level"] == "info"
    assert requests(daemon) == 2
    assert daemon.end() == 0


def test_what_needs_a_restart_is_named(daemon: Daemon) -> None:
    """The other settings stay, and those that differ from what runs are named each time."""
    for _ in range(2):
        line = answer(daemon, 'Timeout = 7\nLogFormat = "plain"\nPprofPort = 4001')
        assert line["needs-a-restart"] == "Timeout, PprofPort"


def test_settings_that_make_no_sense_change_nothing(daemon: Daemon) -> None:
    """One error names every problem, and all stays as it was."""
    line = answer(daemon, 'LogLevel = "error"\nTimeout = 0\nTimeuot = 1')
    assert line["level"] == "error"
    assert "Timeuot is no setting; the nearest one is Timeout" in line["problems"]
    assert "Timeout is 0; it must be at least 1" in line["problems"]
    assert requests(daemon) == 1


def test_settings_that_cannot_be_read_change_nothing(daemon: Daemon) -> None:
    """Nor does a file that is no TOML, or one that is none at all."""
    assert "athens.toml is not TOML" in answer(daemon, "LogLevel = ")["problems"]
    (daemon.log.parent / "athens.toml").unlink()
    (daemon.log.parent / "athens.toml").mkdir()
    assert "the settings in athens.toml cannot be read" in answer(daemon)["problems"]
    assert requests(daemon) == 1


def test_closing_the_window_ends_it(tmp_path: Path) -> None:
    """In a terminal SIGHUP reads the settings too; but when the terminal has gone, the daemon ends as by SIGTERM."""
    window, terminal = pty.openpty()
    process = subprocess.Popen(
        [str(TWISTD), "--nodaemon", "--pidfile=", "athens"],
        cwd=tmp_path,
        env=environment(tmp_path, "off", {"ATHENS_LOG_FORMAT": "plain"}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    try:
        _read_until(window, b"Starting application")
        process.send_signal(signal.SIGHUP)
        _read_until(window, b"configuration read again")
        os.close(window)
        process.send_signal(signal.SIGHUP)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def _read_until(window: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(window, 4096)
