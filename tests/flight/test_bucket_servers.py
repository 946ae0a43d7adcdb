"""Leases in the buckets of real servers.  What is silent is given up by whoever asks (``LeasedFlight``)."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool

from athensd.bucket.azure import AzureBucket, shared_key
from athensd.bucket.gcs import GcsBucket, no_token
from athensd.bucket.s3 import S3Bucket
from athensd.bucket.s3_credentials import S3Key, fixed_key
from athensd.bucket.s3_place import S3Place
from athensd.bucket.server import Refused, Server
from athensd.flight.bucket import BucketLeases
from athensd.streams import plain_client
from tests.flight.contract import ServerLeasesContract
from tests.servers import azurite, fake_gcs, minio

IDLE = 3.0


@pytest.fixture
def client():
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 20
    yield plain_client(Agent(reactor, pool=pool, connectTimeout=5))
    blockon(pool.closeCachedConnections())


@pytest.fixture(scope="module")
def minio_server(tmp_path_factory):
    with minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def gcs_server(tmp_path_factory):
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        body, headers = json.dumps({"name": "leases"}).encode(), {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{server.port}/storage/v1/b"
        urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
        yield server


@pytest.fixture(scope="module")
def azure_server(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


class TestLeasesInMinIO(ServerLeasesContract):
    @pytest.fixture
    def server(self, minio_server):
        return minio_server

    @pytest.fixture
    def process(self, client, server, way):
        place = S3Place("leases", "", f"http://127.0.0.1:{way.port}")
        bucket = S3Bucket(
            client, reactor, fixed_key(S3Key(server.user, server.password)), place, create=True, idle=IDLE
        )
        blockon(Deferred.fromCoroutine(bucket.check()))
        return lambda: BucketLeases(bucket, time.monotonic)


class TestLeasesInGcs(ServerLeasesContract):
    @pytest.fixture
    def server(self, gcs_server):
        return gcs_server

    @pytest.fixture
    def process(self, client, way):
        bucket = GcsBucket(client, reactor, "leases", no_token, emulator=f"127.0.0.1:{way.port}", idle=IDLE)
        return lambda: BucketLeases(bucket, time.monotonic)


class TestLeasesInAzure(ServerLeasesContract):
    @pytest.fixture
    def server(self, azure_server):
        return azure_server

    @pytest.fixture
    def process(self, client, server, way):
        account, authorize = server.account, shared_key(server.account, server.key)
        url = f"http://127.0.0.1:{way.port}/{account}"
        # Whether it is there already is seen by what follows.
        maker = Server(client, reactor, authorize, lambda answer: Refused(answer.response.code, ""))
        make = Deferred.fromCoroutine(maker.ask("PUT", f"{url}/leases?restype=container"))
        blockon(make.addErrback(lambda failure: failure.trap(Refused)))
        bucket = AzureBucket(client, reactor, account, "leases", authorize, endpoint=url, idle=IDLE)
        return lambda: BucketLeases(bucket, time.monotonic)
