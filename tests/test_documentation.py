"""The pages for people: that links lead somewhere, names are real, and what a page says to type can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import frozen

from athensd.config.keys import KEYS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md"))]

VARIABLES = {name for key in KEYS for name in key.variables}
NAMES = {name for key in KEYS for name in (key.path, key.path.rpartition(".")[2])}
# A variable of Kubernetes, which is passed over.
NO_SETTINGS = {"ATHENS_SERVICE_HOST"}
# Words in capitals and code that are no settings: HTTP, our errors, our interfaces, words of S3 and Azure.
WORDS = {
    "ETag",
    *("StorageFailed", "TimedOut", "UpstreamFailed", "VerificationFailed"),
    *("IBucket", "ICatalog", "IEvictable", "IFlight", "IIndex", "ILeases", "IOrigin", "IStorage"),
    *("AuthorizationFailure", "ContainerNotFound", "PutObject", "SlowDown"),
}
SHELLS = {"sh", "zsh", "fish"}

# Each page with commands, and the test that types them.
HERE = "tests/integration/test_documentation.py"
MORE = "tests/integration/test_documented_work.py"
FOLLOWED = {
    "README.md": f"{HERE}::test_readme",
    "docs/access.md": f"{MORE}::test_access",
    "docs/air-gap.md": f"{HERE}::test_air_gap",
    "docs/athensd.md": f"{MORE}::test_athensd",
    "docs/incident.md": f"{MORE}::test_incident",
    "docs/index.md": f"{MORE}::test_index",
    "docs/installing.md": "tests/packaging/test_installing.py::test_what_it_says_to_type",
    "docs/moving-from-athens.md": f"{HERE}::test_moving_from_athens",
    "docs/operations.md": f"{MORE}::test_operations",
    "docs/quickstart.md": f"{HERE}::test_quickstart",
    "docs/storage-external.md": "tests/web/test_external_routes.py::test_as_documented",
    "docs/walkthrough.md": f"{MORE}::test_walkthrough",
}
# How commands begin that no test types, and why.  All are held against what they say of themselves below.
NOT_TYPED = {
    "docker ": "wants a container engine; test_compose.py holds both files against docker-compose",
    "systemctl daemon-reload": "wants a running systemd",
    "useradd ": "makes a user of this machine",
    ".venv/bin/pip ": "changes the environment that the tests run in; test_packages.py installs elsewhere",
    "script/test": "is what runs the tests, or what CI types before it",
    "script/docs": "test_site does what it does",
    "script/jaeger": "running_jaeger starts it, at other ports",
    ".venv/bin/python bench/": "measures for minutes, on a machine with nothing else to do",
    "az ": "wants an account at Azure",
    "gcloud ": "wants an account at Google",
}


@frozen
class Text:
    """What is read of a page."""

    prose: str
    code: tuple[str, ...]
    """Its blocks of code that are no shell's, fenced or indented."""
    shell: tuple[str, ...]
    """Those that are fenced as ``sh``, each command on one line."""

    @classmethod
    def of(cls, page: Path) -> Text:
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        rest = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        indented = re.findall(r"(?:^(?: {4,}.*)?\n)+", rest, re.MULTILINE)
        prose = re.sub(r"^ {4,}.*$", "", rest, flags=re.MULTILINE)
        shell = tuple(re.sub(r"\\\n *", "", text) for tag, text in fences if tag == "sh")
        return cls(prose, (*(text for tag, text in fences if tag not in SHELLS), *indented), shell)


def typed(page: Path) -> list[str]:
    """The blocks of shell of a page, without the commands that no test types."""
    blocks = [
        "".join(line for line in block.splitlines(keepends=True) if not line.startswith(tuple(NOT_TYPED)))
        for block in Text.of(page).shell
    ]
    return [block for block in blocks if block.strip()]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Those of the headings, as both GitHub and MkDocs make them of plain words."""
    headings = re.findall(r"^#+ (.*)$", Text.of(page).prose, re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s+", "-", each) for each in words}


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@each_page
def test_links(page: Path) -> None:
    """Every relative link leads to a file of this repository, and to a heading that is there."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", Text.of(page).prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


@each_page
def test_names_of_files(page: Path) -> None:
    """What is called by its path in the repository is there."""
    named = re.findall(r"`((?:docs|etc|script|bench|tests|athensd)/[\w./*-]+)`", page.read_text())
    assert [path for path in named if not list(ROOT.glob(path))] == []


@each_page
def test_names_of_settings(page: Path) -> None:
    """Every variable and every key of the file that a page speaks of is one that athensd reads."""
    text = page.read_text()
    variables = set(re.findall(r"\bATHENS_[A-Z0-9_]+", text)) - VARIABLES - NO_SETTINGS
    in_prose = re.findall(r"`([A-Z][a-z]*[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]+)*)(?: = [^`]*)?`", text)
    in_blocks = re.findall(r"^\s+([A-Z][a-zA-Z0-9]*[a-z][a-zA-Z0-9]*) = ", text, re.MULTILINE)
    keys = {word for word in (*in_prose, *in_blocks) if not word.isupper()} - NAMES - WORDS
    assert (variables, keys) == (set(), set())


def test_navigation() -> None:
    """The site has every page, once, and nothing else."""

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry if isinstance(entry, list) else list(entry.values())
        return [page for part in parts for page in pages(part)]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(pages(settings["nav"])) == [page.name for page in DOCS]


