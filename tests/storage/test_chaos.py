"""A store whose connections break at any byte, again and again: what is in it afterwards is whole and right."""

from __future__ import annotations

import io
import json
import random
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.client import Agent, HTTPConnectionPool

from athensd.blob import BytesBlob, read_all
from athensd.bucket.azure import AzureBucket, shared_key
from athensd.bucket.gcs import GcsBucket, no_token
from athensd.bucket.s3 import S3Bucket
from athensd.bucket.s3_credentials import S3Key, fixed_key
from athensd.bucket.s3_place import S3Place
from athensd.errors import NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip
from athensd.interfaces import WHOLE, IStorage, Kind
from athensd.spool import Spool
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout, FolderLayout
from athensd.streams import plain_client
from athensd.upkeep.checking import Checker
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.sums import Sums
from athensd.upkeep.tally import Tally
from tests.cutting import CuttingProxy
from tests.fakes import at_once, module_files, module_zip, result_of, start
from tests.servers import azurite, fake_gcs, minio
from tests.storage.contract import pages

pytestmark = pytest.mark.slow

OPERATIONS, AT_ONCE = 1000, 10
VERSIONS = [ModuleVersion(f"example.test/Chaos{number % 6}", f"v1.{number}.0") for number in range(30)]
ORDER = (Kind.INFO, Kind.MOD, Kind.ZIPHASH, Kind.ZIP)
numbers = count()
loop: Any = reactor


@frozen
class Store:
    """A real server's port, and a store on it as it is reached by way of any port."""

    port: int
    at: Callable[[HTTPClient, int], IStorage]


@contextmanager
def on_minio(directory: Path) -> Iterator[Store]:
    with minio(directory) as server:
        key, name = fixed_key(S3Key(server.user, server.password)), f"chaos-{next(numbers)}"

        def at(client: HTTPClient, port: int) -> IStorage:
            place = S3Place(name, "", f"http://127.0.0.1:{port}")
            return BucketStorage(S3Bucket(client, loop, key, place, create=True), FolderLayout())

        yield Store(server.port, at)


@contextmanager
def on_gcs(directory: Path) -> Iterator[Store]:
    with fake_gcs(directory) as server:
        name = f"chaos-{next(numbers)}"
        url, body = f"http://127.0.0.1:{server.port}/storage/v1/b", json.dumps({"name": name}).encode()
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).close()

        def at(client: HTTPClient, port: int) -> IStorage:
            bucket = GcsBucket(client, loop, name, no_token, emulator=f"127.0.0.1:{port}")
            return BucketStorage(bucket, DownloadLayout())

        yield Store(server.port, at)


@contextmanager
def on_azure(directory: Path) -> Iterator[Store]:
    with azurite(directory) as server:
        name, authorize = f"chaos-{next(numbers)}", shared_key(server.account, server.key)

        def at(client: HTTPClient, port: int) -> IStorage:
            endpoint = f"http://127.0.0.1:{port}/{server.account}"
            return BucketStorage(
                AzureBucket(client, loop, server.account, name, authorize, endpoint=endpoint), DownloadLayout()
            )

        url = f"http://127.0.0.1:{server.port}/{server.account}/{name}?restype=container"
        headers = result_of(start(authorize("PUT", url, {}, 0)))
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()
        yield Store(server.port, at)


def files_of(version: ModuleVersion) -> dict[Kind, bytes]:
    """Those of a version with up to 100 kB in its zip, and the hash of that."""
    chance = random.Random(str(version))
    mod = f"module {version.path}\n".encode()
    files = {"go.mod": mod, "data.bin": chance.randbytes(chance.randint(1, 100_000))}
    data = module_zip(version, files)
    h1 = check_zip(io.BytesIO(data), version).h1.encode()
    return {**module_files(version), Kind.MOD: mod, Kind.ZIP: data, Kind.ZIPHASH: h1}


class Chaos:
    """Askers that do what they like, and never see a byte that nobody put."""

    def __init__(self, storage: Any, chance: random.Random) -> None:
        self.storage = storage
        self.chance = chance
        self.files = {version: files_of(version) for version in VERSIONS}
        self.done = self.failed = 0

    async def run(self) -> None:
        while self.done + self.failed < OPERATIONS:
            try:
                await self.chance.choices((self.put, self.read, self.list, self.delete, self.page), (5, 4, 1, 1, 1))[
                    0
                ]()
                self.done += 1
            except StorageFailed:
                self.failed += 1
            except NotFound:
                self.done += 1

    async def put(self) -> None:
        version = self.chance.choice(VERSIONS)
        for kind in ORDER:
            await self.storage.put(version, kind, BytesBlob(self.files[version][kind]))

    async def read(self) -> None:
        version, kind = self.chance.choice(VERSIONS), self.chance.choice(ORDER)
        blob = await self.storage.open(version, kind)
        assert await read_all(blob) == self.files[version][kind]

    async def list(self) -> None:
        path = self.chance.choice(VERSIONS).path
        known = {version.version for version in VERSIONS if version.path == path}
        assert set(await self.storage.versions(path)) <= known

    async def delete(self) -> None:
        await self.storage.delete(self.chance.choice(VERSIONS))

    async def page(self) -> None:
        page = await self.storage.page("", self.chance.randint(1, 40))
        assert set(page.versions) <= set(VERSIONS)


@pytest.mark.parametrize("server", [on_minio, on_gcs, on_azure], ids=["minio", "gcs", "azure"])
@ensureDeferred
async def test_chaos(tmp_path: Path, server: Callable[[Path], Any]) -> None:
    """After a thousand operations on connections that are cut, what is listed is complete, and every byte is right."""
    pool = HTTPConnectionPool(loop)
    pool.maxPersistentPerHost = AT_ONCE
    client = plain_client(Agent(loop, pool=pool, connectTimeout=5))
    chance = random.Random(3)
    with server(tmp_path) as store:
        direct: Any = store.at(client, store.port)
        await direct.check()
        proxy = await CuttingProxy.listening(loop, store.port)
        proxy.cut_at_random(chance, 300_000)
        chaos = Chaos(store.at(client, proxy.port), chance)
        await gatherResults([Deferred.fromCoroutine(chaos.run()) for _ in range(AT_ONCE)])
        await proxy.close()
        assert proxy.cuts > 100, "the connections were cut"
        assert chaos.done > chaos.failed > 0
        listed = [version for page in await pages(direct, 7) for version in page]
        assert len(set(listed)) == len(listed) > 5
        for version in listed:
            assert version.version in await direct.versions(version.path)
            for kind in WHOLE:
                assert await read_all(await direct.open(version, kind)) == chaos.files[version][kind]
            h1 = await read_all(await direct.open(version, Kind.ZIPHASH))
            assert h1 == chaos.files[version][Kind.ZIPHASH]
        said: list[str] = []
        spool = Spool(tmp_path / "spool")
        checker = Checker(direct, Inspector(at_once, Sums()), spool, Tally(said.append))
        for version in listed:
            await checker.check(version)
        assert (said, checker.tally.counts["complete"]) == ([], len(listed)), "fsck agrees"
        await pool.closeCachedConnections()
