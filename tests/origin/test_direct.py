"""Modules fetched by the real go command and git, from hosts on loopback."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import blockon, ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, TimedOut, UpstreamFailed
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip
from athensd.interfaces import IOrigin, Kind
from athensd.origin.direct import DirectOrigin
from athensd.origin.go_process import Finished, GoCommand
from athensd.origin.turns import Turns
from athensd.origin.vcs_cache import VcsCache
from athensd.spool import Spool
from tests.fakes import Steps
from tests.rig.corpus import Commit, head, make_repository
from tests.rig.git_log import GitLog
from tests.rig.heavy import add_commit, make_heavy_repository, make_monorepo
from tests.rig.hosts import Hosts, World
from tests.rig.modules import day, make_corpus, tree
from tests.rig.upstream import Unreachable, make_real_repository

pytestmark = pytest.mark.skipif(
    not (shutil.which("go") and shutil.which("git")), reason="there is no go command or no git"
)

ALL = {Kind.INFO, Kind.MOD, Kind.ZIP}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    make_corpus(root)
    return root


@pytest.fixture
def hosts(corpus: Path, tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(reactor, World(corpus), tmp_path)
    yield hosts
    blockon(DeferredList(hosts.stop()))


class Room:
    """A place to fetch into, and origins that work in it; most tests share their clones, to be quick."""

    def __init__(self, tmp_path: Path, vcs: Path, host: dict[str, str], corpus: Path) -> None:
        self.tmp_path = tmp_path
        self.corpus = corpus
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.vcs = vcs
        self.spool = Spool(tmp_path / "spool")
        self.git = GitLog(tmp_path / "bin")
        self.host = {"PATH": self.git.path, "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", **host}

    def origin(
        self,
        settings: dict[str, str] | None = None,
        go: Any = None,
        timeout: float = 60,
        in_thread: Callable[..., Awaitable[Any]] = deferToThread,
        limit: int | None = None,
    ) -> DirectOrigin:
        return DirectOrigin(
            go=go or GoCommand(reactor, "go"),
            flight=MemoryFlight(),
            spool=self.spool,
            in_thread=in_thread,
            host=self.host,
            settings=settings or {},
            vcs=VcsCache(self.vcs, limit),
            timeout=timeout,
            turns=Turns("direct", 10, 1000),
        )

    async def files(
        self, path: str, version: str, kind: Kind = Kind.ZIP, origin: DirectOrigin | None = None
    ) -> dict[Kind, bytes]:
        """What a fetch brings, read into memory."""
        with self.spool.directory() as into:
            fetched = await (origin or self.origin()).fetch(ModuleVersion(path, version), kind, into)
            return {kind: await read_all(blob) for kind, blob in fetched.items()}

    def clones(self) -> list[Path]:
        """The clones that there are."""
        return [path.with_suffix("") for path in self.vcs.glob("*.info")]


@pytest.fixture
def room(hosts: Hosts, corpus: Path, tmp_path: Path) -> Room:
    return Room(tmp_path, corpus / "vcs", hosts.environment(), corpus)


@pytest.fixture
def clean_room(hosts: Hosts, tmp_path: Path) -> Room:
    """A room without any clone."""
    return Room(tmp_path, tmp_path / "vcs", hosts.environment(), hosts.world.root)


def names(data: bytes) -> list[str]:
    return sorted(zipfile.ZipFile(io.BytesIO(data)).namelist())


def test_is_an_origin(room: Room) -> None:
    """It keeps the contract of an origin."""
    assert verifyObject(IOrigin, room.origin())


LISTS = [
    ("example.test/m", {"v0.9.0", "v1.0.0-rc.1", "v1.0.0"}),
    ("example.test/retracted", {"v1.0.0", "v1.1.0"}),
    ("example.test/nested", {"v0.1.0"}),
    ("example.test/nested/sub", {"v0.2.0"}),
    ("example.test/major", {"v1.0.0"}),
    ("example.test/major/v2", {"v2.0.0"}),
    ("example.test/old", {"v1.0.0", "v2.0.0+incompatible"}),
    ("example.test/untagged", set()),
    ("example.test/toonew", {"v1.0.0"}),
    ("github.com/BurntSushi/Capital", {"v1.0.0-RC1"}),
]


@pytest.mark.parametrize(("path", "versions"), LISTS)
@ensureDeferred
async def test_list(room: Room, path: str, versions: set[str]) -> None:
    """A list has the tags that are versions of just this module, retracted ones too; a module without any has none."""
    assert {listed.version for listed in await room.origin().list(path)} == versions


RESOLVED = [
    ("example.test/m", "latest", "v1.0.0", "2024-01-02T12:00:00Z"),
    ("example.test/m", "release", "v1.0.0", "2024-01-02T12:00:00Z"),
    ("example.test/m", "v0", "v0.9.0", "2024-01-01T12:00:00Z"),
    ("example.test/m", "v1.0", "v1.0.0", "2024-01-02T12:00:00Z"),
    ("example.test/m", "v1.0.0-rc.1", "v1.0.0-rc.1", "2024-01-01T12:00:00Z"),
    ("example.test/retracted", "latest", "v1.1.0", "2024-01-02T12:00:00Z"),
    ("example.test/nested/sub", "latest", "v0.2.0", "2024-01-01T12:00:00Z"),
    ("example.test/major/v2", "latest", "v2.0.0", "2024-01-02T12:00:00Z"),
    ("github.com/BurntSushi/Capital", "latest", "v1.0.0-RC1", "2024-01-01T12:00:00Z"),
]


@pytest.mark.parametrize(("path", "query", "version", "time"), RESOLVED)
@ensureDeferred
async def test_resolve(room: Room, path: str, query: str, version: str, time: str) -> None:
    """A query becomes a version, with its time and with where it was found."""
    info = await room.origin().resolve(path, query)
    assert (info.version, info.time) == (version, time)
    assert info.origin is not None
    assert info.origin["VCS"] == "git"


@pytest.mark.parametrize(("query", "length"), [("main", 0), ("commit", 40), ("commit", 12), ("commit", 7)])
@ensureDeferred
async def test_resolve_without_a_tag(room: Room, corpus: Path, query: str, length: int) -> None:
    """A branch or commit past a tag becomes the pseudo-version after that tag (go counts ``v1.0.1+meta`` here)."""
    commit = head(corpus / "example.test/m.git")
    info = await room.origin().resolve("example.test/m", commit[:length] or query)
    assert info.version == f"v1.0.2-0.20240103120000-{commit[:12]}"
    assert info.time == "2024-01-03T12:00:00Z"


@ensureDeferred
async def test_latest_of_an_untagged_module(room: Room, corpus: Path) -> None:
    """The latest version of a module without tags is its newest commit."""
    commit = head(corpus / "example.test/untagged.git")
    assert (await room.origin().resolve("example.test/untagged", "latest")).version.endswith(commit[:12])


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("example.test/m", "nobranch"),
        ("example.test/none", "latest"),
        ("example.test/nested/none", "latest"),
        ("example.test/m", "upgrade"),
        ("example.test/m", "patch"),
        ("example.test/m", "../../x"),
        ("example.test/m", "-x"),
        ("-reuse=x", "latest"),
    ],
)
@ensureDeferred
async def test_resolve_what_is_not_there(room: Room, path: str, query: str) -> None:
    """A branch, module or query that does not exist is not found."""
    with pytest.raises(NotFound):
        await room.origin().resolve(path, query)


FETCHED = [
    ("example.test/m", "v1.0.0", ["go.mod", "m.go"]),
    ("example.test/retracted", "v1.1.0", ["go.mod", "m.go"]),
    ("example.test/nested", "v0.1.0", ["go.mod", "m.go"]),
    ("example.test/nested/sub", "v0.2.0", ["go.mod", "m.go"]),
    ("example.test/major/v2", "v2.0.0", ["go.mod", "m.go"]),
    ("example.test/old", "v2.0.0+incompatible", ["old.go"]),
    ("github.com/BurntSushi/Capital", "v1.0.0-RC1", ["go.mod", "m.go"]),
]


@pytest.mark.parametrize(("path", "version", "members"), FETCHED)
@ensureDeferred
async def test_fetch(room: Room, path: str, version: str, members: list[str]) -> None:
    """A fetch brings the three files, whole, and leaves nothing else behind."""
    files = await room.files(path, version)
    assert files.keys() == ALL
    assert names(files[Kind.ZIP]) == [f"{path}@{version}/{member}" for member in members]
    assert f'"Version":"{version}"'.encode() in files[Kind.INFO]
    assert files[Kind.MOD].startswith(f"module {path}\n".encode())
    check_zip(io.BytesIO(files[Kind.ZIP]), ModuleVersion(path, version))
    assert list(room.tmp_path.glob("spool/*/*")) == []


@ensureDeferred
async def test_fetch_pseudo_version(room: Room) -> None:
    """A commit is fetched by the pseudo-version that it resolves to."""
    version = (await room.origin().resolve("example.test/m", "main")).version
    assert (await room.files("example.test/m", version)).keys() == ALL


@pytest.mark.parametrize(
    ("version", "word"), [("v1.7.0", NotFound), ("v1.0", UpstreamFailed), ("main", UpstreamFailed)]
)
@ensureDeferred
async def test_fetch_what_is_no_version_of_it(room: Room, version: str, word: type[Exception]) -> None:
    """A version that is not there is not found; an answer about another version than was asked is a failure."""
    with pytest.raises(word):
        await room.files("example.test/m", version)


@ensureDeferred
async def test_newer_go_needed(room: Room) -> None:
    """A module for a newer go has its info and go.mod, and no zip for a reason that is told."""
    files = await room.files("example.test/toonew", "v1.0.0", Kind.MOD)
    assert files.keys() == {Kind.INFO, Kind.MOD}
    with pytest.raises(UpstreamFailed, match=r"too old for it.*requires go >= 1\.999"):
        await room.files("example.test/toonew", "v1.0.0")


@ensureDeferred
async def test_fetches_at_the_same_time(room: Room) -> None:
    """Those who want files of one version at the same time share one go command, and each gets all files."""
    origin = room.origin()
    with capture_logs() as logs:
        every = await gatherResults(
            [
                Deferred.fromCoroutine(room.files("example.test/m", "v1.0.0", kind, origin))
                for kind in sorted(ALL, key=str)
            ]
        )
    assert len([line for line in logs if line["event"] == "go command"]) == 1
    assert every[0] == every[1] == every[2]
    assert every[0].keys() == ALL


@ensureDeferred
async def test_joining_late(room: Room) -> None:
    """Whoever joins after the files were handed out, while the work is being cleared away, gets files too."""
    clearing: list[Deferred[None]] = []

    async def in_thread(work: Callable[..., Any], *arguments: Any) -> None:
        clearing.append(Deferred())
        await clearing[-1]
        work(*arguments)

    origin = room.origin(in_thread=in_thread)
    early = Deferred.fromCoroutine(room.files("example.test/m", "v1.0.0", Kind.MOD, origin))
    while not clearing:
        await deferLater(reactor, 0.02)
    late = Deferred.fromCoroutine(room.files("example.test/m", "v1.0.0", Kind.ZIP, origin))
    clearing[0].callback(None)
    while len(clearing) < 2:
        await deferLater(reactor, 0.02)
    clearing[1].callback(None)
    assert (await early).keys() == (await late).keys() == ALL
    assert origin._downloads == {}


@ensureDeferred
async def test_leaving_early(room: Room) -> None:
    """A taker that leaves does not disturb the others."""
    origin = room.origin()
    leaving = Deferred.fromCoroutine(room.files("example.test/m", "v1.0.0", Kind.MOD, origin))
    staying = Deferred.fromCoroutine(room.files("example.test/m", "v1.0.0", Kind.ZIP, origin))
    leaving.addErrback(lambda failure: None)
    leaving.cancel()
    assert (await staying).keys() == ALL


@ensureDeferred
async def test_the_last_one_leaves(clean_room: Room, hosts: Hosts, steps: Steps) -> None:
    """A command for which nobody waits any more ends, and whoever comes meanwhile has one of his own."""
    hosts.world.faults["github.com/pkg/errors"] = 0
    origin = clean_room.origin()
    leaving = [
        Deferred.fromCoroutine(clean_room.files("github.com/pkg/errors", "v0.9.1", kind, origin))
        for kind in (Kind.MOD, Kind.ZIP)
    ]
    while not hosts.world.asked:
        await deferLater(reactor, 0.02)
    hosts.world.faults.clear()
    for each in leaving:
        each.addErrback(lambda failure: None)
        each.cancel()
    assert (await clean_room.files("github.com/pkg/errors", "v0.9.1", Kind.ZIP, origin)).keys() == ALL
    assert [type(step.error) for step in steps.named("go")] == [CancelledError, type(None)]
    assert processes_in(clean_room.tmp_path) == []


@ensureDeferred
async def test_unchanged(clean_room: Room) -> None:
    """A list or latest version that is asked again costs one ls-remote of its repository, and sees what is new."""
    repository = clean_room.corpus / "example.test/new.git"
    make_repository(repository, [Commit(tree("example.test/new"), day(1), tags=("v1.0.0",))])
    origin = clean_room.origin()
    first = await origin.list("example.test/new")
    commands, listings = clean_room.git.all(), clean_room.git.count("ls-remote")
    assert await origin.list("example.test/new") == first
    assert (await origin.resolve("example.test/new", "latest")).version == "v1.0.0"
    assert clean_room.git.count("ls-remote") == listings + 2
    assert clean_room.git.count("fetch") == 1
    assert clean_room.git.all() <= commands + 4
    add_commit(repository, "more.go", "v1.1.0")
    assert {listed.version for listed in await origin.list("example.test/new")} == {"v1.0.0", "v1.1.0"}
    assert (await origin.resolve("example.test/new", "latest")).version == "v1.1.0"


@ensureDeferred
async def test_branch_that_moves(clean_room: Room) -> None:
    """A branch is not looked into again until it moves, and one that is not there until it is."""
    repository = clean_room.corpus / "example.test/moving.git"
    make_repository(repository, [Commit(tree("example.test/moving"), day(1), branches=("stable",))])
    origin = clean_room.origin()
    before = await origin.resolve("example.test/moving", "main")
    with pytest.raises(NotFound):
        await origin.resolve("example.test/moving", "release")
    fetched = clean_room.git.count("fetch")
    assert await origin.resolve("example.test/moving", "main") == before
    with pytest.raises(NotFound):
        await origin.resolve("example.test/moving", "release")
    assert clean_room.git.count("fetch") == fetched
    commit = add_commit(repository, "more.go", "release")
    assert (await origin.resolve("example.test/moving", "main")).version.endswith(commit[:12])
    assert (await origin.resolve("example.test/moving", "release")).version.endswith(commit[:12])


@ensureDeferred
async def test_failure_is_not_kept(clean_room: Room) -> None:
    """What failed for a moment is asked anew, although the repository is as it was."""
    origin = clean_room.origin({"GIT_ALLOW_PROTOCOL": "ssh"})
    with pytest.raises(Forbidden):
        await origin.list("example.test/m")
    origin = clean_room.origin(go=Crashing(GoCommand(reactor, "go")))
    with pytest.raises(UpstreamFailed):
        await origin.list("example.test/m")
    assert len(await origin.list("example.test/m")) == 3


class Crashing:
    """A go command that finds no room on the disk, the first time, after it has read the repository."""

    def __init__(self, go: GoCommand) -> None:
        self._go = go
        self._first = True

    async def run(self, *arguments: Any) -> Finished:
        finished = await self._go.run(*arguments)
        if not self._first:
            return finished
        self._first = False
        answer = {**json.loads(finished.stdout), "Versions": [], "Error": {"Err": "write: no space left on device"}}
        return evolve(finished, stdout=json.dumps(answer).encode())


@ensureDeferred
async def test_one_at_a_time_on_a_repository(clean_room: Room, hosts: Hosts, steps: Steps) -> None:
    """On one repository the second command waits for the first, however slow; other repositories go on."""
    hosts.world.faults["github.com/pkg/errors"] = 0
    origin = clean_room.origin(timeout=3)
    path = "github.com/pkg/errors"
    slow = Deferred.fromCoroutine(clean_room.files(path, "v0.9.1", origin=origin))
    second = Deferred.fromCoroutine(origin.resolve(path, "main"))
    while not hosts.world.asked:
        await deferLater(reactor, 0.02)
    assert (await clean_room.files("example.test/m", "v1.0.0", origin=origin)).keys() == ALL
    assert [step.facts["module"] for step in steps.open_ones if step.name == "go"] == [path]
    waiting = [step.facts["repository"] for step in steps.open_ones if step.name == "repository"]
    assert waiting == [f"https://{path}"]
    hosts.world.faults.clear()
    with pytest.raises(TimedOut):
        await slow
    assert (await second).version == "v0.9.1"


@ensureDeferred
async def test_eviction(clean_room: Room) -> None:
    """A clone that is over the limit serves its command to the end, and goes then; the next command clones again."""
    origin = clean_room.origin(limit=0)
    for version in ("v0.9.0", "v1.0.0"):
        assert (await clean_room.files("example.test/m", version, origin=origin)).keys() == ALL
        assert clean_room.clones() == []
        assert list(clean_room.vcs.glob("evicted-*")) == []


@ensureDeferred
async def test_eviction_beside_work(clean_room: Room) -> None:
    """With next to no room many commands at once all succeed: none loses its clone while it runs."""
    origin = clean_room.origin(limit=1)
    paths = [("example.test/m", "v1.0.0"), ("example.test/retracted", "v1.0.0"), ("github.com/pkg/errors", "v0.9.1")]
    for _ in range(3):
        every = await gatherResults(
            [Deferred.fromCoroutine(clean_room.files(*each, origin=origin)) for each in paths]
            + [Deferred.fromCoroutine(clean_room.files("example.test/m", "v0.9.0", origin=origin))]
        )
        assert all(files.keys() == ALL for files in every)
    await clean_room.files("example.test/m", "v0.9.0", origin=origin)
    assert clean_room.clones() == []


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.slow)])
@ensureDeferred
async def test_many_modules_of_one_repository(clean_room: Room, count: int) -> None:
    """They cost one clone together, and lists that are asked at the same time a few ls-remotes."""
    paths = make_monorepo(clean_room.corpus / f"example.test/mono{count}.git", f"example.test/mono{count}", count)
    origin = clean_room.origin()
    assert len(await origin.list(paths[0])) == 1
    for _ in range(2):
        listings = clean_room.git.count("ls-remote")
        lists = await gatherResults([Deferred.fromCoroutine(origin.list(path)) for path in paths])
        assert [[listed.version for listed in each] for each in lists] == [["v0.1.0"]] * count
        assert clean_room.git.count("ls-remote") <= listings + 2 + count // 100
    for path in paths[:: count // 12]:
        assert (await clean_room.files(path, "v0.1.0", origin=origin)).keys() == ALL
    assert clean_room.git.count("init") == 1
    assert clean_room.git.count("fetch") == 1
    assert len(clean_room.clones()) == 1


@pytest.mark.slow
@ensureDeferred
async def test_history_is_kept(clean_room: Room, hosts: Hosts) -> None:
    """Of a repository with much history, a further tag brings what is new in it, and a further commit nothing."""
    path = "github.com/heavy/m"
    repository = clean_room.corpus / f"{path}.git"
    make_heavy_repository(repository, path, megabytes=20, tags=4)
    origin = clean_room.origin()

    async def cost(version: str) -> tuple[int, int]:
        """How many times git fetched, and by how much the clone has grown."""
        before = clean_room.git.count("fetch"), size_of(clean_room.vcs)
        assert (await clean_room.files(path, version, origin=origin)).keys() == ALL
        return clean_room.git.count("fetch") - before[0], size_of(clean_room.vcs) - before[1]

    first, whole = await cost("v1.0.0")
    further, grown = await cost("v1.1.0")
    # go looks at the highest version as well: it may have retracted this one.
    assert (first, further) == (2, 1)
    assert grown < whole / 4
    hashes = [head(repository, f"main~{back}") for back in (3, 2)]
    versions = [(await origin.resolve(path, each)).version for each in hashes]
    assert size_of(clean_room.vcs) > 20_000_000
    assert await cost(versions[0]) == (0, 0)
    assert await cost(versions[1]) == (0, 0)


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("pack-*.pack"))


@pytest.mark.slow
@ensureDeferred
async def test_killed_half_way(clean_room: Room) -> None:
    """However a command was killed, the next one has what it asks for."""
    path = "github.com/heavy/k"
    make_heavy_repository(clean_room.corpus / f"{path}.git", path, megabytes=1, tags=30, files=300)
    chance = random.Random(7)
    origin = clean_room.origin()
    for number in range(30):
        go = GoCommand(reactor, "go")
        version = f"v1.{number}.0"
        doomed = Deferred.fromCoroutine(clean_room.files(path, version, origin=clean_room.origin(go=go)))
        doomed.addErrback(lambda failure: failure.trap(UpstreamFailed, NotFound) and None)
        await deferLater(reactor, chance.uniform(0.01, 0.4))
        go.kill()
        await doomed
        assert (await clean_room.files(path, version, origin=origin)).keys() == ALL


@ensureDeferred
async def test_repositories_are_cloned_once(clean_room: Room, hosts: Hosts) -> None:
    """A second version of a repository asks its host for less than the first, as its clone is kept."""
    await clean_room.files("example.test/m", "v0.9.0")
    first = len(hosts.world.asked)
    await clean_room.files("example.test/m", "v0.9.0")
    assert len(hosts.world.asked) - first < first


def lose_packs(clone: Path) -> None:
    shutil.rmtree(clone / "objects/pack")


def truncate_packs(clone: Path) -> None:
    for pack in clone.glob("objects/pack/*.pack"):
        pack.chmod(0o600)
        os.truncate(pack, 40)


@pytest.mark.parametrize("damage", [lose_packs, truncate_packs])
@ensureDeferred
async def test_damaged_clone(clean_room: Room, damage: Callable[[Path], None]) -> None:
    """A clone that was damaged is made again, unseen by the asker; above all it does not hide a version."""
    await clean_room.files("example.test/m", "v1.0.0")
    (clone,) = clean_room.clones()
    damage(clone)
    with capture_logs() as logs:
        assert (await clean_room.files("example.test/m", "v1.0.0")).keys() == ALL
    assert [line["log_level"] for line in logs if line["event"] == "go command"] == ["warning", "info"]


@ensureDeferred
async def test_locked_clone(clean_room: Room) -> None:
    """A lock that a killed command left in a clone stands in nobody's way."""
    await clean_room.files("example.test/m", "v0.9.0")
    (clone,) = clean_room.clones()
    (clone / "shallow.lock").touch()
    assert (await clean_room.files("example.test/m", "v1.0.0")).keys() == ALL


