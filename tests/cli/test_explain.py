"""``athensd explain``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from athensd.cli.explain import Explanation, asker_of, explained
from athensd.config.settings import Config
from athensd.doors.door import Keys
from athensd.doors.rules import parse_rules
from athensd.doors.users import parse_tokens
from athensd.gomod.version import ModuleVersion
from athensd.policy.download_mode import parse_download_mode
from athensd.policy.filter import parse_filter
from athensd.policy.revoked import parse_revoked
from athensd.startup import Rules
from tests.cli.command import Command
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import add_version

M = ModuleVersion("example.test/us/m", "v1.0.0")
GO = {
    "GOPROXY": "https://joe:hunter2@one.test|https://two.test,direct",
    "GOSUMDB": "sum.golang.org",
    **dict.fromkeys(("GOPRIVATE", "GONOPROXY", "GONOSUMDB"), ""),
}
RULES = Rules(parse_filter("", "filter"), parse_download_mode("sync", "", str))
MODES = 'mode = "sync"\ndownload "example.test/us" {\n  mode = "redirect"\n  downloadURL = "https://else.test"\n}\n'


def explain(
    version: ModuleVersion = M, config: Config | None = None, rules: str = "", modes: str = "sync", **go: str
) -> Explanation:
    read = Rules(parse_filter(rules, "filter"), parse_download_mode(modes, "", lambda _: MODES))
    return explained(version, config or Config(), read, {**GO, **go})


def line(explanation: Explanation, label: str) -> str:
    [found] = [text for text in explanation.lines() if text.startswith(f"{label}: ")]
    return found.removeprefix(f"{label}: ")


def test_without_any_rule() -> None:
    """It is had from where GOPROXY says, and checked; no login is shown."""
    assert list(explain().lines()) == [
        "example.test/us/m@v1.0.0",
        "filter: let through, by no rule",
        "revoked: no",
        "access: whoever asks, there are no logins",
        "if not stored: sync, by the default",
        "fetched from: https://***@one.test, after any error https://two.test, if it is not there direct",
        "checksum database: sum.golang.org",
        "validator: none",
        "lock: memory",
        "stored: nothing",
    ]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("- example.test/us\n", "refused, by - example.test/us (line 1)"),
        ("-\nD example.test ~1.0.0\n", "passed on and not stored, by D example.test ~1.0.0 (line 2)"),
        ("-\n+ example.test\n", "let through, by + example.test (line 2)"),
        ("- example.test v2\n", "let through, by no rule"),
    ],
)
def test_the_filter(rules: str, said: str) -> None:
    """The line that decides is named."""
    assert line(explain(rules=rules), "filter") == said


def test_the_download_mode() -> None:
    """The block that decides is named by its pattern, file and line."""
    label = "if not stored"
    said = 'redirect to https://else.test, by download "example.test/us" (modes:2)'
    assert line(explain(modes="file:modes"), label) == said
    other = ModuleVersion("other.test/m", "v1.0.0")
    assert line(explain(other, modes="file:modes"), label) == "sync, by the default (modes:1)"


def test_revoked() -> None:
    """Since when, and why."""
    rules = evolve(RULES, revoked=parse_revoked(f"revoked {M} 2026-11-24 it is bad", "f"))
    assert line(explained(M, Config(), rules, GO), "revoked") == "since 2026-11-24: it is bad"


DOORS = """
group pay alice
deny ops example.test
allow pay example.test/us
hide * example.test/us
allow anonymous open.test
"""
TOKENS = f"""
ci sha256:{"a" * 64} ops,pay
bot sha256:{"b" * 64}
"""


@pytest.mark.parametrize(
    ("name", "groups", "said"),
    [
        ("alice", (), "allowed for alice, by doors, line 4"),
        ("bob", (), "hidden for bob, by doors, line 5"),
        ("ci", (), "refused for ci, by doors, line 3"),
        ("bot", ("pay",), "allowed for bot, by doors, line 4"),
        ("", ("pay",), "allowed for the group pay, by doors, line 4"),
        ("", ("ops", "pay"), "refused for the group ops, the group pay, by doors, line 3"),
        ("", (), "hidden for whoever has no login, by doors, line 5"),
    ],
)
def test_access(name: str, groups: tuple[str, ...], said: str) -> None:
    """The line that decides for a user, a token, a group, or somebody without a login."""
    tokens = parse_tokens(TOKENS, "tokens")
    keys = Keys(True, "bob", "secret", {"alice": b""}, tokens, parse_rules(DOORS, "doors", {"ops"}))
    asker = asker_of(keys, name, groups)
    found = explained(M, Config(rules_file="doors"), evolve(RULES, keys=keys), GO, asker)
    assert line(found, "access") == said


def test_access_without_a_rule() -> None:
    """Whoever is logged in has what no rule is about, and nobody else; a name that is nobody's is a mistake."""
    keys = Keys(True, "bob", "secret")
    for name, said in (("bob", "allowed for bob, by no rule"), ("", "refused for whoever has no login, by no rule")):
        found = explained(M, Config(), evolve(RULES, keys=keys), GO, asker_of(keys, name, ()))
        assert line(found, "access") == said
    with pytest.raises(ValueError, match="--as bbo: there is no such user and no such token"):
        asker_of(keys, "bbo", ())


