"""What go's complaints become, by what go and git said when every case of tests/rig/failures.py was run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from athensd.errors import AthensError, NotFound, Overloaded, UpstreamFailed, VerificationFailed
from athensd.origin.go_complaints import UNKNOWN, complaint, is_certain, is_damage, without_credentials
from athensd.origin.go_process import GoCommand
from tests.rig.failures import CASES, Case, run_case, serve

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "failures.json").read_text())
FAILING = [case for case in CASES if case.word is not None]

GIT = "m@v1: git fetch -f https://h/x in /cache/vcs/0: exit status 128:\n\t"


def of(text: str, path: str = "example.test/m", version: str = "v1.0.0", origin: Any = None) -> AthensError:
    return complaint(text, path=path, version=version, origin=origin)


def sorted_as(case: Case, said: dict[str, Any]) -> AthensError | None:
    return of(said["text"], case.path, case.version, said["origin"]) if said["text"] else None


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    """Each way to fail becomes its word, and none is unknown."""
    error = sorted_as(case, RECORDED[case.name])
    assert type(error) is case.word
    assert UNKNOWN.text not in str(error)


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_what_a_client_reads(case: Case) -> None:
    """A text says what was asked and nothing of this machine, of other addresses or of what a host answered."""
    text = str(sorted_as(case, RECORDED[case.name]))
    assert text.startswith(f"{case.path}@{case.version}: ")
    rest = text.removeprefix(f"{case.path}@{case.version}: ")
    for secret in ("/srv/athens", "://", "127.0.0.1", "192.0.2.53", "internal host words", "exit status", "\n"):
        assert secret not in rest


@pytest.mark.slow
@ensureDeferred
async def test_live(tmp_path: Path) -> None:
    """The go command and git of this machine still say what is sorted here."""
    for program in ("go", "git"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} command")
    hosts = serve(reactor, tmp_path)
    try:
        go = GoCommand(reactor, "go")
        found = {case.name: sorted_as(case, await run_case(case, go, hosts, tmp_path)) for case in CASES}
    finally:
        await DeferredList(hosts.stop())
    words = {name: type(error) if error else None for name, error in found.items()}
    assert words == {case.name: case.word for case in CASES}
    assert not [name for name, error in found.items() if UNKNOWN.text in str(error)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("verifying m@v1: checksum mismatch\n\tdownloaded: h1:x\n\nSECURITY ERROR", VerificationFailed),
        (GIT + "fatal: unable to access 'https://h/': Operation too slow. Less than 1 bytes/sec", UpstreamFailed),
        (GIT + "error: RPC failed; curl 56 Recv failure: Connection reset by peer", UpstreamFailed),
        (GIT + "fatal: early EOF", UpstreamFailed),
        (GIT + "Host key verification failed.\r\n\tfatal: Could not read from remote repository.", NotFound),
        (GIT + "git@h: Permission denied (publickey).\r\n\tfatal: Could not read from remote repository.", NotFound),
        (GIT + "ERROR: Repository not found.\n\tfatal: Could not read from remote repository.", NotFound),
        (
            GIT + "ssh: Could not resolve hostname h: x\r\n\tfatal: Could not read from remote repository.",
            UpstreamFailed,
        ),
        (GIT + "bash: git-upload-pack: command not found", UpstreamFailed),
        (GIT + "fatal: write error: No space left on device", UpstreamFailed),
        (GIT + "fatal: fetch-pack: invalid index-pack output", UpstreamFailed),
        ("m: git init --bare in /cache/vcs/0: exit status 128:\n\tfatal: out of cheese", UpstreamFailed),
        ("", UpstreamFailed),
    ],
)
def test_other_complaints(text: str, word: type[AthensError]) -> None:
    """Complaints that no rig can make on purpose; what is unknown is a failure and never "not there"."""
    assert type(of(text)) is word


@pytest.mark.parametrize(
    "text",
    [
        "remote: 404 Not Found: unknown revision",
        "fatal: remote error: repository 'x' not found",
        "fatal: unable to access 'https://h/unknown-revision/404/': gnutls_handshake() failed",
    ],
)
def test_words_of_others_decide_nothing(text: str) -> None:
    """What a host says, or calls its paths, is not taken for go's own words."""
    assert type(of(GIT + text)) is UpstreamFailed


