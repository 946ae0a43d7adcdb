"""The servers of the tests are what they are taken for: each lets in who may, keeps what it should, and comes back."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request

import pytest
import trustme

from tests import servers


def http(server, path, data=None):
    with urllib.request.urlopen(f"http://{server.host}:{server.port}{path}", data, 5) as response:
        return response.read()


def s3(server):
    from botocore.session import get_session

    s3 = get_session().create_client(
        "s3",
        "us-east-1",
        endpoint_url=f"http://{server.host}:{server.port}",
        aws_access_key_id=server.user,
        aws_secret_access_key=server.password,
    )
    s3.create_bucket(Bucket=f"bucket{time.time_ns()}")
    return len(s3.list_buckets()["Buckets"])


def gcs(server):
    bucket = json.dumps({"name": f"bucket{time.time_ns()}"}).encode()
    http(server, "/storage/v1/b", bucket)
    return len(json.loads(http(server, "/storage/v1/b"))["items"])


def mongo(server):
    from pymongo import MongoClient

    with MongoClient(server.host, server.port, username=server.user, password=server.password) as client:
        client.athens.lines.insert_one({})
        return client.athens.lines.count_documents({})


def sql(connection):
    with connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS athens.lines (line INT)")
        cursor.execute("INSERT INTO athens.lines VALUES (1)")
        connection.commit()
        cursor.execute("SELECT * FROM athens.lines")
        return len(cursor.fetchall())


def postgres(server):
    import psycopg

    connection = psycopg.connect(host=server.host, port=server.port, user=server.user, password=server.password)
    connection.execute("CREATE SCHEMA IF NOT EXISTS athens")
    return sql(connection)


def mariadb(server):
    import pymysql

    connection = pymysql.connect(host=server.host, port=server.port, user=server.user, password=server.password)
    connection.cursor().execute("CREATE DATABASE IF NOT EXISTS athens")
    return sql(connection)


def redis(server, **tls):
    from redis import Redis

    with Redis(server.host, server.port, password=server.password or None, **tls) as client:
        return client.incr("lines")


def etcd(server):
    http(server, "/v3/kv/put", json.dumps({"key": "YQ=="}).encode())
    return int(json.loads(http(server, "/v3/kv/range", json.dumps({"key": "YQ=="}).encode()))["kvs"][0]["version"])


@pytest.mark.parametrize(
    ("server", "add", "kept"),
    [
        (servers.minio, s3, True),
        (servers.fake_gcs, gcs, False),
        (servers.ferretdb, mongo, True),
        (servers.postgres, postgres, True),
        (servers.mariadb, mariadb, True),
        (servers.redis, redis, False),
        (servers.etcd, etcd, True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_comes_back(tmp_path, server, add, kept):
    """One thing is added to what is there; at the same port, later, it still is, unless the server keeps nothing."""
    with server(tmp_path) as first:
        assert add(first) == 1
    with server(tmp_path, port=first.port) as second:
        assert second == first
        assert add(second) == (2 if kept else 1)


def test_azurite(tmp_path):
    """Azurite lets nobody in who does not sign."""
    with servers.azurite(tmp_path) as server:
        with pytest.raises(urllib.error.HTTPError, match="403") as answer:
            http(server, f"/{server.account}/?comp=list")
        assert answer.value.headers["Server"].startswith("Azurite-Blob")


def test_redis_with_password(tmp_path):
    """A password and TLS, together."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with servers.redis(tmp_path, "sesame", authority.issue_cert("127.0.0.1")) as server:
        assert redis(server, ssl=True, ssl_ca_certs=str(file), ssl_cert_reqs=ssl.CERT_REQUIRED) == 1


def test_redis_cluster(tmp_path):
    """The keys are divided among three nodes, each of which says where the others are."""
    from redis.cluster import RedisCluster

    with servers.redis_cluster(tmp_path) as nodes:
        with RedisCluster(nodes[0].host, nodes[0].port) as client:
            assert {node.port for node in client.get_primaries()} == {node.port for node in nodes}
            assert [client.incr(f"lines{number}") for number in range(20)] == [1] * 20


def test_redis_sentinel(tmp_path):
    """The sentinel, asked with its password, names the Redis that it watches."""
    from redis.sentinel import Sentinel

    with servers.redis_sentinel(tmp_path) as server:
        sentinel = Sentinel([(server.host, server.port)], sentinel_kwargs={"password": server.password})
        assert sentinel.discover_master(server.master) == (server.redis.host, server.redis.port)
        assert redis(server.redis) == 1
