"""The environment of the go command."""

from __future__ import annotations

from pathlib import Path

import pytest

from athensd.origin.go_environment import GIT_SETTINGS, OURS, go_environment, lay_out

WORK = Path("/spool/1")


def git_settings(environment: dict[str, str]) -> list[tuple[str, str]]:
    """git's settings in an environment, in their order."""
    count = int(environment["GIT_CONFIG_COUNT"])
    return [(environment[f"GIT_CONFIG_KEY_{i}"], environment[f"GIT_CONFIG_VALUE_{i}"]) for i in range(count)]


def test_nothing_unknown_is_handed_on() -> None:
    """What the daemon was started with does not reach go, but for the names that are known to be needed."""
    host = {"GOFLAGS": "-mod=vendor", "GIT_DIR": "/x", "LANG": "de_DE", "GODEBUG": "a=b", "AWS_SECRET_ACCESS_KEY": "x"}
    environment = go_environment(host, {}, WORK)
    assert not {"GIT_DIR", "LANG", "GODEBUG", "AWS_SECRET_ACCESS_KEY"} & environment.keys()
    assert environment["GOFLAGS"] == "-modcacherw"


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "GOROOT"),
        *("SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH", "GIT_CONFIG_GLOBAL"),
    ],
)
def test_access_of_the_operator(name: str) -> None:
    """What gives the operator access to private hosts is handed on when it is set, and left out when it is not."""
    assert go_environment({name: "theirs"}, {}, WORK)[name] == "theirs"
    assert go_environment({name: ""}, {}, WORK).get(name) != ""


def test_own_ssh_command() -> None:
    """ssh must not ask questions, unless the operator has a command of their own."""
    assert "BatchMode=yes" in go_environment({}, {}, WORK)["GIT_SSH_COMMAND"]
    assert "GIT_SSH_COMMAND" not in go_environment({"GIT_SSH": "/usr/bin/plink"}, {}, WORK)


def test_settings_win() -> None:
    """GoBinaryEnvVars goes over the daemon's environment and over our defaults."""
    environment = go_environment({"GOPRIVATE": "host"}, {"GOPRIVATE": "setting", "GOTOOLCHAIN": "auto"}, WORK)
    assert (environment["GOPRIVATE"], environment["GOTOOLCHAIN"]) == ("setting", "auto")


@pytest.mark.parametrize("name", OURS)
def test_what_no_setting_changes(name: str) -> None:
    """A fetch stays direct, unverified by go and inside its directory, whatever is set."""
    assert go_environment({}, {name: "theirs"}, WORK)[name] == go_environment({}, {}, WORK)[name] != "theirs"


def test_flags_are_added_to() -> None:
    """A GOFLAGS setting is kept, and the module cache stays removable."""
    assert go_environment({}, {"GOFLAGS": "-insecure -modcacherw=false"}, WORK)["GOFLAGS"].endswith(" -modcacherw")


@pytest.mark.parametrize(
    ("host", "settings", "allowed"),
    [
        ({}, {}, "https:ssh"),
        ({"GOINSECURE": "example.test"}, {}, "https:ssh:http:git"),
        ({}, {"GOINSECURE": "example.test"}, "https:ssh:http:git"),
        ({}, {"GIT_ALLOW_PROTOCOL": "https:file"}, "https:file"),
    ],
)
def test_protocols(host: dict[str, str], settings: dict[str, str], allowed: str) -> None:
    """git may use https and ssh, http and git where GOINSECURE is used, and otherwise what the operator says."""
    assert go_environment(host, settings, WORK)["GIT_ALLOW_PROTOCOL"] == allowed


def test_git_settings_are_appended() -> None:
    """git's settings come after those that the operator gives in the same way."""
    theirs = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "url.ssh://git@h/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://h/",
    }
    expected = [("url.ssh://git@h/.insteadOf", "https://h/"), *GIT_SETTINGS]
    assert git_settings(go_environment(theirs, {}, WORK)) == expected
    assert git_settings(go_environment({}, theirs, WORK)) == expected


@pytest.mark.parametrize("count", ["", "x", "-1"])
def test_a_list_git_would_refuse(count: str) -> None:
    """A count that is no number counts as none."""
    assert git_settings(go_environment({"GIT_CONFIG_COUNT": count}, {}, WORK)) == list(GIT_SETTINGS)


def test_directories(tmp_path: Path) -> None:
    """Every directory that git or go expects to find is laid out."""
    lay_out(tmp_path)
    environment = go_environment({}, {}, tmp_path)
    assert Path(environment["TMPDIR"]).is_dir()
    assert list(Path(environment["GIT_TEMPLATE_DIR"]).iterdir()) == []
    assert (Path(environment["GOMODCACHE"]) / "cache").is_dir()
