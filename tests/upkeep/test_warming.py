"""What is to be asked for, and how a daemon is asked."""

from __future__ import annotations

import pytest

from athensd.errors import NotFound
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.upkeep.tally import Tally
from athensd.upkeep.warming import GO_MOD, Warmer, is_go_release, one_wanted, read_wanted, toolchains
from tests.fakes import result_of

TEXT = ModuleVersion("golang.org/x/text", "v0.3.0")
TOML = ModuleVersion("github.com/BurntSushi/toml", "v1.4.0")


def test_go_mod():
    """What it requires, directly or not."""
    text = (
        "module m\n\nrequire golang.org/x/text v0.3.0 // indirect\nrequire (\n\tgithub.com/BurntSushi/toml v1.4.0\n)\n"
    )
    assert read_wanted("some/go.mod", text) == {TEXT: WHOLE, TOML: WHOLE}


@pytest.mark.parametrize("turned", [False, True])
def test_go_sum(turned):
    """Where it has the hash of a zip all is wanted, in whatever order the lines are; else the go.mod."""
    lines = [
        "golang.org/x/text v0.3.0/go.mod h1:b=",
        "golang.org/x/text v0.3.0 h1:a=",
        "",
        "github.com/BurntSushi/toml v1.4.0/go.mod h1:c=",
    ]
    text = "\n".join(reversed(lines) if turned else lines)
    assert read_wanted("go.sum", text) == {TEXT: WHOLE, TOML: GO_MOD}
    assert read_wanted("go.work.sum", text) == read_wanted("go.sum", text)


def test_modules_txt():
    """The modules that are vendored; in the place of one that is replaced stands its replacement."""
    text = """# golang.org/x/text v0.3.0
## explicit; go 1.17
golang.org/x/text/language
# example.test/old v1.0.0 => github.com/BurntSushi/toml v1.4.0
example.test/old
# example.test/here v1.0.0 => ../here
# example.test/old => github.com/BurntSushi/toml v1.4.0
"""
    assert read_wanted("vendor/modules.txt", text) == {TEXT: WHOLE, TOML: WHOLE}


@pytest.mark.parametrize(
    ("name", "text", "problems"),
    [
        ("go.sum", "a.test v1.0.0 h1:x\na.test v1.0.0\nb.test main h1:x\n", ["go.sum:2", "go.sum:3"]),
        ("modules.txt", "# a.test\n# a.test v2.0.0\n", ["modules.txt:1", "modules.txt:2"]),
        ("Gopkg.lock", "", ["Gopkg.lock is neither"]),
    ],
)
def test_what_cannot_be_read(name, text, problems):
    """Each line is named."""
    with pytest.raises(ValueError, match=r"neither|names no version") as caught:
        read_wanted(name, text)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(problems)
    assert all(line.startswith(problem) for line, problem in zip(lines, problems, strict=True))


def test_one_version():
    """All of it; what is none is refused."""
    assert one_wanted("golang.org/x/text@v0.3.0") == {TEXT: WHOLE}
    for word in ("golang.org/x/text@latest", "golang.org/x/text", "@v1.0.0", "a.test@v2.0.0"):
        with pytest.raises(ValueError, match="is no version of a module"):
            one_wanted(word)


def test_a_release_of_go():
    """Its toolchain for each platform, all of it; a release candidate is one too."""
    assert toolchains("go1.27.4", ["linux/amd64", "darwin/arm64"]) == {
        ModuleVersion("golang.org/toolchain", "v0.0.1-go1.27.4.linux-amd64"): WHOLE,
        ModuleVersion("golang.org/toolchain", "v0.0.1-go1.27.4.darwin-arm64"): WHOLE,
    }
    assert all(is_go_release(word) for word in ("go1.27.4", "go1.21", "go1.27rc1", "go1.9.2rc2"))
    assert not any(
        is_go_release(word) for word in ("go.mod", "go1", "go1.27.4@v1.0.0", "1.27.4", "go1.27.4.linux-amd64")
    )
    for platform in ("linux-amd64", "linux", "Linux/AMD64", "a/b/c"):
        with pytest.raises(ValueError, match="is no platform"):
            toolchains("go1.27.4", [platform])


@pytest.fixture
def said():
    return []


def warmed(said, kinds, ask):
    tally = Tally(said.append)
    result_of(Warmer(ask, tally).warm((TOML, kinds)))
    return str(tally)


def test_a_version_is_asked_for(said):
    """By escaped paths, the zip first, which brings the rest; or by its go.mod alone."""
    asked = []

    async def ask(path):
        asked.append(path)

    assert warmed(said, WHOLE, ask) == "warm: 1, faults: 0"
    place = "github.com/!burnt!sushi/toml/@v/v1.4.0"
    assert asked == [f"{place}.zip", f"{place}.info", f"{place}.mod"]
    assert warmed(said, frozenset({Kind.MOD}), ask) == "only the go.mod: 1, faults: 0"
    assert asked[3:] == [f"{place}.mod"]
    assert said == []


def test_a_failure(said):
    """It is a line, and no more of this version is asked for."""
    asked = []

    async def ask(path):
        asked.append(path)
        raise NotFound("nobody has it")

    assert warmed(said, WHOLE, ask) == "failed: 1, faults: 1"
    assert said == [f"{TOML}: nobody has it"]
    assert len(asked) == 1
