"""A datastore behind Athens' contract: over our own server, and over one that is as Athens describes it."""

from __future__ import annotations

import random
import re
import time
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from attrs import define, field
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from athensd.blob import CHUNK, BytesBlob, FileBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.flight.memory import MemoryFlight
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import CheckedZip
from athensd.interfaces import WHOLE, ICatalog, IStorage, Kind
from athensd.spool import Spool
from athensd.storage.cached import CachedStorage
from athensd.storage.disk import DiskStorage
from athensd.storage.external import ExternalStorage
from athensd.storage.external_server import ExternalServer, Form, split_login
from athensd.storage.memory import MemoryStorage
from athensd.streams import plain_client
from athensd.web.external import ExternalSite
from tests.cutting import CuttingProxy
from tests.fakes import module_files, result_of
from tests.integration.process import free_ports
from tests.storage.contract import M, StorageContract, files_below

N = ModuleVersion("github.com/BurntSushi/toml", "v1.0.0-RC1")
MIB = 1 << 20


class AthensServer(Resource):
    """A server of the contract, after the description of Athens' own and independent of ours.

    It takes bodies of at most 1 MiB as Athens' does, unless it is ``generous``; it honours no ranges and calls all that
    goes wrong with saving 400.  ``loses_answers`` is how many of the next answers to what was saved get lost, ``busy``
    how many of the next requests it cannot serve now.
    """

    isLeaf = True

    def __init__(self, generous=True):
        super().__init__()
        self.generous = generous
        self.versions = {}
        self.asked = []
        self.loses_answers = 0
        self.says_lengths = True
        self.says = {}
        self.busy = 0
        self.slow_to_say_no = 0.0

    def render(self, request):
        self.asked.append((request.method.decode(), request.path.decode()))
        status = self.says.get(request.path.decode().rpartition(".")[2].rpartition("/")[2])
        if status:
            request.setResponseCode(status)
            return b"an internal secret"
        if self.busy:
            self.busy -= 1
            request.setResponseCode(503)
            return b"an internal secret"
        path, _, rest = request.path.decode()[1:].partition("/@v/")
        module = unescape_path(path)
        if rest == "list":
            return "\n".join(version for known, version in self.versions if known == module).encode()
        version, _, verb = rest.rpartition(".")
        return getattr(self, verb)(request, (module, unescape_version(version)))

    def info(self, request, key):
        return self._file(request, key, "info")

    def mod(self, request, key):
        return self._file(request, key, "mod")

    def zip(self, request, key):
        return self._file(request, key, "zip")

    def save(self, request, key):
        size = int(request.getHeader("content-length"))
        if (size > MIB and not self.generous) or key in self.versions:
            request.setResponseCode(400)
            return b"an internal secret"
        assert list(request.args) == [b"mod.info", b"mod.mod", b"mod.zip"]
        self.versions[key] = {name[4:].decode(): data for name, [data] in request.args.items()}
        if self.loses_answers:
            self.loses_answers -= 1
            request.transport.abortConnection()
            return NOT_DONE_YET
        return b""

    def delete(self, request, key):
        if self.versions.pop(key, None) is None:
            request.setResponseCode(404)
        return b""

    def _file(self, request, key, name):
        if key not in self.versions:
            request.setResponseCode(404)
            reactor.callLater(self.slow_to_say_no, request.finish)
            return NOT_DONE_YET
        data = self.versions[key][name]
        if self.says_lengths:
            return data
        request.write(data)  # in chunks
        request.finish()
        return NOT_DONE_YET


@define
class World:
    """A server, and what each instance of athensd needs to use it."""

    tmp_path: Path
    client: object
    port: int = 0
    ports: list = field(factory=list)

    def listen(self, site):
        self.ports.append(reactor.listenTCP(0, site, interface="127.0.0.1"))
        self.port = self.ports[-1].getHost().port

    def external(self, *, instance="one", port=None, login="", idle=5.0, store=ExternalStorage):
        """One instance; what it keeps on its disk survives it."""
        place = self.tmp_path / instance
        spool = Spool(place / "spool")
        server = ExternalServer(f"http://{login}127.0.0.1:{port or self.port}/", self.client, reactor, spool, idle)
        pending, hashes = (DiskStorage(place / name, spool, deferToThread) for name in ("pending", "hashes"))
        return store(server, pending, hashes)

    def waiting(self, instance="one"):
        """The names of the files that are not saved yet."""
        return {path.name for path in files_below(self.tmp_path / instance / "pending")}


