"""The real go command, with its checks on, and nothing but athensd to ask; and athensd's own checks."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import blockon, ensureDeferred
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from athensd.checksums.cache import Cache
from athensd.checksums.database import ProvenDatabase
from athensd.checksums.source import Asks, NoSource, Place, Source
from athensd.checksums.unverified import Unverified
from athensd.checksums.verifier import Checksums, Exempt
from athensd.flight.memory import MemoryFlight
from athensd.freshness import Freshness
from athensd.gomod.escape import escape_path
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.index.nothing import NoIndex
from athensd.interfaces import IOrigin
from athensd.origin.chain import OffOrigin
from athensd.origin.transfer import Transfer
from athensd.origin.upstream import UpstreamOrigin
from athensd.proxy import Proxy
from athensd.spool import Spool
from athensd.stash import Stash
from athensd.storage.disk import DiskStorage
from athensd.sumdb.names import PUBLIC
from athensd.sumdb.note import Verifier, parse_verifier
from athensd.web.download import DownloadRoutes
from athensd.web.pages import PageRoutes
from athensd.web.request import AthensSite
from athensd.web.routes import site_resource
from athensd.web.sumdb import SumDBRoutes
from tests.checksums.fakes import flipped
from tests.integration.daemon import running
from tests.integration.go import Client, needs_go, upstream_with
from tests.integration.goproxy_tree import Upstream, add_version
from tests.rig.sumdb import Database, Server

pytestmark = needs_go
loop: Any = reactor
PROGRAM = 'package main\n\nimport "rsc.io/quote"\n\nfunc main() { println(quote.Go()) }\n'
MODULES = [ModuleVersion(f"example.test/Big/m{number}", "v1.0.0") for number in range(12)]
PRIVATE = ModuleVersion("private.test/x", "v1.0.0")


class Athensd:
    """One of this process, with its files in ``root``; each one that is started knows what those before it stored."""

    def __init__(self, root: Path, verifier: Verifier, **settings: Any) -> None:
        self._settings = settings
        self._pool = HTTPConnectionPool(loop)
        self.transfer = Transfer(HTTPClient(Agent(loop, pool=self._pool)), loop)
        self._root = root
        self._verifier = verifier
        self._spool = Spool(root / "spool")
        self._ports: list[Any] = []
        self._checksums: list[Checksums] = []

    def start(self, origin: IOrigin, source: Asks) -> str:
        """Its URL."""
        flight = MemoryFlight()
        storage = DiskStorage(self._root / "store", self._spool, deferToThread)
        freshness = Freshness(flight, loop.seconds)
        cache = Cache(self._root / "sumdb" / self._verifier.name, self._spool)
        database = ProvenDatabase(self._verifier, source, cache, flight, deferToThread, loop.seconds, fresh=300)
        self.unverified = Unverified(self._root / "unverified", self._spool)
        exempt = Exempt(no_sum="private.test")
        self._checksums.append(
            Checksums(
                database,
                exempt,
                self.unverified,
                loop,
                deferToThread,
                lambda wrong: storage.delete(wrong.version),
                interval=0.1,
                pause=0.1,
                **self._settings,
            )
        )
        self._checksums[-1].start()
        stash = Stash(
            storage=storage,
            origin=origin,
            index=NoIndex(),
            flight=flight,
            spool=self._spool,
            clock=loop,
            in_thread=deferToThread,
            published=freshness.learn,
            sums=self._checksums[-1],
            timeout=60,
        )
        proxy = Proxy(storage=storage, origin=origin, stash=stash, freshness=freshness, clock=loop, timeout=60)
        resource = site_resource(
            DownloadRoutes(proxy, ""),
            PageRoutes(storage, NoIndex(), b"", clock=reactor),
            SumDBRoutes({database.name: database}, exempt),
        )
        self._ports.append(loop.listenTCP(0, AthensSite(resource), interface="127.0.0.1"))
        return f"http://127.0.0.1:{self._ports[-1].getHost().port}"

    def start_offline(self) -> str:
        """One that asks nobody."""
        return self.start(OffOrigin(), NoSource())

    def stored(self) -> list[str]:
        """The names of the files in the store."""
        return sorted(path.name for path in (self._root / "store").rglob("@v/*"))

    async def stop(self) -> None:
        for each in self._checksums:
            each.stop()
        await gatherResults([port.stopListening() for port in self._ports])
        await self._pool.closeCachedConnections()


@frozen
class Asked:
    """A request as a server sees it."""

    path: str
    headers: set[str]


class Handled(Resource):
    """Answers by a function."""

    isLeaf = True

    def __init__(self, handle: Callable[[Any], bytes]) -> None:
        super().__init__()
        self.render = handle


class World:
    """An upstream of modules, a database of their sums, and an athensd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Upstream(root / "tree")
        self.database = Database()
        self.database.fill(300)
        for version in [*MODULES, PRIVATE]:
            self._add(version)
        self.server = Server(self.database)
        self.athensd = Athensd(root, parse_verifier(self.database.signer.verifier_key))

    def _add(self, version: ModuleVersion) -> None:
        files = {"go.mod": f"module {version.path}\n".encode(), "m.go": b"package m\n"}
        add_version(self.root / "tree", version.path, version.version, files)
        file = self.root / "tree" / escape_path(version.path) / "@v" / "v1.0.0.zip"
        h1 = check_zip(io.BytesIO(file.read_bytes()), version).h1
        self.database.add(version.path, version.version, h1, h1_of_mod(files["go.mod"]))
        # Each has a tile of its own.
        self.database.fill(len(self.database.records) + 256)

    def start(self) -> str:
        """Start the athensd between them and clients."""
        transfer, name = self.athensd.transfer, self.database.signer.name
        source = Source(name, Place(self.server.url), transfer, MemoryFlight(), loop, loop.seconds)
        return self.athensd.start(UpstreamOrigin(self.tree.url, transfer), source)


