"""The units of systemd, held against systemd itself and against what athensd does with them."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from athensd.config.settings import Config
from tests.integration.daemon import environment, started
from tests.integration.go import needs_go
from tests.packaging.packages import ROOT

UNITS = ROOT / "packaging/systemd"
SERVICE = dict(re.findall(r"^(\w+)=(.*)$", (UNITS / "athensd.service").read_text(), re.MULTILINE))
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


@needs_systemd
def test_systemd_accepts_them(tmp_path: Path) -> None:
    """No line of theirs is unknown or misspelt; only the program is another one, that is there."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/athensd/bin/twistd", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_service_is_closed() -> None:
    """What systemd itself thinks of it: 0 is sealed, 10 is open to all."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", UNITS / "athensd.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_waits_longer_than_we_drain() -> None:
    """Else requests under way would be cut off."""
    assert int(SERVICE["TimeoutStopSec"]) > Config().shutdown_timeout


@pytest.mark.slow
@needs_go
def test_its_command_serves_reloads_and_ends(programs: Path, tmp_path: Path) -> None:
    """The command line of the unit, with the sample of settings; its signal to read them again; exit status 0."""
    file = tmp_path / "athens.toml"
    file.write_bytes((programs.parent / "share/athensd/athens.toml").read_bytes())
    command = SERVICE["ExecStart"].replace("/opt/athensd/bin", str(programs))
    command = command.replace("/etc/athensd/athens.toml", str(file))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=tmp_path,
            env=environment(tmp_path, "off", {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        daemon = started(process, log)
        assert daemon.get("readyz")[0] == 200
        assert SERVICE["ExecReload"] == "/bin/kill -HUP $MAINPID"
        process.send_signal(signal.SIGHUP)
        assert daemon.get("healthz")[0] == 200
        assert daemon.end() == 0
        assert "configuration read again" in log.read_text()
    finally:
        process.kill()
        process.wait()
