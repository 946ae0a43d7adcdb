"""Which repository a module is kept in."""

from __future__ import annotations

import pytest

from athensd.origin.repositories import Repositories

URL = "https://git.test/mono"


@pytest.mark.parametrize(
    ("path", "subdir", "asked"),
    [
        ("example.test/mono", "", "example.test/mono"),
        ("example.test/mono", "", "example.test/mono/sub"),
        ("example.test/mono/a", "a", "example.test/mono/b"),
        ("example.test/mono/a/b", "a/b", "example.test/mono"),
        ("example.test/mono/a/v2", "a", "example.test/mono/b"),
        ("example.test/mono/a/v2", "a/v2", "example.test/mono/b"),
        ("example.test/mono/v3", "", "example.test/mono/b"),
        ("example.test/mono", "go", "example.test/mono/sub"),
    ],
)
def test_learned(path: str, subdir: str, asked: str) -> None:
    """From one module of a repository, the others are known too."""
    repositories = Repositories()
    repositories.learn(path, {"URL": URL, "Subdir": subdir})
    assert repositories.url(asked) == URL


@pytest.mark.parametrize("asked", ["example.test/monolith", "example.test", "example.test/other/mono"])
def test_not_of_it(asked: str) -> None:
    """A path that is not below the repository's is not known by it."""
    repositories = Repositories()
    repositories.learn("example.test/mono", {"URL": URL})
    assert repositories.url(asked) is None


def test_inner_repository() -> None:
    """Of two roots the longer one counts."""
    repositories = Repositories()
    repositories.learn("example.test/a", {"URL": "https://git.test/a"})
    repositories.learn("example.test/a/b", {"URL": "https://git.test/b"})
    assert repositories.url("example.test/a/b/c") == "https://git.test/b"
    assert repositories.url("example.test/a/c") == "https://git.test/a"


def test_known_by_its_path() -> None:
    """At some hosts the path says it, and nothing needs to be learned."""
    repositories = Repositories()
    assert repositories.url("github.com/a/b/c/v2") == "https://github.com/a/b"
    assert repositories.url("github.com/a") is None
    assert repositories.url("github.community/a/b") is None


def test_moved() -> None:
    """What was learned last counts."""
    repositories = Repositories()
    repositories.learn("example.test/m", {"URL": "https://old.test/m"})
    repositories.learn("example.test/m", {"URL": URL})
    repositories.learn("example.test/m", {"VCS": "mod"})
    assert repositories.url("example.test/m") == URL


def test_bounded() -> None:
    """It forgets what was not used for long."""
    repositories = Repositories(limit=2)
    repositories.learn("x.test/a", {"URL": "https://x.test/a"})
    repositories.learn("x.test/b", {"URL": "https://x.test/b"})
    assert repositories.url("x.test/a")
    repositories.learn("x.test/c", {"URL": "https://x.test/c"})
    assert [bool(repositories.url(f"x.test/{name}")) for name in "abc"] == [True, False, True]