class Checking(Client):
    """A go command that believes nothing without the database; it has nobody to ask but its proxy."""

    def __init__(self, directory: Path, goproxy: str, gosumdb: str = Database().signer.verifier_key) -> None:
        super().__init__(directory, goproxy, GOSUMDB=gosumdb)

    async def download(self, *versions: ModuleVersion) -> tuple[bool, str]:
        """Whether it has them all now, and what it said."""
        done = await deferToThread(self.run, "mod", "download", "-json", *map(str, versions))
        return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.server:
        yield world
    world.tree.stop()
    blockon(Deferred.fromCoroutine(world.athensd.stop()))


@pytest.fixture
def goproxy() -> str:
    """The upstream of this machine, or no test."""
    return upstream_with(f"sumdb/{PUBLIC}/supported")


async def eventually(true: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for something, but not for ever."""
    for _ in range(round(seconds / 0.02)):
        if true():
            return
        await deferLater(loop, 0.02)
    raise AssertionError("it never came true")


@ensureDeferred
async def test_checks_pass_through_us_and_without_anybody(tmp_path: Path, world: World) -> None:
    """A second client costs no question, and with everything above us gone even a third one that wants other things."""
    url = world.start()
    ok, said = await Checking(tmp_path / "first", url).download(*MODULES[:6])
    assert ok, said
    asked = list(world.server.asked)
    assert sorted(path for path in asked if "lookup" in path) == [
        f"/lookup/example.test/!big/m{number}@v1.0.0" for number in range(6)
    ]
    assert len(asked) == len(set(asked))
    ok, said = await Checking(tmp_path / "second", url).download(*MODULES[:6])
    assert ok, said
    assert world.server.asked == asked

    # The database grows, and its new head is seen with a version of later.
    world.database.fill(len(world.database.records) + 1000)
    ok, said = await Checking(tmp_path / "later", url).download(MODULES[6])
    assert ok, said

    asked = list(world.server.asked)
    url = world.athensd.start_offline()
    for name, wanted in (("some", MODULES[2:4]), ("one", MODULES[6:7]), ("all", MODULES[:7])):
        client = Checking(tmp_path / name, url)
        ok, said = await client.download(*wanted)
        assert ok, said
        assert len([file for file in client.files() if file.endswith(".zip")]) == len(wanted)
    assert world.server.asked == asked


@ensureDeferred
@pytest.mark.parametrize("where", ["lookup/example.test/!big/m3", "tile/8/0/", "tile/8/1"])
async def test_a_corrupted_database(tmp_path: Path, world: World, where: str) -> None:
    """The client sees our refusal, with its reason; once the database is well again, the same client is content."""
    world.server.altered[where] = flipped
    client = Checking(tmp_path / "client", world.start())
    ok, said = await client.download(MODULES[3])
    assert not ok
    assert "502 Bad Gateway" in said
    assert "server response:" in said
    assert "sum.example.test: " in said
    world.server.altered = {}
    ok, said = await client.download(MODULES[3])
    assert ok, said


def corrupt(world: World, number: int, *, mod: bool) -> None:
    """Let the upstream have other bytes for a version than everybody else was given."""
    files = {"go.mod": f"module {MODULES[number].path}\n".encode(), "m.go": b"package m\n"}
    files |= {"go.mod": files["go.mod"] + b"// evil\n"} if mod else {"m.go": b"package evil\n"}
    add_version(world.root / "tree", MODULES[number].path, "v1.0.0", files)


@ensureDeferred
@pytest.mark.parametrize(("mod", "noun"), [(False, "module"), (True, "go.mod")])
async def test_a_corrupted_module(tmp_path: Path, world: World, mod: bool, noun: str) -> None:
    """Other bytes than everybody else was given are refused in Go's words, and nothing of them is stored."""
    corrupt(world, 3, mod=mod)
    url = world.start()
    ok, said = await Checking(tmp_path / "client", url, "off").download(MODULES[3])
    assert not ok
    assert "403 Forbidden" in said
    assert f"verifying {noun}: checksum mismatch" in said
    assert "SECURITY ERROR" in said
    assert not [name for name in world.athensd.stored() if name.endswith((".zip", ".ziphash") + (".mod",) * mod)]


@ensureDeferred
async def test_one_lookup_for_all_files(tmp_path: Path, world: World) -> None:
    """Our own check of go.mod and zip, and the client's, cost one lookup together."""
    ok, said = await Checking(tmp_path / "client", world.start()).download(MODULES[3])
    assert ok, said
    assert [path for path in world.server.asked if "lookup" in path] == ["/lookup/example.test/!big/m3@v1.0.0"]


@ensureDeferred
async def test_stored_and_verified_later(tmp_path: Path, world: World) -> None:
    """While the database is away versions are stored; when it is back, the wrong one goes."""
    corrupt(world, 3, mod=False)
    world.server.faults[""] = 500
    url = world.start()
    ok, said = await Checking(tmp_path / "client", url, "off").download(MODULES[3], MODULES[4])
    assert ok, said
    assert len(world.athensd.unverified.all()) == 4
    world.server.faults = {}
    await eventually(lambda: not world.athensd.unverified.all())
    left = [path.parent.parent.name for path in (tmp_path / "store").rglob("*.zip")]
    assert left == ["m4"]


@ensureDeferred
async def test_refused_while_the_database_is_away(tmp_path: Path, world: World) -> None:
    """With the other setting nothing is stored that cannot be verified, and the client is told why."""
    world.athensd = Athensd(tmp_path, parse_verifier(world.database.signer.verifier_key), refuse=True)
    world.server.faults[""] = 500
    url = world.start()
    ok, said = await Checking(tmp_path / "client", url, "off").download(MODULES[3])
    assert not ok
    assert "it cannot be verified: sum.example.test/lookup/example.test/!big/m3@v1.0.0: 127.0.0.1:" in said
    assert not [name for name in world.athensd.stored() if not name.endswith(".info")]


@ensureDeferred
async def test_private_modules(tmp_path: Path, world: World) -> None:
    """Of a private module the database never hears, and the client is told why it cannot be checked."""
    ok, said = await Checking(tmp_path / "client", world.start()).download(PRIVATE)
    assert not ok
    assert "private.test/x: this proxy asks no checksum database about it; put it into your GONOSUMDB" in said
    assert not [path for path in world.server.asked if "private" in path]


@ensureDeferred
async def test_nothing_of_a_client_goes_out(world: World) -> None:
    """The database learns what is asked and by which server; not who asked it, nor with which credentials."""
    asked: list[Asked] = []

    def handle(request: Any) -> bytes:
        path = request.uri.decode().removeprefix("/")
        asked.append(Asked(path, {str(each) for each in request.requestHeaders.getAllRawHeaders()}))
        return world.database.answer(path) or b""

    port = loop.listenTCP(0, Site(Handled(handle)), interface="127.0.0.1")
    direct = Place(f"http://127.0.0.1:{port.getHost().port}")
    name = world.database.signer.name
    source = Source(name, direct, world.athensd.transfer, MemoryFlight(), loop, loop.seconds)
    url = world.athensd.start(OffOrigin(), source)
    secrets = {
        "Authorization": "Basic canary",
        "Cookie": "a=canary",
        "X-Forwarded-For": "canary",
        "User-Agent": "canary",
    }
    for path in ("latest", "lookup/example.test/!big/m3@v1.0.0?canary", "tile/8/0/001", "tile/8/data/000"):
        request = urllib.request.Request(f"{url}/sumdb/{name}/{path}", headers=secrets)
        with await deferToThread(urllib.request.urlopen, request, timeout=10) as response:
            assert response.status == 200
    await port.stopListening()
    assert {each.path.partition("/")[0] for each in asked} == {"latest", "lookup", "tile"}
    assert "canary" not in str(asked)


@pytest.mark.network
def test_the_public_database(tmp_path: Path, goproxy: str) -> None:
    """A real program with Go's own GOSUMDB and only athensd to ask: through its upstream, and then without anybody."""
    for name, network_mode in (("first", "strict"), ("second", "offline")):
        settings = {"GOSUMDB": PUBLIC, "ATHENS_NETWORK_MODE": network_mode}
        with running(tmp_path / "athensd", goproxy, **settings) as daemon:
            client = Client(tmp_path / name, daemon.url, GOSUMDB=PUBLIC)
            (client.work / "go.mod").write_text("module example.test/program\n\ngo 1.24\n")
            (client.work / "main.go").write_text(PROGRAM)
            client.ok("get", "rsc.io/quote@v1.5.2")
            client.ok("build", "-o", "program", ".")
            assert len((client.work / "go.sum").read_text().splitlines()) == 6
            requests = [line for line in daemon.lines() if "/sumdb/" in line.get("http-path", "")]
            assert {line["http-status"] for line in requests} == {200}
            assert network_mode == "strict" or {line["cache"] for line in requests} == {"", "hit"}