def unchecked(file, version):
    """The files of the contract's tests are no modules."""
    return CheckedZip("h1:", None)


@pytest.fixture
def world(tmp_path):
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 20
    world = World(tmp_path, plain_client(Agent(reactor, pool=pool, connectTimeout=5)))
    yield world
    for port in world.ports:
        blockon(port.stopListening())
    blockon(pool.closeCachedConnections())


@pytest.fixture
def backend(tmp_path):
    return MemoryStorage(Spool(tmp_path / "served"))


@pytest.fixture
def ours(world, backend):
    """Our own server."""
    world.listen(ExternalSite(backend, Spool(world.tmp_path / "server"), deferToThread, check=unchecked))


@pytest.fixture
def athens(world):
    server = AthensServer()
    world.listen(Site(server))
    return server


@pytest.fixture(params=["ours", "athens"])
def any_server(request):
    request.getfixturevalue(request.param)


async def save(storage, version, files):
    for kind in (Kind.INFO, Kind.MOD, Kind.ZIP):
        await storage.put(version, kind, BytesBlob(files[kind]))


async def until(condition, seconds=10.0):
    """Let the reactor run until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        waiting = Deferred()
        reactor.callLater(0.01, waiting.callback, None)
        await waiting


@implementer(ICatalog)
class WithCatalog(ExternalStorage):
    """Lets the contract look into the catalog of the store that is served; the HTTP contract has none."""

    async def page(self, token, size):
        return await self.backend.page(token, size)


class TestOverOurServer(StorageContract):
    @pytest.fixture
    def storage(self, world, ours, backend):
        storage = world.external(store=WithCatalog)
        storage.backend = backend
        return storage


def test_no_catalog(world):
    """It is a storage, and like Athens' no catalog."""
    storage = world.external(port=1)
    assert verifyObject(IStorage, storage)
    assert not ICatalog.providedBy(storage)


