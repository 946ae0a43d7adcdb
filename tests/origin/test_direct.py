"""Modules fetched by the real go command and git, from hosts on loopback."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import blockon, ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, TimedOut, UpstreamFailed
from athensd.flight import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip
from athensd.interfaces import IOrigin, Kind
from athensd.origin.direct import DirectOrigin
from athensd.origin.go_process import Finished, GoCommand
from athensd.spool import Spool
from tests.fakes import Steps
from tests.rig.corpus import head
from tests.rig.hosts import Hosts, World
from tests.rig.modules import make_corpus
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

    def __init__(self, tmp_path: Path, vcs: Path, host: dict[str, str]) -> None:
        self.tmp_path = tmp_path
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.vcs = vcs
        self.spool = Spool(tmp_path / "spool")
        self.host = {"PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", **host}

    def origin(
        self,
        settings: dict[str, str] | None = None,
        go: Any = None,
        timeout: float = 60,
        in_thread: Callable[..., Awaitable[Any]] = deferToThread,
    ) -> DirectOrigin:
        return DirectOrigin(
            go=go or GoCommand(reactor, "go"),
            flight=MemoryFlight(),
            spool=self.spool,
            in_thread=in_thread,
            host=self.host,
            settings=settings or {},
            vcs=self.vcs,
            timeout=timeout,
        )

    async def files(
        self, path: str, version: str, kind: Kind = Kind.ZIP, origin: DirectOrigin | None = None
    ) -> dict[Kind, bytes]:
        """What a fetch brings, read into memory."""
        with self.spool.directory() as into:
            fetched = await (origin or self.origin()).fetch(ModuleVersion(path, version), kind, into)
            return {kind: await read_all(blob) for kind, blob in fetched.items()}


@pytest.fixture
def room(hosts: Hosts, corpus: Path, tmp_path: Path) -> Room:
    return Room(tmp_path, corpus / "vcs", hosts.environment())


@pytest.fixture
def clean_room(hosts: Hosts, tmp_path: Path) -> Room:
    """A room without any clone."""
    return Room(tmp_path, tmp_path / "vcs", hosts.environment())


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
    assert origin._takers == {}


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
    (clone,) = [path for path in clean_room.vcs.iterdir() if path.is_dir()]
    damage(clone)
    with capture_logs() as logs:
        assert (await clean_room.files("example.test/m", "v1.0.0")).keys() == ALL
    assert [line["log_level"] for line in logs if line["event"] == "go command"] == ["warning", "info"]


@ensureDeferred
async def test_locked_clone(clean_room: Room) -> None:
    """A lock that a killed command left in a clone stands in nobody's way."""
    await clean_room.files("example.test/m", "v0.9.0")
    (clone,) = [path for path in clean_room.vcs.iterdir() if path.is_dir()]
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
    room = Room(tmp_path, tmp_path / "vcs", {})
    files = await room.files(path, version, origin=room.origin(rewrite))
    assert check_zip(io.BytesIO(files[Kind.ZIP]), ModuleVersion(path, version)).h1 == upstream.sum
    assert files[Kind.MOD] == upstream.go_mod
    assert f'"Time":"{upstream.time}"'.encode() in files[Kind.INFO]
