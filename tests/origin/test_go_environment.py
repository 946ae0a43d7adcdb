"""The environment of the go command."""

from __future__ import annotations

from pathlib import Path

import pytest

from athensd.origin.go_environment import GIT_SETTINGS, OURS, PASSED_ON, Access, go_environment, lay_out

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


@pytest.mark.parametrize("name", PASSED_ON)
def test_access_of_the_operator(name: str) -> None:
    """What gives the operator access to private hosts is handed on when it is set, and left out when it is not."""
    assert go_environment({name: "theirs"}, {}, WORK)[name] == "theirs"
    assert go_environment({name: ""}, {}, WORK).get(name) != ""


def test_all_that_is_handed_on() -> None:
    """This and nothing else of what the daemon was started with."""
    assert sorted(PASSED_ON) == [
        *("ALL_PROXY", "BRZ_SSH", "GIT_ALLOW_PROTOCOL", "GIT_ASKPASS"),
        *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_PROXY_SSL_CAINFO"),
        *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT"),
        *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_NO_VERIFY"),
        *("GOAUTH", "GOINSECURE", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOROOT", "GOVCS"),
        *("HGRCPATH", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "NETRC", "NO_PROXY", "PATH"),
        *("SSH_AUTH_SOCK", "SSL_CERT_DIR", "SSL_CERT_FILE", "SVN_SSH", "USER", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
        *("all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    ]


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


def test_settings_of_git_are_last() -> None:
    """What our settings have git do comes after all that was set before it, which they may take back."""
    theirs = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": "store"}
    more = [("credential.helper", ""), ("credential.helper", "ours")]
    expected = [("credential.helper", "store"), *GIT_SETTINGS, *more]
    assert git_settings(go_environment(theirs, {}, WORK, Access(git=more))) == expected


def test_variables_of_an_access() -> None:
    """They win over all but ours; what comes before the files that they lead to is not handed on."""
    host = {"HOME": "/home/x", "NETRC": "/home/x/netrc", "GOVCS": "*:git"}
    environment = go_environment(host, {"HOME": "/set"}, WORK, Access({"HOME": "/links", "GOENV": "x"}, ["NETRC"]))
    assert environment["HOME"] == "/links"
    assert environment["GOVCS"] == "*:git"
    assert environment["GOENV"] == "off"
    assert "NETRC" not in environment