@pytest.mark.usefixtures("any_server")
class TestWholeVersions:
    @pytest.mark.parametrize("version", [M, N], ids=str)
    @pytest.mark.parametrize("last", sorted(WHOLE, key=lambda kind: kind.value))
    @ensureDeferred
    async def test_saved_when_whole(self, world, version, last):
        """Files wait here until their version is whole; then it is saved and can be seen by another instance."""
        one, other = world.external(), world.external(instance="other")
        files = module_files(version)
        for kind in WHOLE - {last}:
            await one.put(version, kind, BytesBlob(files[kind]))
            assert await read_all(await one.open(version, kind)) == files[kind]
            with pytest.raises(NotFound):
                await other.open(version, kind)
        assert len(world.waiting()) == 2
        await one.put(version, last, BytesBlob(files[last]))
        assert world.waiting() == set()
        for storage in (one, other):
            assert await storage.versions(version.path) == [version.version]
            for kind in WHOLE:
                assert await read_all(await storage.open(version, kind)) == files[kind]

    @ensureDeferred
    async def test_restart(self, world):
        """What waits survives a restart, and so does the hash of a zip."""
        files = module_files(M)
        before = world.external()
        await before.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
        await before.put(M, Kind.ZIPHASH, BytesBlob(b"h1:"))
        await before.put(M, Kind.MOD, BytesBlob(files[Kind.MOD]))
        after = world.external()
        assert await read_all(await after.open(M, Kind.MOD)) == files[Kind.MOD]
        await after.put(M, Kind.INFO, BytesBlob(files[Kind.INFO]))
        assert world.waiting() == set()
        assert await read_all(await world.external().open(M, Kind.ZIPHASH)) == b"h1:"

    @pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD, Kind.ZIP])
    @ensureDeferred
    async def test_first_writer_wins(self, world, kind):
        """What the server has is not replaced, by nobody; the same bytes are no error."""
        files = module_files(M)
        await save(world.external(), M, files)
        for instance in ("one", "other"):
            storage = world.external(instance=instance)
            await storage.put(M, kind, BytesBlob(files[kind]))
            for data in (b"other", files[kind][:-1] + b"x", files[kind] + b"x", b""):
                with pytest.raises(Conflict, match=str(M)):
                    await storage.put(M, kind, BytesBlob(data))
            assert await read_all(await storage.open(M, kind)) == files[kind]

    @ensureDeferred
    async def test_two_instances(self, world):
        """Of two that save different files at once one is first; the other is told so, and serves what is there."""
        instances = [world.external(instance=name) for name in ("one", "other")]
        blobs = [BytesBlob(b"one" * 1000), BytesBlob(b"two" * 1000)]
        for storage in instances:
            await storage.put(M, Kind.INFO, BytesBlob(b"info"))
            await storage.put(M, Kind.MOD, BytesBlob(b"mod"))
        puts = [
            Deferred.fromCoroutine(storage.put(M, Kind.ZIP, blob))
            for storage, blob in zip(instances, blobs, strict=True)
        ]
        outcomes = await DeferredList(puts, consumeErrors=True)
        [winner] = [blob for blob, (success, _) in zip(blobs, outcomes, strict=True) if success]
        [failure] = [failure for success, failure in outcomes if not success]
        assert failure.check(Conflict)
        for storage in instances:
            assert await read_all(await storage.open(M, Kind.ZIP)) == winner.data
        assert world.waiting("one") == world.waiting("other") == set()

    @ensureDeferred
    async def test_parts(self, world):
        """Any part of a zip can be read, whether the server knows of parts or not."""
        data = random.Random(1).randbytes(2 * CHUNK + 5)
        await save(world.external(), M, {Kind.INFO: b"info", Kind.MOD: b"mod", Kind.ZIP: data})
        blob = await world.external().open(M, Kind.ZIP)
        assert blob.length == len(data)
        for start, stop in [(0, 1), (1, 1), (65535, 65537), (CHUNK, None), (len(data) - 1, None), (len(data), None)]:
            assert b"".join([piece async for piece in blob.chunks(start, stop)]) == data[start:stop]

    @ensureDeferred
    async def test_saved_while_it_is_read(self, world):
        """Who has opened a file that waits can read it after it has gone to the server."""
        storage, files = world.external(), module_files(M)
        await storage.put(M, Kind.INFO, BytesBlob(files[Kind.INFO]))
        blob = await storage.open(M, Kind.INFO)
        await save(storage, M, files)
        assert world.waiting() == set()
        assert await read_all(blob) == files[Kind.INFO]

    @ensureDeferred
    async def test_delete(self, world):
        """Everything goes: what is saved, what waits, and the hash."""
        storage, files = world.external(), module_files(M)
        await save(storage, M, files)
        await storage.put(M, Kind.ZIPHASH, BytesBlob(b"h1:"))
        await storage.delete(M)
        assert files_below(world.tmp_path / "one") == []
        assert await storage.versions(M.path) == []
        with pytest.raises(NotFound):
            await storage.delete(M)

    @ensureDeferred
    async def test_stopped_before_it_was_saved(self, world):
        """A whole version that waits, as after a crash at the worst moment, is listed and saved."""
        files = module_files(M)
        storage = world.external()
        for kind in WHOLE:
            await storage._pending.put(M, kind, BytesBlob(files[kind]))
        assert await storage.versions(M.path) == [M.version]
        assert world.waiting() == set()
        assert await world.external(instance="other").versions(M.path) == [M.version]

    @pytest.mark.parametrize("at", [0, 700, 100_000, 900_000])
    @ensureDeferred
    async def test_upload_cut(self, world, at):
        """An upload that is cut is made again; the server never shows a part of it."""
        proxy = await CuttingProxy.listening(reactor, world.port)
        storage = world.external(port=proxy.port)
        data = random.Random(1).randbytes(MIB)
        proxy.cut(upstream=at)
        await save(storage, M, {Kind.INFO: b"info", Kind.MOD: b"mod", Kind.ZIP: data})
        assert proxy.cuts == 1
        assert await read_all(await storage.open(M, Kind.ZIP)) == data
        await proxy.close()

    @ensureDeferred
    async def test_download_cut(self, world):
        """A download that is cut goes on where it was; one that is cut again and again fails."""
        data = random.Random(1).randbytes(3 * MIB)
        await save(world.external(), M, {Kind.INFO: b"info", Kind.MOD: b"mod", Kind.ZIP: data})
        proxy = await CuttingProxy.listening(reactor, world.port)
        storage = world.external(port=proxy.port)
        blob = await storage.open(M, Kind.ZIP)
        proxy.cut(downstream=MIB, connections=2)
        assert await read_all(blob) == data
        assert proxy.cuts == 2
        proxy.cut(downstream=50_000, connections=100)
        with pytest.raises(StorageFailed, match=str(M)):
            await read_all(blob)
        with pytest.raises(StorageFailed, match=str(M)):
            await storage.open(M, Kind.ZIP)
        await proxy.close()

    @ensureDeferred
    async def test_server_down(self, world):
        """A server that is not there is a failure at once, of readiness too; what waits here is served."""
        before = world.external()
        await before.put(M, Kind.MOD, BytesBlob(b"module example.com/m\n"))
        storage = world.external(port=free_ports(1)[0])
        began = time.monotonic()
        for ask in (
            lambda: storage.open(M, Kind.INFO),
            lambda: storage.open(M, Kind.ZIP),
            lambda: storage.put(M, Kind.INFO, BytesBlob(b"{}")),
            lambda: storage.versions(M.path),
            lambda: storage.delete(M),
            lambda: storage.check(),
        ):
            with pytest.raises(StorageFailed, match=r"no connection to 127\.0\.0\.1"):
                await ask()
        assert time.monotonic() - began < 5
        assert await read_all(await storage.open(M, Kind.MOD)) == b"module example.com/m\n"


