"""The datastore in a bucket: on a fake one and on a real MinIO, in both of Athens' layouts."""

from __future__ import annotations

from itertools import chain, count

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool

from athensd.blob import BytesBlob, read_all
from athensd.bucket.s3 import S3Bucket
from athensd.bucket.s3_credentials import S3Key, fixed_key
from athensd.bucket.s3_place import S3Place
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout, FolderLayout
from athensd.streams import plain_client
from tests.bucket.memory import MemoryBucket
from tests.fakes import module_files, result_of
from tests.servers import minio
from tests.storage.contract import M, StorageContract, pages, put_all

numbers = count()


@pytest.fixture(params=[DownloadLayout(), FolderLayout()], ids=["download", "folder"])
def layout(request):
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def minio_bucket(server):
    """A bucket of its own, of which lists come in many small parts."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 20
    client = plain_client(Agent(reactor, pool=pool, connectTimeout=5))
    place = S3Place(f"storage-{next(numbers)}", "", f"http://127.0.0.1:{server.port}")
    key = fixed_key(S3Key(server.user, server.password))
    bucket = S3Bucket(client, reactor, key, place, create=True, page_size=100)
    blockon(Deferred.fromCoroutine(bucket.check()))
    yield bucket
    blockon(pool.closeCachedConnections())


@pytest.fixture
def bucket():
    return MemoryBucket()


@pytest.fixture
def memory(bucket, layout):
    return BucketStorage(bucket, layout)


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self, memory):
        return memory


class TestMinio(StorageContract):
    @pytest.fixture
    def storage(self, minio_bucket, layout):
        return BucketStorage(minio_bucket, layout)

    @pytest.mark.slow
    @ensureDeferred
    async def test_thousands_of_versions(self, storage):
        """All of 3,000 versions of a module are listed and in the catalog, though the server gives few at once."""
        versions = [ModuleVersion("a.io/m", f"v1.{number}.0-rc.1") for number in range(3000)]
        await put_all(storage, *versions, ModuleVersion("a.io/m-x", "v1.0.0"), ModuleVersion("a.io/m/sub", "v1.0.0"))
        listed = await storage.versions("a.io/m")
        assert sorted(listed) == sorted(version.version for version in versions)
        found = list(chain(*await pages(storage, 500)))
        assert len(found) == 3002
        assert {*versions} < {*found}


ATHENS = {
    "download": {
        Kind.INFO: "github.com/BurntSushi/toml/@v/v1.0.0.info",
        Kind.MOD: "github.com/BurntSushi/toml/@v/v1.0.0.mod",
        Kind.ZIP: "github.com/BurntSushi/toml/@v/v1.0.0.zip",
    },
    "folder": {
        Kind.INFO: "github.com/BurntSushi/toml/v1.0.0/v1.0.0.info",
        Kind.MOD: "github.com/BurntSushi/toml/v1.0.0/go.mod",
        Kind.ZIP: "github.com/BurntSushi/toml/v1.0.0/source.zip",
    },
}
TYPES = {Kind.INFO: "application/json", Kind.MOD: "text/plain", Kind.ZIP: "application/octet-stream"}
FOREIGN = ["x.info", "README", "parts/github.com/BurntSushi/toml/v1.0.1/1", "github.com/BurntSushi/toml/@v/list"]


@pytest.fixture(params=["bucket", "minio_bucket"])
def any_bucket(request):
    return request.getfixturevalue(request.param)


@ensureDeferred
async def test_a_bucket_of_athens(any_bucket, layout):
    """What Athens stored is served as it is, listed and in the catalog; whatever else lies there does no harm."""
    bucket = any_bucket
    version = ModuleVersion("github.com/BurntSushi/toml", "v1.0.0")
    files = module_files(version)
    names = ATHENS["download" if isinstance(layout, DownloadLayout) else "folder"]
    for kind, name in names.items():
        await bucket.put(name, BytesBlob(files[kind]), TYPES[kind])
    for name in FOREIGN:
        await bucket.put(name, BytesBlob(b"x"), "text/plain")
    storage = BucketStorage(bucket, layout)
    for kind in names:
        assert await read_all(await storage.open(version, kind)) == files[kind]
    with pytest.raises(NotFound):
        await storage.open(version, Kind.ZIPHASH)
    assert list(await storage.versions(version.path)) == ["v1.0.0"]
    assert await pages(storage, 10) == [[version]]
    await storage.put(version, Kind.ZIP, BytesBlob(files[Kind.ZIP]))
    with pytest.raises(Conflict):
        await storage.put(version, Kind.ZIP, BytesBlob(b"another"))
    await storage.put(version, Kind.ZIPHASH, BytesBlob(b"h1:"))
    await storage.delete(version)
    left = [name async for name in bucket.names("")]
    assert [name for name in left if not name.startswith(".athensd/")] == sorted(FOREIGN)


def test_types(bucket, memory, layout):
    """Objects have the types that Athens gives them."""
    result_of(put_all_kinds(memory))
    types = {kind: bucket.objects[layout.name(M, kind)].content_type for kind in Kind}
    assert types == {**TYPES, Kind.ZIPHASH: "text/plain"}


async def put_all_kinds(storage):
    for kind in Kind:
        await storage.put(M, kind, BytesBlob(b"x"))


def test_hash_outlives_the_zip(bucket, memory, layout):
    """The zip is deleted first, so that whoever sees it sees its hash."""
    result_of(put_all_kinds(memory))
    bucket.asked.clear()
    result_of(memory.delete(M))
    deleted = [name for method, name, *_ in bucket.asked if method == "delete"]
    assert deleted == [layout.name(M, kind) for kind in (Kind.ZIP, Kind.ZIPHASH, Kind.MOD, Kind.INFO)]


@pytest.mark.parametrize("size", [1, 300_000, 600_001])
def test_compared_by_pieces(memory, size):
    """Large files are compared to their last byte, however each side is cut into pieces."""
    data = bytes(size)
    result_of(memory.put(M, Kind.ZIP, BytesBlob(data)))
    result_of(memory.put(M, Kind.ZIP, BytesBlob(data)))
    for other in (data[:-1] + b"x", b"x" + data[1:], data + b"x", data[:-1]):
        with pytest.raises(Conflict):
            result_of(memory.put(M, Kind.ZIP, BytesBlob(other)))


def test_failures_are_not_absences(bucket, memory):
    """A bucket that cannot be asked is a failure whatever is wanted, never an empty store."""
    result_of(put_all_kinds(memory))
    bucket.failure = "the connection broke off"
    for ask in (
        lambda: memory.open(M, Kind.ZIP),
        lambda: memory.put(M, Kind.ZIP, BytesBlob(b"x")),
        lambda: memory.versions(M.path),
        lambda: memory.delete(M),
        lambda: memory.page("", 10),
        lambda: memory.check(),
    ):
        with pytest.raises(StorageFailed, match="broke off"):
            result_of(ask())


def test_removed_while_it_is_put(bucket, memory, layout):
    """When what was there first is gone before it could be compared, nothing is claimed."""

    class Flighty(MemoryBucket):
        async def put(self, name, blob, content_type, *, replacing=None):
            raise Conflict("it is there")

    with pytest.raises(StorageFailed, match="removed while it was put"):
        result_of(BucketStorage(Flighty(), layout).put(M, Kind.ZIP, BytesBlob(b"x")))


def test_one_request_for_each_file(bucket, memory, layout):
    """Reading is one request and so is writing; a list is one for all versions of a module."""
    result_of(put_all_kinds(memory))
    result_of(memory.open(M, Kind.ZIP))
    result_of(memory.versions(M.path))
    assert [method for method, *_ in bucket.asked] == ["put"] * 4 + ["open", "names"]
    assert {kind for kind in WHOLE if layout.name(M, kind) in bucket.objects} == WHOLE
