"""The credentials that settings name: what git and its like get to see of them, and nobody else.

Files (``NETRCPath``, ``HGRCPath``) are where tools look for them, in a HOME that has links to all else that is in the
operator's.  GitHub's token (``GithubToken``) is in no file, argument or environment of a child: git asks us for it over
a socket, by the client of its own credential cache.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from athensd.gomod.pattern import matches
from athensd.origin.go_environment import Access

GITHUB = "github.com"
LONGEST_QUESTION = 4096

# A variable that names such a file comes before the one in HOME.
NAMED_BY = {".netrc": "NETRC", ".hgrc": "HGRCPATH"}


class Credentials:
    """Gives ``access`` to go commands from ``start`` to ``stop``."""

    def __init__(
        self, reactor: Any, directory: Path, *, home: str = "", netrc: str = "", hgrc: str = "", github_token: str = ""
    ) -> None:
        """``directory`` is made when it is needed, and for the caller to remove in the end.

        ``home`` is HOME as it is for go otherwise.  ``netrc`` and ``hgrc`` are names of files; all may be empty.
        """
        self._reactor = reactor
        self._directory = directory
        self._theirs = Path(home).absolute() if home else None
        self._files = {name: Path(file).absolute() for name, file in ((".netrc", netrc), (".hgrc", hgrc)) if file}
        self._token = github_token
        self._socket: Path | None = None
        self._listening: Any = None  # an IListeningPort

    def access(self) -> Access:
        """What is given to a go command that begins now."""
        git = _ask_us(self._socket) if self._socket else ()
        if not self._files:
            return Access(git=git)
        home = self._directory / "home"
        follow(home, self._theirs, self._files)
        return Access({"HOME": str(home)}, [NAMED_BY[name] for name in self._files], git)

    def start(self) -> None:
        """Raises ``OSError`` or ``CannotListenError`` where a directory or a socket cannot be made."""
        if self._files:
            (self._directory / "home").mkdir(mode=0o700, parents=True)
        if self._token:
            socket = _short(self._directory) / "git"
            factory = Factory.forProtocol(lambda: _Question(self._token))
            factory.noisy = False
            self._listening = self._reactor.listenUNIX(str(socket), factory, mode=0o600)
            self._socket = socket

    async def stop(self) -> None:
        """Answer git no more."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await self._listening.stopListening()
            socket.parent.rmdir()


def follow(home: Path, theirs: Path | None, files: Mapping[str, Path]) -> None:
    """Have in ``home`` links to all that is in ``theirs`` now, but to ``files`` by their names.

    What is written to a file of the operator's gets there, no credential is copied, and a file that is new in HOME is
    new here too.
    """
    wanted = dict(files)
    if theirs is not None:
        with suppress(OSError):  # it need not be there, nor readable
            wanted = {name: theirs / name for name in os.listdir(theirs)} | wanted
    there = set(os.listdir(home))
    for name in wanted.keys() - there:
        (home / name).symlink_to(wanted[name])
    for name in there - wanted.keys():
        if (home / name).is_symlink():
            (home / name).unlink()


def answer(question: bytes, token: str) -> bytes:
    """What git's credential cache would say if it had GitHub's token and nothing else."""
    said = dict(line.split(b"=", 1) for line in question.splitlines() if b"=" in line)
    if (said.get(b"action"), said.get(b"protocol"), said.get(b"host")) != (b"get", b"https", GITHUB.encode()):
        return b""
    return f"username=x-access-token\npassword={token}\n".encode()


def netrc_hosts(text: str) -> Iterator[str]:
    """The machines that a netrc file names, read as the go command reads it: in pairs of words, line by line."""
    macro = False
    for line in text.split("\n"):
        words = line.split()
        macro = macro and bool(words)
        for key, value in zip(words[::2], words[1::2], strict=False):
            if key == "machine" and not macro:
                yield value
            macro = macro or key == "macdef"


def uncovered(hosts: Iterable[str], patterns: str) -> list[str]:
    """The hosts of which no module is private by the globs (``GONOPROXY``, ``GONOSUMDB``), in order, each once.

    A glob for some of a host's modules is enough.
    """
    globs = ",".join(glob.partition("/")[0] for glob in patterns.split(","))
    return sorted({host for host in hosts if not matches(globs, host)})


def _short(directory: Path) -> Path:
    """A new directory for a socket, whose whole name may have some hundred bytes and no more; only we can enter it."""
    if len(os.fsencode(directory)) > 80:
        return Path(tempfile.mkdtemp(prefix="athensd-"))
    socket = directory / "socket"
    socket.mkdir(mode=0o700, parents=True)
    return socket


def _ask_us(socket: Path) -> tuple[tuple[str, str], ...]:
    key = f"credential.https://{GITHUB}.helper"
    # Empty: no other helper is asked, nor given the token to keep, which git does once it has been accepted.
    return (key, ""), (key, f"cache --socket={shlex.quote(str(socket))}")


@implementer(IHalfCloseableProtocol)
class _Question(Protocol):
    """One question, which ends where its half of the connection does."""

    transport: Any  # a socket's, which can be cut off

    def __init__(self, token: str) -> None:
        self._token = token
        self._said = b""

    def dataReceived(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > LONGEST_QUESTION:
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        self.transport.write(answer(self._said, self._token))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """The other side has its answer."""