@ensureDeferred
async def test_two_processes(world, athens):
    """Two processes with one directory, each of which brings one of the last two files, leave no version unsaved."""
    one, other = world.external(), world.external()
    files = module_files(M)
    await one.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    athens.slow_to_say_no = 0.1  # so both see that the other file is missing
    puts = [
        Deferred.fromCoroutine(storage.put(M, kind, BytesBlob(files[kind])))
        for storage, kind in ((one, Kind.INFO), (other, Kind.MOD))
    ]
    await gatherResults(puts)
    assert list(athens.versions) == [(M.path, M.version)]
    assert world.waiting() == set()


@ensureDeferred
async def test_one_change_at_a_time(world, athens):
    """Another file cannot slip in between the question whether there is one and the saving of the version."""
    storage, files = world.external(), module_files(M)
    await storage.put(M, Kind.INFO, BytesBlob(files[Kind.INFO]))
    await storage.put(M, Kind.MOD, BytesBlob(files[Kind.MOD]))
    athens.slow_to_say_no = 0.2
    athens.asked.clear()
    late = Deferred.fromCoroutine(storage.put(M, Kind.MOD, BytesBlob(b"other")))
    late.addErrback(lambda failure: failure.trap(Conflict))
    await until(lambda: athens.asked)
    athens.slow_to_say_no = 0.0
    await storage.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    assert await late is Conflict
    assert world.waiting() == set()


@ensureDeferred
async def test_stopped_before_it_was_saved_and_put_again(world, athens):
    """A file that waits in a whole version is not replaced either; with the same bytes again the version is saved."""
    storage, files = world.external(), module_files(M)
    for kind in WHOLE:
        await storage._pending.put(M, kind, BytesBlob(files[kind]))
    with pytest.raises(Conflict):
        await storage.put(M, Kind.ZIP, BytesBlob(b"other"))
    await storage.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    assert athens.versions[M.path, M.version]["zip"] == files[Kind.ZIP]
    assert world.waiting() == set()


@ensureDeferred
async def test_busy(world, athens):
    """A server that cannot serve now is asked again, a few times."""
    storage, files = world.external(), module_files(M)
    athens.busy = 2
    await save(storage, M, files)
    athens.busy = 2
    assert await read_all(await storage.open(M, Kind.ZIP)) == files[Kind.ZIP]
    athens.busy = 3
    with pytest.raises(StorageFailed, match="status 503"):
        await storage.open(M, Kind.ZIP)


