"""Leases in a real Redis."""

from __future__ import annotations

import socket
import sys

import pytest
import trustme
from pytest_twisted import ensureDeferred
from redis import Redis
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from athensd.errors import StorageFailed
from athensd.flight.redis import RedisLeases, RedisPlace, cluster, one_server, redis_place, sentinel
from tests.fakes import result_of, start
from tests.flight.contract import LeasesContract, ServerLeasesContract, seconds_of_failure
from tests.integration.process import free_ports
from tests.servers import redis, redis_cluster, redis_sentinel

KEY = "fetch example.com/m@v1.2.3 zip"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def watcher(tmp_path_factory):
    with redis_sentinel(tmp_path_factory.mktemp("sentinel")) as watcher:
        yield watcher


def leases_at(endpoint, password="", **more):
    return RedisLeases(one_server(redis_place(endpoint, password), **more), deferToThread)


class TestRedisLeases(ServerLeasesContract):
    @pytest.fixture
    def process(self, way):
        return lambda: leases_at(f"127.0.0.1:{way.port}")


class TestRedisCluster(LeasesContract):
    """The keys of a test lie on different nodes; only one of the nodes is named, and one that is none."""

    @pytest.fixture
    def process(self, nodes):
        endpoint = f"127.0.0.1:{free_ports(1)[0]},redis://127.0.0.1:{nodes[0].port}"
        return lambda: RedisLeases(cluster(redis_place(endpoint, cluster=True)), deferToThread)


class TestRedisSentinel(LeasesContract):
    """The first sentinel is away."""

    @pytest.fixture
    def process(self, watcher):
        sentinels = [f"127.0.0.1:{free_ports(1)[0]}", f"127.0.0.1:{watcher.port}"]
        passwords = {"sentinel_password": watcher.password, "password": watcher.redis.password}
        return lambda: RedisLeases(sentinel(sentinels, watcher.master, **passwords, db=3), deferToThread)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"master": "other"}, "its sentinels know of no master"),
            ({"sentinel_password": "wrong"}, "its sentinels know of no master"),
            ({"password": "wrong"}, "it refuses this user or password"),
            ({"password": ""}, "it wants a password"),
            ({"username": "nobody"}, "it refuses this user or password"),
        ],
    )
    @ensureDeferred
    async def test_settings_that_are_wrong(self, watcher, wrong, said):
        """What is wrong is said, without the passwords."""
        right = {"sentinel_password": watcher.password, "password": watcher.redis.password, "master": watcher.master}
        settings = {**right, **wrong}
        leases = RedisLeases(sentinel([f"127.0.0.1:{watcher.port}"], settings.pop("master"), **settings), deferToThread)
        with pytest.raises(StorageFailed, match=said) as raised:
            await leases.take(KEY, "me", 1)
        assert not {"secret", "wrong"} & set(str(raised.value).split())


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@ensureDeferred
async def test_password_and_tls(tmp_path, scheme):
    """A Redis that wants a password, with TLS and without, by a URL and by host and port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with redis(tmp_path, "pass/wörd", authority.issue_cert("127.0.0.1") if scheme == "rediss" else None) as server:
        host = f"127.0.0.1:{server.port}"
        trusting = f"?ssl_ca_certs={tmp_path / 'ca.pem'}" if scheme == "rediss" else ""
        right = [
            leases_at(f"{scheme}://:pass%2Fw%C3%B6rd@{host}/2{trusting}"),
            leases_at(f"{scheme}://default:pass%2Fw%C3%B6rd@{host}/2{trusting}", "pass/wörd"),
            leases_at(f"{scheme}://{host}/2{trusting}", "pass/wörd"),
        ]
        for leases in right:
            assert await leases.take(KEY, "me", 30)
        wrong = [
            (leases_at(f"{scheme}://:wrong@{host}{trusting}"), "it refuses this user or password"),
            (leases_at(f"{scheme}://{host}{trusting}"), "it wants a password"),
        ]
        if scheme == "rediss":
            wrong.append((leases_at(f"rediss://:pass%2Fw%C3%B6rd@{host}"), "its certificate is not trusted"))
            wrong.append((leases_at(f"rediss://localhost:{server.port}{trusting}"), "its certificate is not trusted"))
        for leases, said in wrong:
            with pytest.raises(StorageFailed, match=said):
                await leases.take(KEY, "other", 30)


@ensureDeferred
async def test_permissions(tmp_path):
    """A user may do it who may do what the document says; what he may not do is said."""
    with redis(tmp_path) as server:
        may = ["on", ">pw", "~athensd/*", "+eval", "+get", "+set", "+del"]
        operator = Redis(port=server.port)
        await deferToThread(operator.execute_command, "ACL", "SETUSER", "athens", *may)
        leases = leases_at(f"redis://athens:pw@127.0.0.1:{server.port}")
        assert await leases.take(KEY, "me", 30)
        assert await leases.take(KEY, "me", 30)
        await leases.give_back(KEY, "me")
        assert await leases.take(KEY, "other", 30)
        for less in ("-set", "-eval"):
            await deferToThread(operator.execute_command, "ACL", "SETUSER", "athens", less)
            with pytest.raises(StorageFailed, match="its user may not do this"):
                await leases.take(KEY, "other", 30)
        operator.close()


@ensureDeferred
async def test_a_server_that_is_restarted(tmp_path):
    """It has forgotten its leases: they can be taken anew, and nobody sees that the connections broke off."""
    with redis(tmp_path) as server:
        leases = leases_at(f"127.0.0.1:{server.port}")
        assert await leases.take(KEY, "me", 30)
    with redis(tmp_path, port=server.port):
        assert await leases.take(KEY, "other", 30)


@ensureDeferred
async def test_no_redis_there(tmp_path):
    """Of a cluster or of sentinels that are away it is said at once, and they may come later."""
    ports = free_ports(2)
    away = [f"127.0.0.1:{port}" for port in ports]
    for connect in (cluster(redis_place(",".join(away), cluster=True)), sentinel(away, "redis-1")):
        leases = RedisLeases(connect, deferToThread)
        for _ in range(2):
            assert await seconds_of_failure(leases.take(KEY, "me", 30)) < 1


@ensureDeferred
async def test_server_speaks_something_else(tmp_path):
    """What is no Redis is said to be none, in few words."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        asked = deferToThread(answer_once, other, b"HTTP/1.1 400 Bad Request\r\nX-Secret: secret\r\n\r\n")
        with pytest.raises(StorageFailed) as raised:
            await leases_at(f"127.0.0.1:{other.getsockname()[1]}").take(KEY, "me", 30)
        await asked
    assert "secret" not in str(raised.value).lower()


