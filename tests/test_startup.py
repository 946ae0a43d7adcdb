"""What is read from the host at the start, and what is said when it cannot be."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from athensd.config.load import load
from athensd.config.settings import Config
from athensd.doors.door import Keys
from athensd.doors.rules import Access
from athensd.policy.download_mode import DownloadMode
from athensd.policy.filter import Action
from athensd.startup import (
    Unusable,
    ask_go,
    connections_allowed,
    find_go,
    log_stream,
    read_configuration,
    read_rules,
    work_places,
)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.toml", None, "the settings in none.toml cannot be read: No such file or directory"),
        ("bad.toml", "= 1", "bad.toml is not TOML"),
        ("keys.toml", "Portt = 1\nTimeout = -1", "keys.toml: Portt is no setting"),
        ("latin.toml", "# caf\u00e9", "the settings in latin.toml cannot be read: not UTF-8 text"),
    ],
)
def test_settings_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, says: str
) -> None:
    """What is said names the file and the fault."""
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text, encoding="latin-1")
    with pytest.raises(Unusable) as caught:
        read_configuration(name)
    assert str(caught.value).startswith(says)


def test_the_default_file_is_read_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``athens.toml`` in the working directory counts, and need not be."""
    monkeypatch.chdir(tmp_path)
    assert read_configuration(None) == Config()
    Path("athens.toml").write_text("Timeout = 7")
    assert read_configuration(None).timeout == 7


def test_go_is_found_beside_python_when_path_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra [go] puts its command into the environment that athensd runs in."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(go.parent / "python"))
    assert find_go("go") == str(go)


def test_a_go_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is there and does not work is not passed over."""
    with pytest.raises(Unusable, match="the go command /bin/false does not work"):
        ask_go("/bin/false", {})


def test_settings_of_go_win_over_the_host(tmp_path: Path) -> None:
    """``GoBinaryEnvVars`` change where modules come from, as they change the go command itself."""
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\nprintf \'{"GOPROXY":"%s","GONOPROXY":"%s"}\' "$GOPROXY" "$GOPRIVATE"\n')
    go.chmod(0o755)
    settings = ask_go(str(go), {"GOPROXY": "direct", "GOPRIVATE": "example.test"})
    assert settings == {"GOPROXY": "direct", "GONOPROXY": "example.test"}


def test_work_lies_where_it_can_be_finished_by_a_name() -> None:
    """Inside the store, unless GoGetDir says otherwise; the store's own unfinished files never leave it."""
    disk = "StorageType = 'disk'\nStorage.Disk.RootPath = '/store'\n"
    inside = Path("/store/.athensd")
    assert work_places(load(disk, {})) == (inside, inside)
    fetches, stored = work_places(load(f"GoGetDir = '/elsewhere'\n{disk}", {}))
    assert (fetches.parent, stored) == (Path("/elsewhere"), inside)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"FilterFile": "none.conf"}, "the filter in none.conf cannot be read: No such file or directory"),
        ({"FilterFile": "bad.conf"}, "bad.conf:1: "),
        ({"DownloadMode": "never"}, 'DownloadMode "never" is none of sync, async'),
        ({"DownloadMode": "redirect"}, "DownloadURL "),
        ({"DownloadMode": "file:none.hcl"}, "none.hcl: cannot be read"),
    ],
)
def test_rules_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    """What is said names the file or the setting, and the fault."""
    monkeypatch.chdir(tmp_path)
    Path("bad.conf").write_text("? example.test\n")
    text = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
    with pytest.raises(Unusable) as caught:
        read_rules(load(text, {}))
    assert str(caught.value).startswith(says)