@ensureDeferred
async def test_answer_lost(world, athens):
    """A version that was saved, though we were not told, is saved."""
    athens.loses_answers = 5
    await save(world.external(), M, module_files(M))
    assert list(athens.versions) == [(M.path, M.version)]
    assert world.waiting() == set()


@ensureDeferred
async def test_limit_of_athens(world, athens):
    """What the server refuses is not stored, and what its answer says stays between us."""
    athens.generous = False
    storage = world.external()
    files = {Kind.INFO: b"info", Kind.MOD: b"mod", Kind.ZIP: bytes(2 * MIB)}
    with pytest.raises(StorageFailed, match="could not be saved") as caught:
        await save(storage, M, files)
    assert "secret" not in str(caught.value)
    with pytest.raises(NotFound):
        await storage.open(M, Kind.ZIP)
    assert len(world.waiting()) == 2
    athens.generous = True
    await storage.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    assert world.waiting() == set()


@ensureDeferred
async def test_length_not_said(world, athens):
    """A zip of which the server does not say the length is fetched to find out."""
    athens.says_lengths = False
    data = random.Random(1).randbytes(MIB)
    storage = world.external()
    await save(storage, M, {Kind.INFO: b"info", Kind.MOD: b"mod", Kind.ZIP: data})
    blob = await storage.open(M, Kind.ZIP)
    assert blob.length == MIB
    assert await read_all(blob) == data
    assert b"".join([piece async for piece in blob.chunks(5, 10)]) == data[5:10]


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 503])
@ensureDeferred
async def test_failures_are_not_absences(world, athens, status):
    """Any status but 200 and 404 is a failure, told without what the server says."""
    athens.says = dict.fromkeys(("list", "info", "mod", "zip", "save", "delete"), status)
    storage = world.external()
    for ask in (
        lambda: storage.open(M, Kind.INFO),
        lambda: storage.open(M, Kind.ZIP),
        lambda: storage.put(M, Kind.INFO, BytesBlob(b"{}")),
        lambda: storage.versions(M.path),
        lambda: storage.delete(M),
        lambda: storage.check(),
    ):
        with pytest.raises(StorageFailed, match=f"status {status}") as caught:
            await ask()
        assert "secret" not in str(caught.value)
    assert not athens.versions


@ensureDeferred
async def test_not_found(world, athens):
    """404 is "no such version" in a list too, but not when something was to be saved."""
    storage = world.external()
    athens.says = {"list": 404, "save": 404}
    assert await storage.versions(M.path) == []
    await storage.check()
    with pytest.raises(StorageFailed, match="status 404"):
        await save(storage, M, module_files(M))


@ensureDeferred
async def test_list_of_a_stranger(world, athens):
    """Of a list only canonical versions of the module count."""
    athens.versions = {(M.path, version): {} for version in ("v1.0.0", "v1.0", "main", "v2.0.0", "../x", "v1.2.0-rc.1")}
    assert sorted(await world.external().versions(M.path)) == ["v1.0.0", "v1.2.0-rc.1"]


@ensureDeferred
async def test_endless_info(world, athens):
    """A small file that is none is not read to its end."""
    athens.versions[M.path, M.version] = {"info": bytes(17 * MIB)}
    with pytest.raises(StorageFailed, match="more than 16777216 bytes"):
        await world.external().open(M, Kind.INFO)


@ensureDeferred
async def test_requests(world, athens):
    """Paths and versions are escaped, and each operation is the request of the contract."""
    storage, files = world.external(), module_files(N)
    await save(storage, N, files)
    athens.asked.clear()
    await storage.open(N, Kind.INFO)
    await storage.open(N, Kind.MOD)
    await storage.versions(N.path)
    await storage.delete(N)
    base = "/github.com/!burnt!sushi/toml/@v"
    assert athens.asked == [
        ("GET", f"{base}/v1.0.0-!r!c1.info"),
        ("GET", f"{base}/v1.0.0-!r!c1.mod"),
        ("GET", f"{base}/list"),
        ("DELETE", f"{base}/v1.0.0-!r!c1.delete"),
    ]


