"""What is fetched before anybody asks for it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from twisted.internet.defer import Deferred

from athensd.ahead import AT_ONCE, MOST_WAITING, Ahead
from athensd.blob import BytesBlob
from athensd.errors import NotFound, Overloaded
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, Kind
from athensd.storage.nothing import NoStorage
from tests.fakes import result_of, start


def version(name: str) -> ModuleVersion:
    return ModuleVersion(f"example.test/{name}", "v1.0.0")


def mod(*requires: str, go: str = "") -> bytes:
    return f"{go}\n{chr(10).join(f'require example.test/{name} v1.0.0' for name in requires)}\n".encode()


class Stash:
    """Gives go.mod files, each when it is let; remembers what was asked for."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = {version(name): BytesBlob(text) for name, text in files.items()}
        self.asked: list[str] = []
        self.held: list[Deferred[None]] | None = None
        self.failure: Exception | None = None

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        self.asked.append(f"{version.path.removeprefix('example.test/')}.{kind.value}")
        if self.held is not None:
            self.held.append(Deferred())
            await self.held[-1]
        if self.failure is not None:
            raise self.failure
        if kind is not Kind.MOD or version not in self.files:
            raise NotFound(str(version))
        return self.files[version]


GRAPH = {
    "old": mod("a", "b"),
    "a": mod("c", go="go 1.20"),
    "b": mod("a", "c", "lost"),
    "c": mod("old"),
    "new": mod("a", go="go 1.17"),
}


@pytest.fixture
def stash() -> Stash:
    return Stash(GRAPH)


def ahead_of(stash: Stash, unwanted: str = "") -> Ahead:
    return Ahead(stash, NoStorage(), lambda each: each.path != f"example.test/{unwanted}")


def test_the_whole_graph_of_an_old_one(stash: Stash) -> None:
    """Of a module before go 1.17 all is read that it requires, and so on; each once, and what is lost harms nothing."""
    assert result_of(start(ahead_of(stash).fetch(version("old"), Kind.MOD))).data == GRAPH["old"]
    assert sorted(stash.asked) == ["a.mod", "b.mod", "c.mod", "lost.mod", "old.mod", "old.mod"]


def test_nothing_of_a_new_one(stash: Stash) -> None:
    """Of what a newer module requires a go command reads nothing on its account."""
    result_of(start(ahead_of(stash).fetch(version("new"), Kind.MOD)))
    assert stash.asked == ["new.mod"]


def test_other_files(stash: Stash) -> None:
    """Of a zip or an .info nothing follows, and a failure is the asker's."""
    for kind in (Kind.ZIP, Kind.INFO):
        with pytest.raises(NotFound):
            result_of(start(ahead_of(stash).fetch(version("old"), kind)))
    assert stash.asked == ["old.zip", "old.info"]


def test_what_is_not_wanted(stash: Stash) -> None:
    """What the rules do not let in is not fetched, nor what only that leads to."""
    result_of(start(ahead_of(stash, unwanted="b").fetch(version("old"), Kind.MOD)))
    assert "b.mod" not in stash.asked
    assert "lost.mod" not in stash.asked


def test_nobody_waits_for_it(stash: Stash) -> None:
    """So many are under way at a time and no more, and who asked has his answer by then."""
    stash.files[version("wide")] = BytesBlob(mod(*(f"w{number}" for number in range(50))))
    ahead = ahead_of(stash)
    asker = start(ahead.fetch(version("wide"), Kind.MOD))
    assert asker.called
    stash.asked.clear()
    stash.held = []
    again = ahead_of(stash)
    asker = start(again.fetch(version("wide"), Kind.MOD))
    stash.held.pop(0).callback(None)
    assert asker.called
    assert len(stash.held) == AT_ONCE
    stash.held.pop(0).callback(None)
    assert len(stash.held) == AT_ONCE
    again.stop()
    for held in stash.held[:]:
        held.callback(None)
    assert len(stash.asked) == AT_ONCE + 2


def test_under_load(stash: Stash) -> None:
    """When a queue is full those who ask come first: what was to be fetched is forgotten."""
    stash.files[version("wide")] = BytesBlob(mod(*(f"w{number}" for number in range(50))))
    stash.held = []
    ahead = ahead_of(stash)
    start(ahead.fetch(version("wide"), Kind.MOD))
    stash.held.pop(0).callback(None)
    stash.failure = Overloaded("busy")
    for held in stash.held[:]:
        held.callback(None)
    assert len(stash.asked) == 1 + AT_ONCE


def test_bounds(stash: Stash) -> None:
    """However much a module requires, so many wait and no more."""
    stash.files[version("huge")] = BytesBlob(mod(*(f"h{number}" for number in range(3 * MOST_WAITING))))
    stash.held = []
    ahead = ahead_of(stash)
    start(ahead.fetch(version("huge"), Kind.MOD))
    stash.held.pop(0).callback(None)
    assert len(ahead._waiting) <= MOST_WAITING


def test_a_store_that_has_much(stash: Stash) -> None:
    """Reading hundreds of go.mod files that are stored is a loop: none is lost, and the next are fetched as well."""
    wide = [f"w{number}" for number in range(500)]
    storage = Stored({name: mod() for name in wide})
    stash.files[version("wide")] = BytesBlob(mod(*wide))
    stash.files[version("next")] = BytesBlob(mod("a"))
    ahead = Ahead(stash, storage, lambda each: True)
    result_of(start(ahead.fetch(version("wide"), Kind.MOD)))
    assert storage.opened == 500
    result_of(start(ahead.fetch(version("next"), Kind.MOD)))
    assert stash.asked[-1] in {"a.mod", "c.mod", "old.mod", "b.mod", "lost.mod"}


class Stored(NoStorage):
    """Has go.mod files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = {version(name): BytesBlob(text) for name, text in files.items()}
        self.opened = 0

    async def open(self, version: ModuleVersion, kind: Kind) -> Blob:
        if version not in self.files:
            return await super().open(version, kind)
        self.opened += 1
        return self.files[version]
