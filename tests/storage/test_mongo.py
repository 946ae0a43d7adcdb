"""The datastore in MongoDB, on a real FerretDB.

That speaks as MongoDB does, and what is promised here holds for both.  But where MongoDB uses an index FerretDB reads a
whole collection (unless it is asked for an ``_id``); so it is slow where there is much.
"""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from types import SimpleNamespace

import pytest
import trustme
from bson.objectid import ObjectId
from gridfs import GridFSBucket
from pymongo import MongoClient
from pymongo.errors import DocumentTooLarge, ExecutionTimeout, NetworkTimeout, WTimeoutError
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory

from athensd.blob import BytesBlob, FileBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.storage.mongo import LEFT_BEHIND, MongoStorage
from athensd.storage.mongo_server import reason
from tests.bucket.contract import MIB, Weighed, Zeros, digest_of, resident
from tests.cutting import CuttingProxy
from tests.fakes import module_files, module_zip
from tests.servers import ferretdb
from tests.storage.contract import BrokenBlob, M, StorageContract, pages, put_all

NAMES = count()
SECRETS = ("ferret-secret", "guessed", "athens:", "127.0.0.1")


def url_of(server, port=0, password=""):
    return f"mongodb://{server.user}:{password or server.password}@{server.host}:{port or server.port}/"


