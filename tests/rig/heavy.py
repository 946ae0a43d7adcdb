"""A repository with much history behind small tagged trees, and one with many modules: what a monorepo is like.

Random blobs that no tagged tree holds give the history its weight, as in a repository that once had binaries in it.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.rig.corpus import GIT_ENVIRONMENT, Commit, make_repository
from tests.rig.modules import day, tree

BLOB = 1 << 16
FIRST = 1_700_000_000  # the time of the first commit
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LINES = 350  # of a file; 800 files are then 11 MB, and 4 packed: about what golang.org/x/tools has


def make_heavy_repository(
    directory: Path, module: str, *, megabytes: float, tags: int, files: int = 800, changed: int = 30
) -> None:
    """Make a bare repository of so many megabytes with the tags ``v1.0.0``, ``v1.1.0`` and so on.

    From one tag to the next ``changed`` of the module's ``files`` get a new line.  ``main`` ends with ten commits
    that no tag points at.
    """
    chance = random.Random(module)
    directory.mkdir(parents=True)
    _git(directory, "init", "-q", "--bare", "--initial-branch=main", ".")
    # A random blob is no good to any other one: no time is spent on trying.
    _git(directory, "config", "core.bigFileThreshold", str(BLOB))
    with subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=directory, env=GIT_ENVIRONMENT, stdin=subprocess.PIPE
    ) as importing:
        assert importing.stdin is not None
        for piece in _history(chance, module, int(megabytes * 1e6 / BLOB), tags, files, changed):
            importing.stdin.write(piece)
        importing.stdin.close()
    assert importing.returncode == 0
    _git(directory, "repack", "-q", "-a", "-d", "-f")


def make_monorepo(directory: Path, module: str, modules: int) -> list[str]:
    """Make a bare repository with so many modules below ``module``, each with a tag; their paths."""
    names = [f"m{number:03}" for number in range(modules)]
    files = {f"{name}/{file}": data for name in names for file, data in tree(f"{module}/{name}").items()}
    make_repository(directory, [Commit(files, day(1), tags=tuple(f"{name}/v0.1.0" for name in names))])
    return [f"{module}/{name}" for name in names]


def add_commit(directory: Path, name: str, tag: str | None = None) -> str:
    """Add a commit with one more file to ``main``, and perhaps a tag; its hash."""
    count = int(_git(directory, "rev-list", "--count", "main"))
    lines = [*_commit(FIRST + count * 60, b"from refs/heads/main^0"), b"M 100644 inline %s" % name.encode()]
    lines += [_data(b"package m\n"), *(_tag(tag) if tag else ())]
    _git(directory, "fast-import", "--quiet", stdin=b"\n".join(lines) + b"\n")
    return _git(directory, "rev-parse", "main").decode().strip()


def _history(chance: random.Random, module: str, blobs: int, tags: int, files: int, changed: int) -> Iterator[bytes]:
    words = ["".join(chance.choices(LETTERS, k=7)) for _ in range(5000)]
    texts = {f"p{number % 40}/f{number}.go": _text(chance, words, LINES) for number in range(files)}
    new: Sequence[str] = list(texts)
    time = FIRST
    for number in range(tags):
        for _ in range(blobs // tags):
            time += 60
            yield b"\n".join(
                [*_commit(time), b"M 100644 inline .history/%d.bin" % (time // 60 % 50), _data(chance.randbytes(BLOB))]
            )
        time += 60
        yield b"\n".join(
            [*_commit(time), b"D .history", b"M 100644 inline go.mod", _data(b"module %s\n" % module.encode())]
        )
        for name in new:
            yield b"\n".join([b"\nM 100644 inline %s" % name.encode(), _data(texts[name])])
        yield b"\n".join([b"", *_tag(f"v1.{number}.0"), b""])
        new = chance.sample(list(texts), changed)
        for name in new:
            texts[name] += _text(chance, words, 1)
    for number in range(10):
        time += 60
        yield b"\n".join([*_commit(time), b"M 100644 inline NOTES", _data(b"note %d\n" % number), b""])


def _commit(time: int, *parents: bytes) -> list[bytes]:
    committer = b"committer Corpus <corpus@example.test> %d +0000" % time
    return [b"commit refs/heads/main", committer, _data(b"a commit"), *parents]


def _tag(name: str) -> list[bytes]:
    return [f"reset refs/tags/{name}".encode(), b"from refs/heads/main", b""]


def _text(chance: random.Random, words: Sequence[str], lines: int) -> bytes:
    line = "// %s %08x\n"
    return "".join(line % (" ".join(chance.choices(words, k=4)), chance.getrandbits(32)) for _ in range(lines)).encode()


def _data(content: bytes) -> bytes:
    return b"data %d\n%s" % (len(content), content)


def _git(directory: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=directory, env=GIT_ENVIRONMENT, input=stdin, check=True, stdout=subprocess.PIPE
    ).stdout