def test_rules_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the files that the settings name; without any, all is let through and fetched."""
    monkeypatch.chdir(tmp_path)
    rules = read_rules(Config())
    assert rules.filter.verdict("example.test/m", None).action is Action.INCLUDE
    assert rules.modes.of("example.test/m").mode is DownloadMode.SYNC
    Path("filter.conf").write_text("- example.test\n")
    Path("download.hcl").write_text('mode = "none"\n')
    rules = read_rules(load('FilterFile = "filter.conf"\nDownloadMode = "file:download.hcl"', {}))
    assert rules.filter.verdict("example.test/m", None).action is Action.EXCLUDE
    assert rules.modes.of("example.test/m").mode is DownloadMode.NONE


def test_the_log_goes_to_the_console_or_to_twistds_file(tmp_path: Path) -> None:
    """In the foreground to standard output; in the background, or when a file is named, to that."""
    for parent, is_console in (
        ({"nodaemon": 1, "logfile": None}, True),
        ({"nodaemon": 1, "logfile": "-"}, True),
        ({"nodaemon": 1, "logfile": str(tmp_path / "log")}, False),
        ({"nodaemon": 0, "logfile": str(tmp_path / "log")}, False),
    ):
        assert (log_stream(parent) is sys.stdout) is is_console


@pytest.mark.parametrize(
    ("most", "wanted", "allowed"), [(1024, 10_000, 512), (1024, 100, 100), (1024, 0, 512), (99, 5, 1)]
)
def test_connections(monkeypatch: pytest.MonkeyPatch, most: int, wanted: int, allowed: int) -> None:
    """No more connections than there are file descriptors for, of which as many as the system gives are taken."""
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, most))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: taken.append(limits))
    with capture_logs() as said:
        assert connections_allowed(wanted) == allowed
    assert taken == [(most, most)]
    assert [(line["connections"], line["file_descriptors"]) for line in said] == [(allowed, most)] * (allowed < wanted)


def test_nobody_is_asked_for_anything_by_default() -> None:
    """Without settings the doors are open."""
    assert read_rules(Config()).keys == Keys()
    assert not Keys().closed


@pytest.mark.parametrize("setting", ["UsersFile", "TokensFile", "RulesFile"])
def test_an_empty_file_closes_the_doors(tmp_path: Path, setting: str) -> None:
    """Whoever names a file wants them closed, even if nobody is in it yet."""
    (tmp_path / "file").write_text("# nobody yet\n")
    keys = read_rules(load(f"{setting} = '{tmp_path / 'file'}'", {})).keys
    assert (keys.closed, keys.access) == (True, Access())


def test_who_may_come_in(tmp_path: Path) -> None:
    """All files are read together: a rule may name a group that only a token is in."""
    (tmp_path / "tokens").write_text(f"ci sha256:{'0' * 64} build\n")
    (tmp_path / "rules").write_text("allow build a.test\n")
    text = f"BasicAuthUser = 'go'\nBasicAuthPass = 'x'\nMetricsAuth = false\nTokensFile = '{tmp_path / 'tokens'}'\n"
    keys = read_rules(load(f"{text}RulesFile = '{tmp_path / 'rules'}'", {})).keys
    assert (keys.closed, keys.user, keys.password, keys.metrics) == (True, "go", "x", False)
    assert [rule.who for rule in keys.access.rules] == ["build"]
    assert [token.name for token in keys.tokens.values()] == ["ci"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("BasicAuthUser = 'go'", "BasicAuthUser and BasicAuthPass must both be set, or neither"),
        ("BasicAuthPass = 'sekret'", "BasicAuthUser and BasicAuthPass must both be set, or neither"),
        ("UsersFile = 'none'", "the users in none cannot be read: No such file or directory"),
        ("TokensFile = 'bad'", "bad, line 1: must be NAME sha256:HEX"),
        ("UsersFile = 'bad'", "bad, line 1: must be NAME:HASH"),
        ("RulesFile = 'bad'", "bad, line 1: must be allow, deny or hide"),
    ],
)
def test_doors_that_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, says: str) -> None:
    """Then athensd does not start, rather than be open, and says why without a secret."""
    monkeypatch.chdir(tmp_path)
    Path("bad").write_text("sekret\n")
    with pytest.raises(Unusable) as caught:
        read_rules(load(settings, {}))
    assert str(caught.value).startswith(says)
    assert "sekret" not in str(caught.value)


def test_users_need_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is named with the way to install it."""
    monkeypatch.setattr("athensd.startup.find_spec", lambda name: None)
    with pytest.raises(Unusable, match="UsersFile needs the library bcrypt: pip install"):
        read_rules(load("UsersFile = 'users'", {}))