def within(seconds, work):
    """The result of a coroutine that may take so long."""
    return Deferred.fromCoroutine(work).addTimeout(seconds, reactor)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ferretdb(tmp_path_factory.mktemp("ferretdb")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    """The server as its operator sees it."""
    with MongoClient(url_of(server), tz_aware=True) as client:
        yield client


@pytest.fixture
def name(client):
    """A database of its own, that is gone afterwards."""
    name = f"store{next(NAMES)}"
    yield name
    client.drop_database(name)


@pytest.fixture
def database(client, name):
    return client[name]


@pytest.fixture
def make(server, name):
    """Makes storages on the database."""
    made = []

    def make(url="", **settings):
        made.append(MongoStorage(url or url_of(server), deferToThread, **{"database": name, **settings}))
        return made[-1]

    yield make
    for storage in made:
        blockon(Deferred.fromCoroutine(storage.close()))


@pytest.fixture
def storage(make):
    return make()


@pytest.fixture
def proxied(server, make):
    """A way to the server that can be cut, and a storage at the end of it."""
    proxy = blockon(Deferred.fromCoroutine(CuttingProxy.listening(reactor, server.port)))
    yield proxy, make(url_of(server, proxy.port))
    blockon(Deferred.fromCoroutine(proxy.close()))


class TestContract(StorageContract):
    @pytest.mark.slow
    @ensureDeferred
    async def test_catalog(self, storage):
        await super().test_catalog(storage)

    @pytest.mark.slow
    @ensureDeferred
    async def test_thousands_of_versions(self, storage, database):
        """All of 3,000 versions of a module are listed and in the catalog, in order."""
        await put_all(storage, *(ModuleVersion(path, "v1.0.0") for path in ("a.io/m", "a.io/m-x", "a.io/m/sub")))
        ours = database["modules.athensd"]
        for first in list(ours.find({"module": "a.io/m"})):
            versions = [f"v1.{number}.0" for number in range(1, 3000)]
            names = {version: first["_id"].replace("v1.0.0", version) for version in versions}
            ours.insert_many([{**first, "_id": names[version], "version": version} for version in versions])
        assert sorted(await storage.versions("a.io/m")) == sorted(["v1.0.0", *versions])
        found = list(chain(*await pages(storage, 500)))
        assert found == sorted(found, key=lambda version: (version.path, version.version))
        assert len(set(found)) == 3002


# What Athens has stored


def athens_zip(database, version, data):
    """A zip as Athens uploads it."""
    name = f"{version.path.replace('/', '_')}_{version.version}.zip"
    return GridFSBucket(database).upload_from_stream(name, data)


def athens_document(database, version, files):
    """What Athens writes when the zip is there."""
    document = {"module": version.path, "version": version.version, "mod": files[Kind.MOD], "info": files[Kind.INFO]}
    return database.modules.insert_one(document).inserted_id


@pytest.fixture
def athens(database):
    """Stores versions as Athens does, in a database of Athens."""
    database.modules.create_index([("base_url", 1), ("module", 1), ("version", 1)], sparse=True, unique=True)

    def save(version):
        files = module_files(version)
        file = athens_zip(database, version, files[Kind.ZIP])
        document = athens_document(database, version, files)
        return SimpleNamespace(files=files, file=file, document=document)

    return save


@ensureDeferred
async def test_a_database_of_athens(make, athens):
    """What Athens stored is served as it is, listed and in the catalog, before and after its zip was found."""
    versions = [
        ModuleVersion("github.com/BurntSushi/toml", "v1.0.0"),
        ModuleVersion("github.com/BurntSushi/toml", "v2.0.0+incompatible"),
        ModuleVersion("github.com/a/m", "v0.0.0-20240102030405-abcdef123456"),
    ]
    saved = {version: athens(version) for version in versions}
    for _ in range(2):
        storage = make()
        await storage.check()
        assert await pages(storage, 10) == [versions]
        assert await pages(storage, 1) == [[version] for version in versions] + [[]]
        assert sorted(await storage.versions("github.com/BurntSushi/toml")) == ["v1.0.0", "v2.0.0+incompatible"]
        for version in versions:
            for kind in WHOLE:
                assert await read_all(await storage.open(version, kind)) == saved[version].files[kind]
            with pytest.raises(NotFound):
                await storage.open(version, Kind.ZIPHASH)


@ensureDeferred
async def test_a_version_of_athens_is_stored_already(storage, athens, database):
    """What Athens stored came first: the same bytes may be put again, others are refused.  A hash is added."""
    saved = athens(M)
    for kind in WHOLE:
        await storage.put(M, kind, BytesBlob(saved.files[kind]))
        with pytest.raises(Conflict):
            await storage.put(M, kind, BytesBlob(b"another"))
        assert await read_all(await storage.open(M, kind)) == saved.files[kind]
    await storage.put(M, Kind.ZIPHASH, BytesBlob(b"h1:"))
    assert await read_all(await storage.open(M, Kind.ZIPHASH)) == b"h1:"
    assert await pages(storage, 10) == [[M]]
    assert [file["_id"] for file in database.fs.files.find()] == [saved.file]


@ensureDeferred
async def test_a_zip_of_athens_is_found_once(storage, athens, database):
    """Which zip is whose is found out once."""
    saved = athens(M)
    for _ in range(2):
        assert await read_all(await storage.open(M, Kind.ZIP)) == saved.files[Kind.ZIP]
        database.drop_collection("fs.files")


@ensureDeferred
async def test_two_zips_of_athens(storage, athens, database):
    """Of two whole zips the one is taken that Athens would take: the newer one."""
    athens(M)
    newer = module_zip(M, {"go.mod": b"another"})
    file = athens_zip(database, M, newer)
    database.fs.files.update_one({"_id": file}, {"$set": {"uploadDate": datetime.now(UTC) + timedelta(hours=1)}})
    assert await read_all(await storage.open(M, Kind.ZIP)) == newer


@ensureDeferred
async def test_names_of_athens_that_are_alike(storage, athens, database):
    """Athens gives the zips of a.io/b_c and a.io/b/c one name: each version has its own zip, or none at all."""
    versions = [ModuleVersion(path, "v1.0.0") for path in ("a.io/b_c", "a.io/b/c", "a.io_b/c")]
    saved = {version: athens(version) for version in versions[:2]}
    athens_document(database, versions[2], module_files(versions[2]))  # its zip is gone
    for version in versions[:2]:
        assert await read_all(await storage.open(version, Kind.ZIP)) == saved[version].files[Kind.ZIP]
    with pytest.raises(NotFound):
        await storage.open(versions[2], Kind.ZIP)
    right = module_files(versions[2])[Kind.ZIP]
    await storage.put(versions[2], Kind.ZIP, BytesBlob(right))
    assert await read_all(await storage.open(versions[2], Kind.ZIP)) == right
    await storage.delete(versions[0])
    with pytest.raises(NotFound):
        await storage.open(versions[0], Kind.ZIP)
    for version in versions[1:]:
        assert await read_all(await storage.open(version, Kind.ZIP)) == module_files(version)[Kind.ZIP]


@pytest.mark.parametrize("half_is_newer", [False, True])
@ensureDeferred
async def test_half_a_zip_of_athens(storage, database, half_is_newer):
    """Where an upload of Athens broke off half a zip has the right name: the whole one is taken."""
    files = module_files(M)
    whole = files[Kind.ZIP]
    for data in (whole, whole[: len(whole) // 2]) if half_is_newer else (whole[:-1], whole):
        athens_zip(database, M, data)
    athens_document(database, M, files)
    assert await read_all(await storage.open(M, Kind.ZIP)) == whole


@ensureDeferred
async def test_nothing_but_half_a_zip_of_athens(storage, database):
    """Half a zip is no zip, with Athens' document or without: it can be put anew."""
    files = module_files(M)
    athens_zip(database, M, files[Kind.ZIP][:-30])
    athens_zip(database, M, b"")
    file = athens_zip(database, M, files[Kind.ZIP])
    database.fs.chunks.delete_many({"files_id": file})
    for _ in range(2):
        with pytest.raises(NotFound):
            await storage.open(M, Kind.ZIP)
        if not database.modules.find_one({}):
            athens_document(database, M, files)
    await storage.put(M, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    assert await read_all(await storage.open(M, Kind.ZIP)) == files[Kind.ZIP]


@ensureDeferred
async def test_a_version_of_athens_is_deleted(storage, athens, database):
    """Of a version of Athens everything goes, and of no other; then it can be put anew."""
    other = ModuleVersion(M.path, "v1.2.4")
    saved = athens(other)
    athens(M)
    await storage.put(M, Kind.ZIPHASH, BytesBlob(b"h1:"))
    await storage.delete(M)
    for kind in Kind:
        with pytest.raises(NotFound):
            await storage.open(M, kind)
    with pytest.raises(NotFound):
        await storage.delete(M)
    assert [document["_id"] for document in database.modules.find()] == [saved.document]
    assert [file["_id"] for file in database.fs.files.find()] == [saved.file]
    assert {chunk["files_id"] for chunk in database.fs.chunks.find()} == {saved.file}
    await storage.put(M, Kind.MOD, BytesBlob(b"new"))
    assert await read_all(await storage.open(M, Kind.MOD)) == b"new"


@ensureDeferred
async def test_athens_sees_what_it_stored(storage, athens, database):
    """Athens' own documents and files are never changed, so that it can be used again."""
    saved = athens(M)
    documents, files = list(database.modules.find()), list(database.fs.files.find())
    await read_all(await storage.open(M, Kind.ZIP))
    await put_all(storage, ModuleVersion("a.io/new", "v1.0.0"))
    assert list(database.modules.find()) == documents
    assert list(database.fs.files.find({"_id": saved.file})) == files


@ensureDeferred
async def test_what_is_none_of_ours(storage, database):
    """Documents of another shape do no harm and are in no list."""
    database.modules.insert_many(
        [
            {"module": 1, "version": 2},
            {"module": M.path},
            {"module": M.path, "version": "main", "mod": b"", "info": b""},
        ]
    )
    database.modules.insert_one({"module": M.path, "version": M.version, "mod": None, "info": b"x"})
    assert list(await storage.versions(M.path)) == []
    assert await pages(storage, 1) == [[]]
    with pytest.raises(NotFound):
        await storage.open(M, Kind.MOD)


# How zips are kept


@ensureDeferred
async def test_files_have_names(storage, database):
    """In GridFS a zip has a name that no other version's has, and the length that it has."""
    versions = [ModuleVersion(path, "v1.0.0") for path in ("a.io/b_c", "a.io/b/c")]
    await put_all(storage, *versions)
    found = {file.filename: file.read() for file in GridFSBucket(database).find()}
    assert found == {f"{version}.zip": f"{version}.zip".encode() for version in versions}


@ensureDeferred
async def test_one_document_is_read(storage, database):
    """That a zip is there, and how long it is, is known from one document."""
    await storage.put(M, Kind.ZIP, BytesBlob(b"zip"))
    database.drop_collection("fs.files")
    assert await read_all(await storage.open(M, Kind.ZIP)) == b"zip"


@pytest.mark.parametrize("lost", [0, 1, 20, 39])
@ensureDeferred
async def test_a_part_is_missing(storage, database, lost):
    """Where a part of a zip was lost it is a failure, and no byte behind that place is given out."""
    await storage.put(M, Kind.ZIP, Zeros(10 * MIB - 3))
    database.fs.chunks.delete_one({"n": lost})
    blob, read = await storage.open(M, Kind.ZIP), 0
    with pytest.raises(StorageFailed, match=rf"^{M} zip: a part of it is missing"):
        async for piece in blob.chunks():
            read += len(piece)
    assert read <= lost * 255 * 1024


@ensureDeferred
async def test_many_instances(make):
    """Of several instances that put different bytes at once one succeeds; nothing of the others is left."""
    storages = [make() for _ in range(4)]
    for kind in (Kind.INFO, Kind.ZIP):
        puts = [
            Deferred.fromCoroutine(storage.put(M, kind, BytesBlob(b"%d" % number)))
            for number, storage in enumerate(storages * 3)
        ]
        outcomes = await DeferredList(puts, consumeErrors=True)
        stored = await read_all(await storages[0].open(M, kind))
        assert [number for number, (success, _) in enumerate(outcomes) if success] == [int(stored)]
        assert all(failure.check(Conflict) for success, failure in outcomes if not success)


@ensureDeferred
async def test_the_loser_leaves_nothing(make, database):
    """Who comes second with a zip removes what he has uploaded."""
    storages = [make() for _ in range(6)]
    puts = [
        Deferred.fromCoroutine(storage.put(M, Kind.ZIP, BytesBlob(b"%d" % number)))
        for number, storage in enumerate(storages)
    ]
    await DeferredList(puts, consumeErrors=True)
    assert [file["filename"] for file in database.fs.files.find()] == [f"{M}.zip"]
    assert len(list(database.fs.chunks.find())) == 1


@pytest.mark.parametrize("length", [2000, 10 * MIB])
@ensureDeferred
async def test_nothing_is_left_of_what_broke_off(storage, database, length):
    """Of a zip that could not be read to its end no part is kept."""
    with pytest.raises(StorageFailed, match="the other machine went away"):
        await storage.put(M, Kind.ZIP, BrokenBlob(length))
    assert list(database.fs.chunks.find()) == []


@pytest.mark.parametrize("length", [9, 11])
@ensureDeferred
async def test_another_length(storage, database, length):
    """A blob that is not as long as it says is not stored."""

    class Liar(BytesBlob):
        @property
        def length(self):
            return length

    with pytest.raises(StorageFailed, match="it has 10 bytes"):
        await storage.put(M, Kind.ZIP, Liar(bytes(10)))
    with pytest.raises(NotFound):
        await storage.open(M, Kind.ZIP)
    assert list(database.fs.chunks.find()) == []


@ensureDeferred
async def test_sweep(storage, make, database):
    """A day later what uploads have left is removed, and what is stored is not, even where its name is wanting."""
    other = ModuleVersion("a.io/m", "v1.0.0")
    await put_all(storage, M)
    with pytest.raises(StorageFailed):
        await storage.put(other, Kind.ZIP, BrokenBlob())
    late = database.fs.files.find_one({"metadata.module": other.path})["_id"]
    database.fs.chunks.insert_one({"files_id": late, "n": 0, "data": b"it came late"})
    unfinished = database.fs.files.find_one({"_id": late})["filename"]
    database.fs.files.update_one({"filename": f"{M}.zip"}, {"$set": {"filename": unfinished}})
    assert await storage.sweep() == 0
    now = datetime.now(UTC).timestamp() + LEFT_BEHIND.total_seconds()
    assert await make(now=lambda: now - 60).sweep() == 0
    assert await make(now=lambda: now + 60).sweep() == 1
    assert [file["filename"] for file in database.fs.files.find()] == [f"{M}.zip"]
    assert len(list(database.fs.chunks.find())) == 1
    assert await read_all(await storage.open(M, Kind.ZIP)) == f"{M}.zip".encode()


@ensureDeferred
async def test_sweep_at_start(make, database):
    """It is begun at the start; a server that is not there does not matter."""
    file = ObjectId()
    left = {
        "_id": file,
        "filename": "athensd: unfinished",
        "length": 4,
        "chunkSize": 4,
        "uploadDate": datetime(2024, 1, 2),
    }
    database.fs.files.insert_one({**left, "metadata": {"module": M.path, "version": M.version}})
    database.fs.chunks.insert_one({"files_id": file, "n": 0, "data": b"left"})
    make("mongodb://127.0.0.1:1/").start()
    make().start()
    while database.fs.files.find_one({}):
        await deferToThread(database.command, "ping")
    assert list(database.fs.chunks.find()) == []


@ensureDeferred
async def test_too_large_for_a_document(storage):
    """A small file that is larger than a document may be is refused in words that say so."""
    with pytest.raises(StorageFailed, match=rf"^{M} mod: it is larger than a document of MongoDB may be$"):
        await storage.put(M, Kind.MOD, Zeros(17 * MIB))
    with pytest.raises(NotFound):
        await storage.open(M, Kind.MOD)


@pytest.mark.slow
@ensureDeferred
async def test_large_zip(storage, tmp_path):
    """200 MB go both ways in constant memory."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        for seed in range(200):
            file.write(random.Random(seed).randbytes(MIB))
    await put_all(storage, ModuleVersion("a.io/m", "v1.0.0"))  # what is used for the first time takes memory, too
    before = resident()
    large = Weighed(FileBlob(path, 200 * MIB))
    await storage.put(M, Kind.ZIP, large)
    stored = Weighed(await storage.open(M, Kind.ZIP))
    assert stored.length == large.length
    assert await digest_of(stored) == await digest_of(large)
    assert max(large.most, stored.most) - before < 40 * MIB


# A server that is not as it should be


@ensureDeferred
async def test_cut_upload(storage, proxied, database):
    """Of an upload whose connection is cut nothing is to be seen, and no part is kept; later it can be put."""
    proxy, cut_off = proxied
    await cut_off.check()
    proxy.cut(upstream=1 * MIB, connections=100)
    with pytest.raises(StorageFailed, match=rf"^{M} zip: the connection to MongoDB broke off$"):
        await cut_off.put(M, Kind.ZIP, Zeros(10 * MIB))
    with pytest.raises(NotFound):
        await storage.open(M, Kind.ZIP)
    assert list(database.fs.chunks.find()) == []
    proxy.mend()
    await cut_off.put(M, Kind.ZIP, Zeros(10 * MIB))
    assert await digest_of(await storage.open(M, Kind.ZIP)) == await digest_of(Zeros(10 * MIB))


@ensureDeferred
async def test_upload_that_is_cut_now_and_then(storage, proxied):
    """An upload goes on where its connection was cut."""
    proxy, cut_off = proxied
    await cut_off.check()
    proxy.cut(upstream=3 * MIB, connections=100)
    data = random.Random(1).randbytes(20 * MIB)
    await cut_off.put(M, Kind.ZIP, BytesBlob(data))
    assert proxy.cuts > 1
    assert await read_all(await storage.open(M, Kind.ZIP)) == data


@ensureDeferred
async def test_download_that_is_cut_now_and_then(storage, proxied):
    """A download goes on where its connection was cut, and what is read is right to the byte."""
    proxy, cut_off = proxied
    data = random.Random(1).randbytes(20 * MIB)
    await storage.put(M, Kind.ZIP, BytesBlob(data))
    blob = await cut_off.open(M, Kind.ZIP)
    proxy.cut(downstream=3 * MIB, connections=100)
    assert await read_all(blob) == data
    assert proxy.cuts > 1


@ensureDeferred
async def test_download_cut_again_and_again(storage, proxied):
    """When it breaks off all the time it is an error; what was read until then was right."""
    proxy, cut_off = proxied
    data = random.Random(1).randbytes(20 * MIB)
    await storage.put(M, Kind.ZIP, BytesBlob(data))
    blob, read = await cut_off.open(M, Kind.ZIP), b""
    first = True
    with pytest.raises(StorageFailed, match=rf"^{M} zip: the connection to MongoDB broke off$"):
        async for piece in blob.chunks():
            read += piece
            if first:
                proxy.cut(downstream=1 * MIB, connections=100)
                first = False
    assert read
    assert read == data[: len(read)]


@pytest.mark.slow
@ensureDeferred
async def test_an_answer_is_lost(storage, proxied, database):
    """Whichever answer of the server is lost while a zip is put: it is asked again, and the zip is stored once."""
    proxy, cut_off = proxied
    await cut_off.check()
    versions = [ModuleVersion("a.io/m", f"v1.{number}.0") for number in range(16)]
    for number, version in enumerate(versions):
        proxy.cut(downstream=30 * number)
        await cut_off.put(version, Kind.ZIP, BytesBlob(str(version).encode()))
    assert proxy.cuts > 10
    for version in versions:
        assert await read_all(await storage.open(version, Kind.ZIP)) == str(version).encode()
    assert len(list(database.fs.files.find())) == len(list(database.fs.chunks.find())) == len(versions)


@pytest.mark.slow
@ensureDeferred
async def test_delete_that_breaks_off(make, storage, proxied, database):
    """Wherever it breaks off: either it can be deleted again, or what is left of it is swept a day later."""
    proxy, cut_off = proxied
    versions = [ModuleVersion("a.io/m", f"v1.{number}.0") for number in range(9)]
    await put_all(storage, *versions)
    for number, version in enumerate(versions):
        await cut_off.check()
        proxy.cut(downstream=75 * number, connections=100)
        with suppress(StorageFailed):
            await cut_off.delete(version)
        proxy.mend()
    assert proxy.cuts > 5
    await make(now=lambda: datetime.now(UTC).timestamp() + 2 * LEFT_BEHIND.total_seconds()).sweep()
    zips = {document["file"] for document in database["modules.athensd"].find({"kind": "zip"})}
    assert 0 < len(zips) < len(versions)
    assert {file["_id"] for file in database.fs.files.find()} == zips
    assert {part["files_id"] for part in database.fs.chunks.find()} == zips


@pytest.mark.slow
@ensureDeferred
async def test_chaos(storage, proxied, database):
    """Whatever is cut when: what was said to be stored is, all that is listed is whole, and no zip is a wrong one."""
    proxy, cut_off = proxied
    chance = random.Random(6)
    await cut_off.check()
    proxy.cut_at_random(chance, 2 * MIB)
    said: set[tuple[ModuleVersion, Kind]] = set()
    versions = [ModuleVersion("a.io/m", f"v1.{number}.0") for number in range(12)]
    for version in versions:
        for kind in WHOLE:
            data = random.Random(f"{version} {kind}").randbytes(MIB if kind is Kind.ZIP else 10_000)
            for _ in range(chance.randint(1, 3)):
                with suppress(StorageFailed):
                    await cut_off.put(version, kind, BytesBlob(data))
                    said.add((version, kind))
    assert proxy.cuts > 10
    listed = await storage.versions("a.io/m")
    for version in versions:
        for kind in WHOLE:
            data = random.Random(f"{version} {kind}").randbytes(MIB if kind is Kind.ZIP else 10_000)
            if version.version in listed or (version, kind) in said:
                assert await read_all(await storage.open(version, kind)) == data
            else:
                await storage.put(version, kind, BytesBlob(data))
    assert len(await storage.versions("a.io/m")) == len(versions)


def all_asks(storage):
    """Everything that can be asked."""
    return [
        lambda: storage.check(),
        lambda: storage.open(M, Kind.MOD),
        lambda: storage.open(ModuleVersion("a.io/never", "v1.0.0"), Kind.ZIP),
        lambda: storage.put(M, Kind.INFO, BytesBlob(b"x")),
        lambda: storage.put(M, Kind.ZIP, BytesBlob(b"x")),
        lambda: storage.versions(M.path),
        lambda: storage.page("", 10),
        lambda: storage.delete(M),
    ]


async def fails(ask, words, seconds):
    """It fails for this reason, in so many seconds, and says nothing that should not be said."""
    with pytest.raises(StorageFailed, match=f": {words}$") as raised:
        await within(seconds, ask())
    assert not any(secret in str(raised.value) for secret in SECRETS)


async def all_fail(storage, words, seconds):
    """Everything fails so, when it is asked all at once."""
    await gatherResults([Deferred.fromCoroutine(fails(ask, words, seconds)) for ask in all_asks(storage)])


@ensureDeferred
async def test_server_is_down(server, make):
    """A server that is not there is known to be so soon, whatever it is asked, and is never taken for empty."""
    await all_fail(make(url_of(server, 1)), "no connection to MongoDB", 3)


@ensureDeferred
async def test_server_is_silent(proxied):
    """A server that takes connections and says nothing is given up in a few seconds."""
    proxy, cut_off = proxied
    proxy.hang()
    with pytest.raises(StorageFailed, match=f"^{M} zip: no connection to MongoDB$"):
        await within(8, cut_off.open(M, Kind.ZIP))
    proxy.mend()


@ensureDeferred
async def test_a_silent_server_is_left(proxied):
    """A server that says nothing any more does not hold up the end."""
    proxy, cut_off = proxied
    await put_all(cut_off, M)
    proxy.hang()
    await within(5, cut_off.close())
    proxy.mend()


@ensureDeferred
async def test_server_is_stopped_and_comes_back(tmp_path, make):
    """While the server is down everything fails soon; when it is back everything that was stored is there."""
    with ferretdb(tmp_path) as server:
        storage = make(url_of(server))
        await storage.put(M, Kind.ZIP, BytesBlob(b"zip"))
        blob = await storage.open(M, Kind.ZIP)
    await all_fail(storage, "(no connection to MongoDB|the connection to MongoDB broke off)", 3)
    with pytest.raises(StorageFailed):
        await within(3, read_all(blob))
    with ferretdb(tmp_path, server.port):
        assert await read_all(blob) == b"zip"
        assert await read_all(await storage.open(M, Kind.ZIP)) == b"zip"
        await storage.put(M, Kind.INFO, BytesBlob(b"info"))
        await storage.check()


@pytest.mark.parametrize("login", ["athens:guessed@", "nobody:guessed@"])
@ensureDeferred
async def test_wrong_password(server, make, login):
    """Who is not let in is told so, and never that there is nothing."""
    storage = make(f"mongodb://{login}127.0.0.1:{server.port}/")
    for ask in all_asks(storage):
        await fails(ask, "authentication failed; see the user and password in Storage.Mongo.URL", 5)


@ensureDeferred
async def test_no_password(server, make):
    """The same where a password is wanted and there is none."""
    await all_fail(make(f"mongodb://127.0.0.1:{server.port}/"), "its user may not do this in MongoDB", 5)


# TLS and settings


@pytest.fixture
def tls(server):
    """FerretDB behind TLS: its port, and the authority of its certificate."""
    authority = trustme.CA()
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    options = PrivateCertificate.loadPEM(pem).options()
    port = reactor.listenSSL(0, ProxyFactory("127.0.0.1", server.port), options, interface="127.0.0.1")
    yield port.getHost().port, authority
    blockon(port.stopListening())


@ensureDeferred
async def test_private_authority(server, make, tls, tmp_path):
    """A server with a certificate of a private authority is trusted when its certificate is given."""
    port, authority = tls
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    storage = make(url_of(server, port), cert_path=str(path))
    await storage.put(M, Kind.MOD, BytesBlob(b"mod"))
    assert await read_all(await storage.open(M, Kind.MOD)) == b"mod"


@ensureDeferred
async def test_unknown_authority(server, make, tls, tmp_path):
    """With another one it is not, nor with those of the host, unless any certificate will do."""
    port, _ = tls
    path = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    words = "^the store: the certificate of MongoDB is not trusted; see Storage.Mongo.CertPath$"
    for url, cert in ((url_of(server, port), str(path)), (url_of(server, port) + "?tls=true", "")):
        with pytest.raises(StorageFailed, match=words):
            await within(8, make(url, cert_path=cert).check())
        await make(url, cert_path=cert, insecure=True).check()


@ensureDeferred
async def test_tls_is_wanted(server, make):
    """Where TLS is wanted and the server has none nothing is sent in the clear."""
    storage = make(url_of(server) + "?tls=true", insecure=True)
    with pytest.raises(StorageFailed, match=r"^the store: no TLS connection to MongoDB$"):
        await within(8, storage.check())


@ensureDeferred
async def test_insecure_is_no_tls(make):
    """That any certificate will do does not mean that there must be one, as with Athens."""
    await make(insecure=True).check()


@ensureDeferred
async def test_options_of_the_address(server, make):
    """The address may say more; what it says of where to read and of when something is written does not count."""
    storage = make(url_of(server) + "?authMechanism=SCRAM-SHA-256&w=0&readPreference=secondary&maxPoolSize=2")
    await put_all(storage, M)
    with pytest.raises(Conflict):
        await storage.put(M, Kind.INFO, BytesBlob(b"another"))


@ensureDeferred
async def test_another_collection(make, database):
    """Everything but zips is in collections of the name that was chosen."""
    await put_all(make(collection="go"), M)
    names = {name for name in database.list_collection_names() if not name.startswith("fs.")}
    assert names == {"go", "go.athensd"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://user:ferret-secret@127.0.0.1/",
        "mongodb://user:ferret-secret@x@127.0.0.1/",
        "mongodb://user:ferret-secret/@127.0.0.1:27017/",
        "mongodb://user:ferret-secret@127.0.0.1:99999/",
    ],
)
def test_no_address(url):
    """What is no address is refused in words that hold nothing of it."""
    with pytest.raises(ValueError, match=r"^Storage\.Mongo\.URL is no address of MongoDB") as raised:
        MongoStorage(url, deferToThread)
    assert not any(secret in str(raised.value) for secret in SECRETS)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_no_certificates(tmp_path, text):
    """A file of authorities that is not there, or has none in it, is refused."""
    path = tmp_path / "authority.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"^Storage\.Mongo\.CertPath: no certificates can be read from it"):
        MongoStorage("mongodb://127.0.0.1/", deferToThread, cert_path=str(path))


def test_without_the_library():
    """The module can be imported without pymongo; making a storage is then an ImportError."""
    program = """
import sys
sys.modules.update(pymongo=None, bson=None, gridfs=None)
from athensd.storage.mongo import MongoStorage
try:
    MongoStorage("mongodb://127.0.0.1/", None)
except ImportError:
    print("none")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NetworkTimeout("127.0.0.1:27017: timed out"), "MongoDB did not answer in time"),
        (ExecutionTimeout("operation exceeded time limit", 50), "MongoDB did not answer in time"),
        (WTimeoutError("waiting for replication timed out", 64), "too few members of MongoDB confirmed it in time"),
        (DocumentTooLarge("BSON document too large"), "it is larger than a document of MongoDB may be"),
        (KeyError("127.0.0.1"), "MongoDB cannot be used (KeyError)"),
    ],
)
def test_reasons(error, words):
    """What FerretDB never says has its words, too."""
    assert reason(error) == words
