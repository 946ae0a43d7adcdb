"""The wiring: what is read at start, and what is said when it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IService
from twisted.plugin import getPlugins

from athensd import __version__, tap
from athensd.config import Config, load


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
    monkeypatch.setattr(tap, "configure_logs", lambda *_, **__: None)  # it is for the whole process
    Path("my.toml").write_text('StorageType = "disk"\n[Storage.Disk]\nRootPath = "store"\n')
    options = tap.Options()
    options.parseOptions(["--config-file", "my.toml"])
    service = tap.makeService(options)
    assert IService.providedBy(service)
    assert Path("store/.athensd/spool").is_dir()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.toml", None, "athensd: the settings in none.toml cannot be read: No such file or directory"),
        ("bad.toml", "= 1", "athensd: bad.toml is not TOML"),
        ("keys.toml", "Portt = 1\nTimeout = -1", "athensd: keys.toml: Portt is no setting"),
        ("latin.toml", "# caf\u00e9", "athensd: the settings in latin.toml cannot be read: not UTF-8 text"),
    ],
)
def test_settings_that_cannot_be_used_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, says: str
) -> None:
    """Each line of what is said names the program, the file and the fault."""
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text, encoding="latin-1")
    with pytest.raises(SystemExit) as caught:
        tap._configuration(name)
    assert str(caught.value).startswith(says)
    assert all(line.startswith("athensd: ") for line in str(caught.value).split("\n"))


def test_the_default_file_is_read_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``athens.toml`` in the working directory counts, and need not be."""
    monkeypatch.chdir(tmp_path)
    assert tap._configuration(None) == Config()
    Path("athens.toml").write_text("Timeout = 7")
    assert tap._configuration(None).timeout == 7


def test_go_is_found_beside_python_when_path_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra [go] puts its command into the environment that athensd runs in."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(go.parent / "python"))
    assert tap._go_binary("go") == str(go)


def test_a_go_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is there and does not work is not passed over."""
    with pytest.raises(SystemExit, match="athensd: the go command /bin/false does not work"):
        tap._go_settings("/bin/false", {})


def test_settings_of_go_win_over_the_host(tmp_path: Path) -> None:
    """``GoBinaryEnvVars`` change where modules come from, as they change the go command itself."""
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\nprintf \'{"GOPROXY":"%s","GONOPROXY":"%s"}\' "$GOPROXY" "$GOPRIVATE"\n')
    go.chmod(0o755)
    settings = tap._go_settings(str(go), {"GOPROXY": "direct", "GOPRIVATE": "example.test"})
    assert settings == {"GOPROXY": "direct", "GONOPROXY": "example.test"}


def test_work_lies_where_it_can_be_finished_by_a_name() -> None:
    """Inside the store, unless GoGetDir says otherwise; the store's own unfinished files never leave it."""
    disk = "StorageType = 'disk'\nStorage.Disk.RootPath = '/store'\n"
    inside = Path("/store/.athensd")
    assert tap._work_places(load(disk, {})) == (inside, inside)
    fetches, stored = tap._work_places(load(f"GoGetDir = '/elsewhere'\n{disk}", {}))
    assert (fetches.parent, stored) == (Path("/elsewhere"), inside)


def test_the_log_goes_to_the_console_or_to_twistds_file(tmp_path: Path) -> None:
    """In the foreground to standard output; in the background, or when a file is named, to that."""
    options = tap.Options()
    for parent, is_console in (
        ({"nodaemon": 1, "logfile": None}, True),
        ({"nodaemon": 1, "logfile": "-"}, True),
        ({"nodaemon": 1, "logfile": str(tmp_path / "log")}, False),
        ({"nodaemon": 0, "logfile": str(tmp_path / "log")}, False),
    ):
        options.parent = parent
        assert (tap._log_stream(options) is sys.stdout) is is_console


def test_the_version_is_told() -> None:
    """``twistd athens --version`` prints it and ends."""
    twistd = Path(sys.executable).with_name("twistd")
    done = subprocess.run([twistd, "athens", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"athensd {__version__}\n"