def processes_in(directory: Path) -> list[str]:
    """The programs that run with a TMPDIR below a directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and f"TMPDIR={directory}/".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it is gone, or not ours
            continue
    return found


@pytest.mark.parametrize("path", ["example.test/m", "github.com/pkg/errors"])
@ensureDeferred
async def test_host_that_never_answers(clean_room: Room, hosts: Hosts, path: str) -> None:
    """A host that says nothing, to go or to git, costs the time-out; no process and no file stays behind."""
    hosts.world.faults[path] = 0
    asking = Deferred.fromCoroutine(clean_room.files(path, "v1.0.0", origin=clean_room.origin(timeout=1.5)))
    while not hosts.world.asked:
        await deferLater(reactor, 0.02)
    assert processes_in(clean_room.tmp_path)
    with pytest.raises(TimedOut, match=rf"^{path}@v1\.0\.0: its host did not send it within 1\.5 seconds$"):
        await asking
    assert processes_in(clean_room.tmp_path) == []
    assert list(clean_room.tmp_path.glob("spool/*/*")) == []


@ensureDeferred
async def test_login_of_the_operator(room: Room, hosts: Hosts) -> None:
    """A private module is had with the operator's own netrc, and not without."""
    hosts.world.private["github.com/private"] = "user:secret"
    with pytest.raises(NotFound, match="asks for a login"):
        await room.files("github.com/private/m", "v1.0.0")
    netrc = room.home / ".netrc"
    netrc.write_text("machine github.com login user password secret\n")
    netrc.chmod(0o600)
    assert (await room.files("github.com/private/m", "v1.0.0")).keys() == ALL


