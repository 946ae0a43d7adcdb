"""The settings as they are shown."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest

from athensd.config.keys import KEYS
from athensd.config.kinds import FLAG, TEXT
from athensd.config.load import ConfigError, load
from athensd.config.report import DEFAULT, MASK, Setting, report
from athensd.config.settings import Config

SECRET = "hunter2"


def shown(text: str = "", environ: dict[str, str] | None = None) -> dict[str, Setting]:
    config = load(text, environ or {})
    return {each.key: each for each in report(config, text, environ or {}, "athens.toml")}


def test_every_setting_is_there() -> None:
    """Each key that means something is shown once, as the default, where nothing is set."""
    settings = shown()
    assert list(settings) == [key.path for key in KEYS if key.field]
    assert {each.source for each in settings.values()} == {DEFAULT}
    assert not any(each.changed for each in settings.values())


def test_what_is_shown_can_be_read() -> None:
    """The lines are a file of settings that means the same."""
    text = """
    Port = "127.0.0.1:3100"
    PprofPort = "[::1]:1"
    UnixSocketMode = "0600"
    NoSumPatterns = ["a.test/*", "b.test"]
    TraceSamplingFraction = 0.5
    StorageType = "disk"
    Storage.Disk.RootPath = 'C:\\"odd"'
    Index.Postgres.Params = { "connect timeout" = "5" }
    SingleFlight.RedisSentinel.SentinelPassword = ""
    """
    lines = "\n".join(str(each) for each in shown(text).values())
    assert load(lines, {}) == load(text, {})


def test_where_it_comes_from() -> None:
    """A variable goes before the file, in which upper and lower case are the same."""
    text = 'timeout = 5\nStashTimeout = 7\nLogLevel = "info"\n[storage.DISK]\nrootpath = "/srv"\n'
    settings = shown(text, {"ATHENS_STASH_TIMEOUT": "8", "PORT": "80", "ATHENS_ATHENS_LIST_FRESH": "9"})
    assert {key: each.source for key, each in settings.items() if each.source != DEFAULT} == {
        "Timeout": "athens.toml",
        "StashTimeout": "ATHENS_STASH_TIMEOUT",
        "LogLevel": "athens.toml",
        "ListFresh": "ATHENS_ATHENS_LIST_FRESH",
        "Port": "PORT",
        "Storage.Disk.RootPath": "athens.toml",
    }
    assert str(settings["StashTimeout"]) == "StashTimeout = 8  # ATHENS_STASH_TIMEOUT"
    assert not settings["LogLevel"].changed
    assert settings["Port"].changed


def test_an_empty_variable() -> None:
    """It counts where the daemon takes it for a value, and only there."""
    settings = shown('Port = ":80"\nGoGetDir = "/a"\n', {"ATHENS_PORT": "", "ATHENS_GOGET_DIR": ""})
    assert settings["Port"].source == "athens.toml"
    assert settings["GoGetDir"].source == "ATHENS_GOGET_DIR"


def test_two_spellings() -> None:
    """A setting that has two keys comes from the same place by both."""
    settings = shown("Storage.Mongo.Insecure = true\n")
    for key in ("Storage.Mongo.Insecure", "Storage.Mongo.InsecureConn"):
        assert str(settings[key]) == f"{key} = true  # athens.toml"


def kept_out() -> list[str]:
    """Variables of all settings that stay out of the repr."""
    found = []
    for key in KEYS:
        if key.field and key.kind is not FLAG:
            try:
                config = load("", {key.env: "https://u:hunter2@h" if key.kind is TEXT else SECRET})
            except ConfigError:
                continue
            if SECRET not in repr(config) and attrgetter(key.field)(config) != attrgetter(key.field)(Config()):
                found.append(key.env)
    return found


@pytest.mark.parametrize("variable", kept_out())
@pytest.mark.parametrize("value", [f"https://user:{SECRET}@host/{SECRET}@x?sig={SECRET}", f"u:{SECRET} {SECRET}@h"])
def test_secrets(variable: str, value: str) -> None:
    """What the settings themselves do not show is masked, whole or where an address has a login and a query."""
    try:
        settings = shown("", {variable: value})
    except ConfigError:
        return  # it takes no such value
    assert SECRET not in "".join(map(str, settings.values()))
    assert MASK in "".join(each.value for each in settings.values() if each.source == variable)


def test_secrets_in_the_midst() -> None:
    """Those in other addresses, in what is given to go, and among parameters are masked; the rest is to be read."""
    text = f"""
    GlobalEndpoint = "https://user:{SECRET}@proxy.test/go"
    SumDBs = ["https://user:{SECRET}@sum.test"]
    GoBinaryEnvVars = ["GOPROXY=https://{SECRET}@h"]
    Storage.Mongo.URL = "mongodb://user:{SECRET}@one,two/db?authSource={SECRET}"
    SingleFlight.Redis.Endpoint = ":{SECRET}@redis.test:6379"
    Index.MySQL.Params = {{ password = "{SECRET}", timeout = "5s" }}
    """
    wanted: dict[str, Any] = {
        "GlobalEndpoint": '"https://***@proxy.test/go"',
        "SumDBs": '["https://***@sum.test"]',
        "GoBinaryEnvVars": '["GOPROXY=***"]',
        "Storage.Mongo.URL": '"mongodb://***@one,two/db?***"',
        "SingleFlight.Redis.Endpoint": '"***@redis.test:6379"',
        "Index.MySQL.Params": '{ "password" = "***", "timeout" = "5s" }',
    }
    settings = shown(text)
    assert {key: settings[key].value for key in wanted} == wanted