@ensureDeferred
async def test_silence(world):
    """A server that takes the request and says nothing is given up."""

    class Silent(Resource):
        isLeaf = True

        def render(self, request):
            return NOT_DONE_YET

    world.listen(Site(Silent()))
    began = time.monotonic()
    with pytest.raises(StorageFailed, match="in time"):
        await world.external(idle=0.3).open(M, Kind.ZIP)
    assert time.monotonic() - began < 5


@ensureDeferred
async def test_login(world, backend):
    """User and password of the URL let us in, and are in no error."""
    world.listen(
        ExternalSite(backend, Spool(world.tmp_path / "server"), deferToThread, user="athens", password="p@ss:word")
    )
    await save(world.external(login="athens:p%40ss%3Aword@"), M, module_files(M))
    assert await backend.versions(M.path) == [M.version]
    for login in ("", "athens:wrong@", "athens@", "nobody:p%40ss%3Aword@"):
        stranger = world.external(instance="other", login=login)
        for ask in (lambda: stranger.check(), lambda: stranger.open(M, Kind.ZIP), lambda: stranger.delete(M)):
            with pytest.raises(StorageFailed, match="status 401") as caught:
                await ask()
            assert not re.search("athens:|wrong|nobody|p%40ss", str(caught.value).replace(str(M), ""))
    assert await backend.versions(M.path) == [M.version]


@pytest.mark.parametrize(
    ("url", "bare", "login"),
    [
        ("http://host:1/a", "http://host:1/a", None),
        ("https://user:pass@host/a", "https://host/a", "Basic dXNlcjpwYXNz"),
        ("http://us%3Aer@host", "http://host", "Basic dXM6ZXI6"),
    ],
)
def test_split_login(url, bare, login):
    """User and password leave the URL, decoded."""
    assert split_login(url) == (bare, {"Authorization": login} if login else {})


def test_form():
    """The form is what another reader of forms expects, in Athens' order, and as long as it says."""
    parts = {Kind.ZIP: b"\r\n--zip\r\n\r\n", Kind.MOD: b"", Kind.INFO: b"{}\r\n"}
    form = Form({kind: BytesBlob(data) for kind, data in parts.items()}, "bound")
    body = result_of(read_all(form))
    assert len(body) == form.length
    head = b"Content-Type: multipart/form-data; boundary=bound\r\n\r\n"
    read = [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
    ]
    assert read == [
        (name, name, parts[kind])
        for name, kind in (("mod.info", Kind.INFO), ("mod.mod", Kind.MOD), ("mod.zip", Kind.ZIP))
    ]


def peak():
    """The most memory this process has had since it was asked last, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.slow
@ensureDeferred
async def test_large_zip(world, tmp_path):
    """A zip of 200 MB goes both ways, through client, server and cache, in the memory of a few pieces."""
    served = DiskStorage(tmp_path / "served", Spool(tmp_path / "spool"), deferToThread)
    world.listen(ExternalSite(served, Spool(tmp_path / "server"), deferToThread, check=unchecked))
    storage = world.external()
    piece = random.Random(1).randbytes(MIB)
    with (tmp_path / "large").open("wb") as file:
        for _ in range(200):
            file.write(piece)
    peak()
    before = peak()
    await storage.put(M, Kind.INFO, BytesBlob(b"info"))
    await storage.put(M, Kind.MOD, BytesBlob(b"mod"))
    await storage.put(M, Kind.ZIP, FileBlob(tmp_path / "large", 200 * MIB))
    cached = CachedStorage(
        storage,
        root=tmp_path / "cache",
        spool=Spool(tmp_path / "cache-spool"),
        flight=MemoryFlight(),
        in_thread=deferToThread,
        clock=reactor,
        max_bytes=1 << 30,
    )
    for each in (storage, cached, cached):
        length = 0
        async for part in (await each.open(M, Kind.ZIP)).chunks():
            length += len(part)
        assert length == 200 * MIB
    assert cached.size == 200 * MIB
    assert peak() - before < 40 * MIB
