"""What the settings' credentials are for, and who is told of them."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Protocol

from athensd.origin.credentials import LONGEST_QUESTION, Credentials, answer, follow, netrc_hosts, uncovered
from athensd.origin.go_environment import Access

ASKED = b"action=get\ntimeout=900\nprotocol=https\nhost=github.com\n"


def test_answer() -> None:
    """git is told user and token in its own form."""
    assert answer(ASKED, "t0ken") == b"username=x-access-token\npassword=t0ken\n"


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xff=\xff\n",
        ASKED.replace(b"get", b"store") + b"username=x\npassword=y\n",
        ASKED.replace(b"get", b"erase"),
        ASKED.replace(b"https", b"http"),
        ASKED.replace(b"github.com", b"github.com.example.test"),
        ASKED.replace(b"github.com", b"github.com:8443"),
        ASKED.replace(b"github.com", b"gist.github.com"),
    ],
)
def test_no_answer(question: bytes) -> None:
    """Whoever asks for another host, or without encryption, or to keep a password, is told nothing."""
    assert answer(question, "t0ken") == b""


class _Asking(Protocol):
    def __init__(self) -> None:
        self.said = b""
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.said += data

    def connectionLost(self, reason: object) -> None:
        self.over.callback(self.said)


async def ask(credentials: Credentials, question: bytes) -> bytes:
    """What the socket that git is led to says."""
    (_key, nobody), (_key, helper) = credentials.access().git
    assert nobody == ""
    asking = await ClientCreator(reactor, _Asking).connectUNIX(helper.partition("--socket=")[2])
    asking.transport.write(question)
    asking.transport.loseWriteConnection()
    return await asking.over


@pytest.mark.parametrize("name", ["here", "x" * 100])
@ensureDeferred
async def test_socket(tmp_path: Path, name: str) -> None:
    """It answers those who may open it, this user only, until it is stopped; then nothing is left of it.

    That is so too where its directory has a name that is too long for a socket.
    """
    credentials = Credentials(reactor, tmp_path / name, github_token="t0ken")
    assert not credentials.access().git
    credentials.start()
    socket = Path(credentials.access().git[1][1].partition("--socket=")[2])
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert await ask(credentials, ASKED) == answer(ASKED, "t0ken")
    assert await ask(credentials, b"action=get\n") == b""
    assert await ask(credentials, ASKED + b"x" * LONGEST_QUESTION) == b""
    await credentials.stop()
    assert not socket.parent.exists()
    assert not credentials.access().git


@ensureDeferred
async def test_nothing_is_set(tmp_path: Path) -> None:
    """Without settings nothing is given or made; stopping is no fault."""
    credentials = Credentials(reactor, tmp_path / "place", home=str(tmp_path))
    credentials.start()
    assert credentials.access() == Access()
    await credentials.stop()
    assert not (tmp_path / "place").exists()


def test_files(tmp_path: Path) -> None:
    """HOME has all that the operator's has, and in it the given files stand in place of theirs."""
    theirs, netrc = tmp_path / "home", tmp_path / "netrc"
    (theirs / ".ssh").mkdir(parents=True)
    (theirs / ".netrc").write_text("theirs")
    netrc.write_text("ours")
    credentials = Credentials(reactor, tmp_path / "place", home=str(theirs), netrc=str(netrc), hgrc="relative")
    credentials.start()
    access = credentials.access()
    home = Path(access.environment["HOME"])
    assert (home / ".netrc").read_text() == "ours"
    assert {path.name for path in home.iterdir() if path.is_symlink()} == {".netrc", ".hgrc", ".ssh"}
    assert (home / ".hgrc").readlink() == Path("relative").absolute()
    assert sorted(access.not_passed_on) == ["HGRCPATH", "NETRC"]
    (home / ".ssh/known_hosts").touch()
    shutil.rmtree(tmp_path / "place")
    assert (theirs / ".ssh/known_hosts").exists()
    assert (theirs / ".netrc").read_text() == "theirs"


def test_home_is_followed(tmp_path: Path) -> None:
    """What is new in the operator's HOME is there for the next command, what is gone is not; a tool's file stays."""
    theirs, home, files = tmp_path / "theirs", tmp_path / "home", {".netrc": tmp_path / "netrc"}
    theirs.mkdir()
    home.mkdir()
    (theirs / ".gitconfig").touch()
    follow(home, theirs, files)
    (theirs / ".gitconfig").rename(theirs / ".hgrc")
    (home / ".fossil").touch()
    follow(home, theirs, files)
    assert sorted(path.name for path in home.iterdir()) == [".fossil", ".hgrc", ".netrc"]


@pytest.mark.parametrize("theirs", [None, Path("/nowhere/at/all")])
def test_no_home(tmp_path: Path, theirs: Path | None) -> None:
    """Where the operator has no HOME there are the given files only."""
    follow(tmp_path, theirs, {".netrc": Path("/etc/netrc")})
    assert [path.name for path in tmp_path.iterdir()] == [".netrc"]


def test_token_is_not_shown(tmp_path: Path) -> None:
    """Whoever prints the object sees no token."""
    assert "t0ken" not in repr(Credentials(reactor, tmp_path, github_token="t0ken"))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("machine a.test login me password x\nmachine b.test login me password y\n", ["a.test", "b.test"]),
        ("machine a.test\nlogin me\npassword x\n", ["a.test"]),
        ("default login me password x\n", []),
        ("machine a.test login me password machine\nlogin b.test\n", ["a.test"]),
        ("macdef init\nmachine macro.test\n\nmachine a.test login me password x\n", ["a.test"]),
        ("", []),
        ("machine", []),
    ],
)
def test_netrc_hosts(text: str, hosts: list[str]) -> None:
    """Machines and nothing else of a netrc file: a password is never taken for one."""
    assert list(netrc_hosts(text)) == hosts


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("", ["git.corp.test", "github.com"]),
        ("git.corp.test", ["github.com"]),
        ("*.corp.test,github.com/company/*", []),
        ("corp.test", ["git.corp.test", "github.com"]),
        ("github.com/company", ["git.corp.test"]),
        ("*", []),
        ("[", ["git.corp.test", "github.com"]),
    ],
)
def test_uncovered(patterns: str, left: list[str]) -> None:
    """A host is covered by a glob for itself or for some of its modules."""
    assert uncovered(["github.com", "git.corp.test", "github.com"], patterns) == left
