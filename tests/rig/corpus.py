"""Git repositories made at test time, without a work tree and with the same hashes on every run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from attrs import frozen

GIT_ENVIRONMENT = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


@frozen
class Commit:
    """The whole tree of a commit on the branch ``main``, and the tags and branches that point at it."""

    files: Mapping[str, bytes]
    time: datetime
    tags: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()


def make_repository(directory: Path, commits: Iterable[Commit]) -> None:
    """Make a bare repository whose ``main`` is these commits, oldest first."""
    directory.mkdir(parents=True)
    _git(directory, "init", "-q", "--bare", "--initial-branch=main", ".")
    _git(directory, "fast-import", "--quiet", stdin=b"".join(map(_stream, commits)))


def head(directory: Path, revision: str = "main") -> str:
    """The commit that ``main``, or something else, points at."""
    return _git(directory, "rev-parse", revision).decode().strip()


def _git(directory: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=directory, env=GIT_ENVIRONMENT, input=stdin, check=True, stdout=subprocess.PIPE
    ).stdout


def _stream(commit: Commit) -> bytes:
    lines = [b"commit refs/heads/main", b"committer Corpus <corpus@example.test> %d +0000" % commit.time.timestamp()]
    lines += [_data(b"a commit"), b"deleteall"]
    for name, content in commit.files.items():
        lines += [b'M 100644 inline "%s"' % _quoted(name), _data(content)]
    for reference in (*(f"tags/{tag}" for tag in commit.tags), *(f"heads/{branch}" for branch in commit.branches)):
        lines += [f"reset refs/{reference}".encode(), b"from refs/heads/main", b""]
    return b"\n".join(lines) + b"\n"


def _quoted(name: str) -> bytes:
    return name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _data(content: bytes) -> bytes:
    return b"data %d\n%s" % (len(content), content)