def test_private_modules() -> None:
    """They are fetched from their repositories alone, and no database hears of them."""
    found = explain(GONOPROXY="example.test/us", GOPRIVATE="example.test/us")
    assert line(found, "fetched from") == "direct (GONOPROXY)"
    assert line(found, "checksum database") == "not asked, it is exempt (sum.golang.org)"
    assert explain(config=Config(no_sum_patterns=("example.test/*",))).exempt


def test_other_settings() -> None:
    """What is off is said; the key of a database is not, nor a secret of the validator."""
    config = Config(network_mode="offline", validator_hook="https://u:hunter2@v.test/ask?key=hunter2")
    found = explain(config=config, GOSUMDB="own.test+abc+key https://own.test/sum")
    assert line(found, "fetched from") == "nowhere (NetworkMode offline)"
    assert line(found, "checksum database") == "own.test"
    assert line(found, "validator") == "https://***@v.test/ask?***"
    assert line(explain(GOSUMDB="off"), "checksum database") == "off"
    assert line(explain(GOPROXY="off"), "fetched from") == "off"


def test_toolchains() -> None:
    """They are in no repository, whatever is private."""
    toolchain = ModuleVersion("golang.org/toolchain", "v0.0.1-go1.24.0.linux-amd64")
    found = explain(toolchain, GONOPROXY="golang.org")
    assert line(found, "fetched from").endswith("https://two.test")
    assert line(explain(toolchain, GOPROXY="direct"), "fetched from") == "nowhere"


def test_what_is_stored() -> None:
    """The files with their sizes, and the hash; or why that cannot be said."""
    found = evolve(explain(), stored={"mod": 7, "zip": 100, "ziphash": 47}, h1="h1:abc=")
    assert line(found, "stored") == "mod (7 bytes), zip (100 bytes), h1:abc="
    assert line(evolve(found, unreadable="it is away"), "stored") == "it is away"


@needs_go
def test_the_command(tmp_path: Path) -> None:
    """The store is looked into, and the same is had as JSON."""
    command = Command(tmp_path)
    add_version(tmp_path / "tree", "example.test/One", "v1.0.0", {"m.go": b"package m\n"})
    assert command.run("import", "tree")[0] == 0
    status, lines, error = command.run("explain", "example.test/One@v1.0.0")
    assert (status, error) == (0, "")
    assert "fetched from: off" in lines
    place = tmp_path / "store/example.test/!one/@v"
    h1 = (place / "v1.0.0.ziphash").read_text()
    size = {kind: (place / f"v1.0.0.{kind}").stat().st_size for kind in ("info", "mod", "zip")}
    files = ", ".join(f"{kind} ({length} bytes)" for kind, length in size.items())
    assert lines[-1] == f"stored: {files}, {h1}"
    said = json.loads("\n".join(command.run("explain", "example.test/One@v1.0.0", "--json")[1]))
    assert (said["module"], said["h1"], said["stored"]["zip"]) == ("example.test/One", h1, size["zip"])
    assert command.run("explain", "example.test/other@v1.0.0")[1][-1] == "stored: nothing"
    command.environment["ATHENS_STORAGE_TYPE"] = "memory"
    status, lines, _ = command.run("explain", "example.test/One@v1.0.0")
    assert status == 0
    assert lines[-1].startswith('stored: StorageType "memory" is gone with its process')


@needs_go
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("example.test/m", "example.test/m is no version of a module"),
        ("example.test/m@latest", "example.test/m@latest is no version of a module"),
        ("example.test/m@v1.0.0 --as nobody", "--as nobody: there is no such user"),
        ("example.test/m@v1.0.0 -c nowhere.toml", "the settings in nowhere.toml cannot be read"),
    ],
)
def test_what_cannot_be_done(tmp_path: Path, arguments: str, said: str) -> None:
    """One clear line."""
    status, lines, error = Command(tmp_path).run("explain", *arguments.split())
    assert (status, lines) == (2, [])
    assert error.startswith(f"athensd: {said}")
