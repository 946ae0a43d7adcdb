"""The wiring: what is read at start, and what is said when it cannot be."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IService
from twisted.plugin import getPlugins

from athensd import __version__, tap
from athensd.observe.logs import Log, _Lines


def test_twistd_knows_athens() -> None:
    """The plugin names this module, and Twisted finds it."""
    from twisted.application.service import IServiceMaker

    [maker] = [each for each in getPlugins(IServiceMaker) if each.tapname == "athens"]
    assert maker.module == "athensd.tap"
    assert maker.options is tap.Options


def test_a_service_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file of settings there is a service, which listens to nothing before it is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("ATHENS_STATS_EXPORTER", "none")
    quiet = Log(_Lines(io.StringIO()), [], lambda *_: "")
    monkeypatch.setattr(tap, "configure_logs", lambda *_, **__: quiet)  # it is for the whole process
    Path("my.toml").write_text('StorageType = "disk"\n[Storage.Disk]\nRootPath = "store"\n')
    options = tap.Options()
    options.parseOptions(["--config-file", "my.toml"])
    service = tap.makeService(options)
    assert IService.providedBy(service)
    assert Path("store/.athensd/spool").is_dir()


def test_what_cannot_be_used_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one line for each fault, which names the program."""
    monkeypatch.chdir(tmp_path)
    Path("athens.toml").write_text("Portt = 1\nTimeout = -1")
    options = tap.Options()
    options.parseOptions([])
    with pytest.raises(SystemExit) as caught:
        tap.makeService(options)
    assert str(caught.value).split("\n") == [
        "athensd: athens.toml: Portt is no setting; the nearest one is Port",
        "athensd: athens.toml: Timeout is -1; it must be at least 1",
    ]


def test_the_version_is_told() -> None:
    """``twistd athens --version`` prints it and ends."""
    twistd = Path(sys.executable).with_name("twistd")
    done = subprocess.run([twistd, "athens", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"athensd {__version__}\n"