@pytest.mark.parametrize("driver", ["smudge = sed s/pointer/content/", "process = git-lfs filter-process"])
@ensureDeferred
async def test_filters_do_not_change_a_module(room: Room, driver: str) -> None:
    """A git-lfs in the operator's git configuration does not change what is in a zip, and so its hash."""
    (room.home / ".gitconfig").write_text(f'[filter "lfs"]\n\t{driver}\n\trequired = true\n')
    files = await room.files("example.test/lfs", "v1.0.0")
    archive = zipfile.ZipFile(io.BytesIO(files[Kind.ZIP]))
    assert archive.read("example.test/lfs@v1.0.0/big.bin") == b"pointer\n"


@ensureDeferred
async def test_protocols_of_the_operator(room: Room, corpus: Path) -> None:
    """The operator may send a known host elsewhere and allow the protocol for it; nobody else may."""
    rewrite = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{corpus}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://",
    }
    with pytest.raises(Forbidden):
        await room.files("github.com/pkg/errors", "v0.9.1", origin=room.origin(rewrite))
    allowed = rewrite | {"GIT_ALLOW_PROTOCOL": "https:file"}
    assert (await room.files("github.com/pkg/errors", "v0.9.1", origin=room.origin(allowed))).keys() == ALL


@ensureDeferred
async def test_log(room: Room, steps: Steps) -> None:
    """Each go command is logged and told with its cost, and a failure with go's own words."""
    with capture_logs() as logs:
        await room.origin().resolve("example.test/m", "latest")
        with pytest.raises(NotFound):
            await room.files("example.test/m", "v1.7.0")
    fine, failed = [line for line in logs if line["event"] == "go command"]
    assert (fine["log_level"], fine["module"], fine["version"], fine["exit"]) == ("info", "example.test/m", "latest", 0)
    assert fine["seconds"] > 0
    assert fine["cpu_seconds"] > 0
    assert failed["log_level"] == "warning"
    assert "unknown revision v1.7.0" in failed["error"]
    await room.files("example.test/m", "v1.0.0")
    listed, refused, downloaded = steps.named("go")
    assert (listed.facts["command"], listed.facts["exit"]) == ("go list", 0)
    assert (refused.facts["command"], refused.facts["exit"]) == ("go mod download", 1)
    assert downloaded.facts["arguments"] == "mod download -json -- example.test/m@v1.0.0"
    assert downloaded.facts["cpu_seconds"] > 0
    assert downloaded.facts["peak_memory"] > 1 << 20
    assert downloaded.facts["bytes"] > 100