def test_site(tmp_path: Path) -> None:
    """MkDocs builds it without a warning, each list and table is one, and a browser loads nothing from elsewhere."""
    mkdocs = Path(sys.executable).with_name("mkdocs")
    command = [mkdocs, "build", "--strict", "--config-file", ROOT / "mkdocs.yml", "--site-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path).parent.name: path.read_text() for path in tmp_path.rglob("index.html")}
    assert len(built) == len(DOCS)
    for name, html in built.items():
        assert re.findall(r"<(?:script|img|iframe|link)[^>]* (?:src|href)=.?(?:https?:)?//[^>]*", html) == [], name
        text = re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
        assert re.findall(r"^(?:[-*|] |\d\. ).*", text, re.MULTILINE) == [], name


def test_the_first_page_leads_to_the_others() -> None:
    """Whoever begins there finds the way to every page by links."""
    seen: set[Path] = set()
    to_read = [ROOT / "docs/home.md"]
    while to_read:
        page = to_read.pop()
        if page not in seen and page in DOCS:
            seen.add(page)
            links = re.findall(r"\]\(([\w./-]+)", Text.of(page).prose)
            to_read += [(page.parent / link).resolve() for link in links]
    assert set(DOCS) <= seen


def test_every_command_is_typed() -> None:
    """Each page with commands has a test that follows it; of those that are not typed each is in some page."""
    assert {name_of(page) for page in PAGES if typed(page)} == FOLLOWED.keys()
    for place in FOLLOWED.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text()
    lines = [line for page in PAGES for block in Text.of(page).shell for line in block.splitlines()]
    assert [start for start in NOT_TYPED if not any(line.startswith(start) for line in lines)] == []


@each_page
def test_commands_are_marked(page: Path) -> None:
    """Whatever is to be typed stands in a block of shell: where these tests look for it."""
    programs = {*OTHERS, "athensd", "bash", "pip", "sh", "sudo", "time", "twistd"}
    lines = [line.split() for block in Text.of(page).code for line in block.splitlines() if line.strip()]
    first = [words[0].removeprefix("$").rpartition("/")[2] for words in lines if not words[0].endswith(":")]
    assert not programs.intersection(first)


COMMANDS = [
    (page, line.split("  #")[0].strip())
    for page in PAGES
    for block in Text.of(page).shell
    for line in block.splitlines()
    if line.strip()
]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda part: part if isinstance(part, str) else part.name)
def test_commands_exist(page: Path, line: str) -> None:
    """What a page says to type has only programs, options, settings and files of ours that are there."""
    for command in re.split(r" && | \| ", re.sub(r"\$\(.*\)", "x", line)):
        words = shlex.split(re.sub(r">.*", "", command))
        while words and re.match(r"\w+=", words[0]):
            setting = words.pop(0).partition("=")[0]
            assert setting in VARIABLES or not setting.startswith("ATHENS_")
        if words:
            check_command(*words)


# Others' programs that are typed.
OTHERS = {
    *("cd", "cp", "curl", "echo", "eval", "export", "grep", "install", "kill", "mkdir", "rsync", "runuser", "sed"),
    *("sqlite3", "systemctl", "useradd"),
    *("az", "docker", "gcloud", "go", "htpasswd", "kubectl", "prometheus", "python3"),
}


def check_command(program: str, *arguments: str) -> None:
    """Hold one command against what it says of itself."""
    options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    name = re.sub(r"^(\.venv|/opt/athensd)/bin/", "", program)
    if name == "time":
        check_command(*[word for word in arguments if "=" not in word])
    elif name == "athensd":
        verb = arguments[: 2 if arguments[0] == "config" else 1]
        assert set(options) <= offered(str(Path(sys.executable).with_name("athensd")), *verb, "--help")
    elif name == "twistd":
        own = arguments.index("athens") if "athens" in arguments else len(arguments)
        assert set(arguments[:own]) <= {"-n", "-ny", "--nodaemon", "--help"}
        twistd = str(Path(sys.executable).with_name("twistd"))
        assert set(options) <= {*arguments[:own], *offered(twistd, "athens", "--help")}
    elif name.startswith("script/"):
        text = (ROOT / name).read_text()
        taken = "TWISTD OPTION" in text or "PYTEST ARGUMENT" in text
        assert all(taken or word in text for word in options)
        assert [word for word in arguments if word.startswith("tests") and not (ROOT / word).exists()] == []
    elif name == "pip":
        extras = [extra for found in re.findall(r"\[([\w,-]+)\]", arguments[-1]) for extra in found.split(",")]
        setup = (ROOT / "setup.py").read_text()
        assert [extra for extra in extras if f'"{extra}": [' not in setup] == []
    elif name == "python":
        assert (ROOT / arguments[0]).is_file()
        assert not options or set(options) <= offered(sys.executable, str(ROOT / arguments[0]), "--help")
    else:
        assert name in OTHERS


def offered(*command: str) -> set[str]:
    """The options that its help names."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd="/")
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout)) | {"--help"}


def test_toml() -> None:
    """Blocks that are settings are TOML, whose keys athensd knows by these names in these tables."""
    known = {key.path.lower() for key in KEYS}
    blocks = [
        (page.name, block)
        for page in PAGES
        for text in Text.of(page).code
        for block in re.split(r"\n\s*\n", text)
        if re.search(r"^\s*[A-Z]\w*[a-z]\w* = ", block, re.MULTILINE)
    ]

    def flat(table: dict[str, Any], before: str = "") -> list[str]:
        found = []
        for key, value in table.items():
            path = f"{before}{key}".lower()
            found += flat(value, f"{path}.") if isinstance(value, dict) and path not in known else [path]
        return found

    unknown = [(page, path) for page, block in blocks for path in flat(tomllib.loads(block)) if path not in known]
    assert blocks
    assert unknown == []