def answer_once(listener, data):
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        connection.sendall(data)


@pytest.mark.parametrize(
    ("endpoint", "password", "place"),
    [
        ("127.0.0.1:6379", "", RedisPlace([("127.0.0.1", 6379)])),
        ("redis.example.com", "p", RedisPlace([("redis.example.com", 6379)], password="p")),
        ("[::1]:7000", "", RedisPlace([("::1", 7000)])),
        ("redis://h", "", RedisPlace([("h", 6379)])),
        ("redis://u:p%40w@h:1/7", "", RedisPlace([("h", 1)], "u", "p@w", 7)),
        ("redis://:p@h:1?db=4&read_timeout=5s", "p", RedisPlace([("h", 1)], "", "p", 4)),
        ("rediss://h:1", "p", RedisPlace([("h", 1)], password="p", tls=True)),
        ("rediss://h?ssl_ca_certs=/ca.pem", "", RedisPlace([("h", 6379)], tls=True, ca_file="/ca.pem")),
    ],
)
def test_endpoint(endpoint, password, place):
    """An address is host:port or a URL; the password may stand in either place."""
    assert redis_place(endpoint, password) == place


@pytest.mark.parametrize(
    ("endpoint", "password", "place"),
    [
        ("a:1, b:2", "", RedisPlace([("a", 1), ("b", 2)])),
        ("redis://a:1,rediss://u:p@b:2,c", "p", RedisPlace([("a", 1), ("b", 2), ("c", 6379)], "u", "p", tls=True)),
    ],
)
def test_endpoints_of_a_cluster(endpoint, password, place):
    """Of a cluster there are several; what one of them says of TLS, user and password holds for all."""
    assert redis_place(endpoint, password, cluster=True) == place


@pytest.mark.parametrize(
    ("endpoint", "password", "said"),
    [
        ("", "", "no address"),
        ("redis://:one@h", "other", "two different passwords"),
        ("http://:secret@h", "", "redis:// or rediss://"),
        ("redis://:secret@h:port", "", "it is no address"),
        ("redis://:secret@h/db", "", "it is no address"),
        ("a:1,b:2", "", "it is no address"),
    ],
)
def test_endpoint_that_makes_no_sense(endpoint, password, said):
    """It is refused at the start, without showing what is in it."""
    with pytest.raises(ValueError, match=said) as raised:
        redis_place(endpoint, password)
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(redis_place("redis://:secret@h"))


def test_two_passwords_of_a_cluster():
    """All nodes have the same one."""
    with pytest.raises(ValueError, match="two different passwords"):
        redis_place("redis://:one@a,redis://:other@b", cluster=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: one_server(RedisPlace([("h", 1)])),
        lambda: cluster(RedisPlace([("h", 1)])),
        lambda: sentinel(["h:1"], "redis-1"),
        lambda: RedisLeases(lambda: None, deferToThread),
    ],
)
def test_without_the_library(make, monkeypatch):
    """It is missed at the start."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError):
        make()


def test_few_threads():
    """However many ask a server that is silent, most threads are free; who has left before his turn takes none."""
    calls = []

    def in_thread(*arguments):
        calls.append(Deferred())
        return calls[-1]

    leases = RedisLeases(lambda: None, in_thread)
    asked = [start(leases.take(f"{KEY} {number}", "me", 8)) for number in range(20)]
    assert len(calls) == 3
    for each in asked[3:]:
        each.addErrback(lambda failure: failure.trap(CancelledError))
        each.cancel()
    for each in calls:
        each.callback(1)
    assert [result_of(each) for each in asked[:3]] == [True] * 3
    assert len(calls) == 3