@pytest.mark.parametrize(
    "path", ["example.test/checksum mismatch", "example.test/x/unknown revision", "TLS.test/: 429 "]
)
def test_names_decide_nothing(path: str) -> None:
    """A module's name is not taken for go's own words either."""
    assert UNKNOWN.text in str(of(f"{path}@v1.0.0: something new", path=path))


def test_short_names_spare_the_words() -> None:
    """A branch called ``a`` does not take the letter out of every word."""
    assert type(of("example.test/m@a: invalid version: unknown revision a", version="a")) is NotFound


def test_certain_when_the_repository_was_read() -> None:
    """With an Origin the answer "no such version" stands even beside words that look like a passing trouble."""
    text = "example.test/m@v9: invalid version: unknown revision v9 (certificate)"
    assert type(of(text, version="v9")) is UpstreamFailed
    assert type(of(text, version="v9", origin={"VCS": "git"})) is NotFound


@pytest.mark.parametrize(
    "text", [GIT + "fatal: fetch-pack: invalid index-pack output", "write /tmp/go-codehost-1: file too large"]
)
def test_file_limit(text: str) -> None:
    """What the limit on files has stopped is said to be too large, and a broken transfer is not."""
    assert "larger file" in str(of(text))
    assert "larger file" not in str(of(f"{GIT}fatal: early EOF\n\t{text}"))


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("example.test/m@v9: invalid version: unknown revision v9", True),
        ("module example.test/m: no matching versions for query v9", True),
        ("example.test/m@v9: invalid version: unknown revision refs/tags/v9", False),
        (GIT + "fatal: early EOF", False),
        ("", False),
    ],
)
def test_certain(text: str, certain: bool) -> None:
    """What a repository lacks it lacks until it changes; a trouble of the moment is no such thing."""
    assert is_certain(text, path="example.test/m", version="v9") is certain


def test_asking_again_later() -> None:
    """Whoever is throttled is told to wait."""
    error = of(GIT + "fatal: unable to access 'https://h/': The requested URL returned error: 429")
    assert isinstance(error, Overloaded)
    assert error.retry_after > 0


@pytest.mark.parametrize(
    "text",
    [
        GIT + "fatal: Unable to create '/c/0/shallow.lock': File exists.",
        GIT + f"error: invalid object 100644 {'b' * 40} for 'go.mod'\n\terror: cannot read '{'b' * 40}'",
        GIT + f"fatal: not a tree object: {'1' * 40}",
        GIT + f"fatal: bad object {'0' * 40}",
        "example.test/m@v1.0.0: invalid version: unknown revision refs/tags/v1.0.0",
        GIT + "fatal: 'origin' does not appear to be a git repository",
        GIT + "error: could not lock config file /c/0/config: File exists",
        f"git archive x in /m/cache/vcs/{'0' * 64}: chdir /m/cache/vcs/{'0' * 64}: no such file or directory",
    ],
)
def test_damage(text: str) -> None:
    """A clone that a killed command damaged is a failure of ours, even where go says "unknown revision"."""
    assert is_damage(text, path="example.test/m", version="v1.0.0")
    assert type(of(text, origin={"VCS": "git"})) is UpstreamFailed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_damage(case: Case) -> None:
    """No other failure is taken for damage, which would cost a clone."""
    assert not is_damage(RECORDED[case.name]["text"], path=case.path, version=case.version)


def test_asked_for_a_reference() -> None:
    """A full reference that was asked for and is not there is not found."""
    text = "example.test/m@refs/tags/x: invalid version: unknown revision refs/tags/x"
    assert not is_damage(text, path="example.test/m", version="refs/tags/x")
    assert type(of(text, version="refs/tags/x")) is NotFound


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("'https://user:token@h/x' not found", "'https://***@h/x' not found"),
        ("ssh://git@h/x and http://t:p@h", "ssh://***@h/x and http://***@h"),
        ("https://h/x@v1.0.0 is fine", "https://h/x@v1.0.0 is fine"),
    ],
)
def test_log(text: str, logged: str) -> None:
    """The log gets everything but the credentials in URLs."""
    assert without_credentials(text) == logged
