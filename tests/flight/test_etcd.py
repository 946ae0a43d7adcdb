"""Leases in a real etcd."""

from __future__ import annotations

import json
import time
from base64 import b64encode

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.web.client import Agent, HTTPConnectionPool

from athensd.blob import BytesBlob
from athensd.errors import StorageFailed
from athensd.flight.etcd import EtcdLeases, etcd_urls
from athensd.streams import exchange, plain_client, read_bounded
from tests.fakes import start
from tests.flight.contract import ServerLeasesContract, pause
from tests.integration.process import free_ports
from tests.origin.fakes_http import Room, answer, silent, table
from tests.servers import etcd

KEY = "fetch example.com/m@v1.2.3 zip"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def client():
    pool = HTTPConnectionPool(reactor)
    yield plain_client(Agent(reactor, pool=pool, connectTimeout=2))
    blockon(pool.closeCachedConnections())


@pytest.fixture
def room():
    room = Room()
    yield room
    for server in room.servers:
        server.stop()


class TestEtcdLeases(ServerLeasesContract):
    shortest = 2.0
    """etcd counts whole seconds, and not fewer."""

    @pytest.fixture
    def process(self, way, client):
        return lambda: EtcdLeases([f"http://127.0.0.1:{way.port}"], client, reactor)


async def kept(client, server):
    """How many leases there are."""
    url = f"http://127.0.0.1:{server.port}/v3/lease/leases"
    response = await exchange(client, reactor, "POST", url, {}, blob=BytesBlob(b"{}"))
    return len(json.loads(await read_bounded(response, 1_000_000, 5, reactor)).get("leases", []))


@ensureDeferred
async def test_several_members(server, client, room):
    """One that is away or silent is passed over, and not the first to be asked the next time."""
    quiet = room.serve(silent())
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    leases = EtcdLeases([away, quiet.url, f"http://127.0.0.1:{server.port}"], client, reactor, silence=0.3)
    assert await leases.take(KEY, "me", 30)
    began = time.monotonic()
    await leases.give_back(KEY, "me")
    assert time.monotonic() - began < 0.3
    assert len(quiet.asked) == 1


@ensureDeferred
async def test_who_gave_up_does_not_come_back(server, client, room):
    """A silent member is passed over the next time also when nobody waited for the end of its silence."""
    quiet = room.serve(silent())
    leases = EtcdLeases([quiet.url, f"http://127.0.0.1:{server.port}"], client, reactor, silence=10)
    asked = start(leases.take(KEY, "me", 30))
    await pause(0.1)
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    began = time.monotonic()
    assert await leases.take(KEY, "me", 30)
    assert time.monotonic() - began < 5
    await leases.give_back(KEY, "me")


@ensureDeferred
async def test_nothing_stays(server, client):
    """etcd keeps nothing of leases that were given back, nor of those that were not to be had."""
    leases, before = EtcdLeases([f"http://127.0.0.1:{server.port}"], client, reactor), await kept(client, server)
    asked = [start(leases.take(KEY, f"holder {number}", 30)) for number in range(10)]
    outcomes = await gatherResults(asked)
    assert await kept(client, server) == before + 1
    await leases.give_back(KEY, f"holder {outcomes.index(True)}")
    assert await kept(client, server) == before


@pytest.mark.parametrize("ttl", [b"", b', "TTL": "0"'])
@ensureDeferred
async def test_runs_out_while_it_is_renewed(client, room, ttl):
    """A lease that ends between the look at its key and its renewal is not to be had."""
    value = b64encode(b"me").decode()
    found = answer(json.dumps({"kvs": [{"value": value, "lease": "7"}]}).encode())
    ended = answer(b'{"result": {"ID": "7"%b}}' % ttl)
    server = room.serve(table({"/v3/kv/range": found, "/v3/lease/keepalive": ended}))
    assert not await EtcdLeases([server.url], client, reactor).take(KEY, "me", 30)
    assert server.targets == ["/v3/kv/range", "/v3/lease/keepalive"]


@pytest.mark.parametrize(
    "handler",
    [answer(b'{"error": "secret"}', 500), answer(b"secret"), answer(b"[1]"), answer(b"{}"), answer(b"", 404)],
)
@ensureDeferred
async def test_odd_answers(client, room, handler):
    """What is no answer of etcd's is said to be none, in few words."""
    leases = EtcdLeases([room.serve(handler).url], client, reactor)
    with pytest.raises(StorageFailed, match=r"etcd (refuses|answers something else)") as raised:
        await leases.take(KEY, "me", 30)
    assert "secret" not in str(raised.value)


def test_urls():
    """Endpoints are those of Athens: host and port, or a URL, with commas between them."""
    assert etcd_urls("localhost:2379, https://e.example.com:2379/,") == [
        "http://localhost:2379",
        "https://e.example.com:2379",
    ]
    with pytest.raises(ValueError, match="no address"):
        etcd_urls(" , ")
