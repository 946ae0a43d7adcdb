"""The corpus: one small repository for each peculiarity of a module."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.rig.corpus import Commit, make_repository

GO = b"package m\n\nconst Answer = %d\n"


def day(number: int) -> datetime:
    """A commit's time: some day of the corpus' January."""
    return datetime(2024, 1, number, 12, 0, 0, tzinfo=UTC)


def tree(module: str, number: int = 1, extra: str = "") -> dict[str, bytes]:
    """A module of one package; ``extra`` is added to its go.mod."""
    return {"go.mod": f"module {module}\n\ngo 1.20\n{extra}".encode(), "m.go": GO % number}


RETRACTED = "\nretract v1.1.0 // published by mistake\n"

REPOSITORIES: dict[str, list[Commit]] = {
    "example.test/m": [
        Commit(tree("example.test/m", 1), day(1), tags=("v0.9.0", "v1.0", "v1.0.0-rc.1")),
        Commit(tree("example.test/m", 2), day(2), tags=("v1.0.0", "v1.0.1+meta"), branches=("release",)),
        Commit(tree("example.test/m", 3), day(3)),
    ],
    "example.test/retracted": [
        Commit(tree("example.test/retracted"), day(1), tags=("v1.0.0",)),
        Commit(tree("example.test/retracted", extra=RETRACTED), day(2), tags=("v1.1.0",)),
    ],
    "example.test/nested": [
        Commit(
            {
                **tree("example.test/nested"),
                **{f"sub/{name}": data for name, data in tree("example.test/nested/sub").items()},
            },
            day(1),
            tags=("v0.1.0", "sub/v0.2.0"),
        ),
    ],
    "example.test/major": [
        Commit(tree("example.test/major"), day(1), tags=("v1.0.0",)),
        Commit(tree("example.test/major/v2"), day(2), tags=("v2.0.0",)),
    ],
    # No go.mod at all: the go command makes one.
    "example.test/old": [Commit({"old.go": GO % 1}, day(1), tags=("v1.0.0", "v2.0.0"))],
    "example.test/untagged": [Commit(tree("example.test/untagged"), day(1)), Commit(tree("x", 2), day(2))],
    "github.com/BurntSushi/Capital": [Commit(tree("github.com/BurntSushi/Capital"), day(1), tags=("v1.0.0-RC1",))],
    "example.test/toonew": [
        Commit({"go.mod": b"module example.test/toonew\n\ngo 1.999\n", "m.go": GO % 1}, day(1), tags=("v1.0.0",)),
    ],
    "example.test/lfs": [
        Commit(
            tree("example.test/lfs") | {".gitattributes": b"*.bin filter=lfs\n", "big.bin": b"pointer\n"},
            day(1),
            tags=("v1.0.0",),
        ),
    ],
    "github.com/pkg/errors": [Commit(tree("github.com/pkg/errors"), day(1), tags=("v0.9.1", "v2.0.0"))],
    "github.com/private/m": [Commit(tree("github.com/private/m"), day(1), tags=("v1.0.0",))],
}


def make_corpus(root: Path) -> None:
    """All repositories, each at ``root/<module path>.git``."""
    for path, commits in REPOSITORIES.items():
        make_repository(root / f"{path}.git", commits)