class FakeGo:
    """A go command that prints what it is told."""

    def __init__(self, code: int, stdout: bytes, stderr: bytes = b"") -> None:
        self.finished = Finished(code, stdout, stderr, 0.0, 0.0, 0)

    async def run(self, *_: Any) -> Finished:
        return self.finished


@pytest.mark.parametrize("go", [FakeGo(2, b"", b"fatal error: out of memory"), FakeGo(0, b"{}"), FakeGo(0, b"[]")])
@ensureDeferred
async def test_answers_that_are_none(room: Room, go: FakeGo) -> None:
    """A go command that crashes or says nothing has failed: it does not mean that there is nothing."""
    for asking in (
        room.files("x.test/m", "v1.0.0", origin=room.origin(go=go)),
        room.origin(go=go).resolve("x.test/m", "a"),
    ):
        with pytest.raises(UpstreamFailed) as caught:
            await asking
        assert "memory" not in str(caught.value)


REAL = [
    ("github.com/pkg/errors", "v0.9.1"),
    ("github.com/google/uuid", "v1.6.0"),
    ("github.com/BurntSushi/toml", "v1.4.0"),
    ("github.com/gorilla/mux", "v1.8.1"),
]


@pytest.mark.network
@pytest.mark.parametrize(("path", "version"), REAL)
@ensureDeferred
async def test_same_bytes_as_upstream(tmp_path: Path, path: str, version: str) -> None:
    """A real module fetched by git has the hash, the go.mod and the time that the upstream proxy has."""
    (tmp_path / "cache").mkdir()
    try:
        upstream = make_real_repository(tmp_path / "corpus", tmp_path / "cache", path, version)
    except Unreachable as error:
        pytest.skip(f"the upstream proxy cannot be reached: {error}")
    rewrite = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/corpus/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://",
        "GIT_ALLOW_PROTOCOL": "file",
    }
    room = Room(tmp_path, tmp_path / "vcs", {}, tmp_path / "corpus")
    files = await room.files(path, version, origin=room.origin(rewrite))
    assert check_zip(io.BytesIO(files[Kind.ZIP]), ModuleVersion(path, version)).h1 == upstream.sum
    assert files[Kind.MOD] == upstream.go_mod
    assert f'"Time":"{upstream.time}"'.encode() in files[Kind.INFO]


class InfoGo(FakeGo):
    """A go command that was led to a repository by a page with the login to it."""

    def __init__(self, directory: Path) -> None:
        origin = {"VCS": "git", "URL": "https://me:sekret@git.test/m"}
        self.info = directory / "info"
        self.info.write_text(json.dumps({"Version": "v1.0.0", "Origin": origin}))
        answer = {"Path": "x.test/m", "Version": "v1.0.0", "Origin": origin, "Info": str(self.info)}
        super().__init__(0, json.dumps(answer).encode())


@ensureDeferred
async def test_no_login_of_a_page_is_shown(room: Room, tmp_path: Path, steps: Steps) -> None:
    """Clients and watchers see where a version is from, and not the password that a page may have named with it."""
    origin = room.origin(go=InfoGo(tmp_path))
    shown = {"VCS": "git", "URL": "https://git.test/m"}
    for _ in range(2):  # the second time the repository is known
        assert (await origin.resolve("x.test/m", "main")).origin == shown
    files = await room.files("x.test/m", "v1.0.0", kind=Kind.INFO, origin=origin)
    assert json.loads(files[Kind.INFO])["Origin"] == shown
    assert "sekret" not in str([step.facts for step in steps.closed_ones])
    assert "https://git.test/m" in [step.facts["repository"] for step in steps.named("repository")]
