"""A daemon on each kind of store and index, as settings choose them: filled, started anew, alone."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from athensd.bucket.azure import shared_key
from tests.fakes import result_of, start
from tests.integration.daemon import running
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually, free_ports
from tests.servers import azurite, fake_gcs, ferretdb, mariadb, minio, postgres

pytestmark = pytest.mark.slow
Settings = Mapping[str, str]
KINDS = ("info", "mod", "zip")


@contextmanager
def on_minio(directory: Path) -> Iterator[Settings]:
    with minio(directory) as server:
        yield {
            "ATHENS_STORAGE_TYPE": "minio",
            "ATHENS_MINIO_ENDPOINT": f"{server.host}:{server.port}",
            "ATHENS_MINIO_ACCESS_KEY_ID": server.user,
            "ATHENS_MINIO_SECRET_ACCESS_KEY": server.password,
            "ATHENS_MINIO_BUCKET_NAME": "modules",
            "ATHENS_SINGLE_FLIGHT_TYPE": "minio",
        }


@contextmanager
def on_s3(directory: Path) -> Iterator[Settings]:
    with on_minio(directory) as settings, running(directory, "off", **settings) as daemon:
        assert daemon.get("readyz")[0] == 200  # it has made the bucket
        yield {
            "ATHENS_STORAGE_TYPE": "s3",
            "AWS_REGION": "eu-north-1",
            "AWS_ENDPOINT": f"http://{settings['ATHENS_MINIO_ENDPOINT']}",
            "AWS_FORCE_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": settings["ATHENS_MINIO_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": settings["ATHENS_MINIO_SECRET_ACCESS_KEY"],
            "ATHENS_S3_BUCKET_NAME": "modules",
            "ATHENS_SINGLE_FLIGHT_TYPE": "s3",
        }


@contextmanager
def on_gcs(directory: Path) -> Iterator[Settings]:
    with fake_gcs(directory) as server:
        url = f"http://{server.host}:{server.port}"
        body, headers = json.dumps({"name": "modules"}).encode(), {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{url}/storage/v1/b", body, headers)).close()
        yield {
            "ATHENS_STORAGE_TYPE": "gcp",
            "STORAGE_EMULATOR_HOST": url,
            "ATHENS_STORAGE_GCP_BUCKET": "modules",
            "ATHENS_SINGLE_FLIGHT_TYPE": "gcp",
        }


@contextmanager
def on_azure(directory: Path) -> Iterator[Settings]:
    with azurite(directory) as server:
        endpoint = f"http://{server.host}:{server.port}/{server.account}"
        url = f"{endpoint}/modules?restype=container"
        headers = result_of(start(shared_key(server.account, server.key)("PUT", url, {}, 0)))
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()
        yield {
            "ATHENS_STORAGE_TYPE": "azureblob",
            "ATHENS_AZURE_ACCOUNT_NAME": server.account,
            "ATHENS_AZURE_ACCOUNT_KEY": server.key,
            "ATHENS_AZURE_CONTAINER_NAME": "modules",
            "ATHENS_AZURE_ENDPOINT": endpoint,
            "ATHENS_SINGLE_FLIGHT_TYPE": "azureblob",
        }


@contextmanager
def on_mongo(directory: Path) -> Iterator[Settings]:
    with ferretdb(directory) as server:
        login = f"{server.user}:{server.password}@" if server.user else ""
        yield {
            "ATHENS_STORAGE_TYPE": "mongo",
            "ATHENS_MONGO_STORAGE_URL": f"mongodb://{login}{server.host}:{server.port}/",
        }


STORES: list[Callable[[Path], AbstractContextManager[Settings]]] = [on_minio, on_s3, on_gcs, on_azure, on_mongo]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__.removeprefix("on_"))
@pytest.mark.parametrize("cache", ["0", "1000000"], ids=["no cache", "cache"])
def test_a_store(tmp_path: Path, store: Callable[[Path], AbstractContextManager[Settings]], cache: str) -> None:
    """What one daemon has fetched another serves, byte for byte, when there is no upstream any more."""
    tree = tmp_path / "tree"
    for version in ("v1.0.0", "v1.1.0"):
        add_version(tree, "example.test/Upper", version, {"m.go": b"package m\n", "data.bin": bytes(300_000)})
    upstream = Upstream(tree)
    names = [f"example.test/!upper/@v/{version}.{kind}" for version in ("v1.0.0", "v1.1.0") for kind in KINDS]
    (tmp_path / "server").mkdir()
    with store(tmp_path / "server") as settings:
        common = {**settings, "ATHENS_STORAGE_CACHE_BYTES": cache}
        with running(tmp_path / "first", upstream.url, ATHENS_GOGET_DIR=str(tmp_path / "first"), **common) as daemon:
            assert daemon.get("readyz") == (200, b"")
            assert [daemon.get(name) for name in names] == [(200, (tree / name).read_bytes()) for name in names]
            assert daemon.end() == 0
        upstream.stop()
        with running(tmp_path / "second", "off", ATHENS_GOGET_DIR=str(tmp_path / "second"), **common) as daemon:
            for _ in range(2):
                assert [daemon.get(name) for name in names] == [(200, (tree / name).read_bytes()) for name in names]
            modules = json.loads(daemon.get("catalog")[1])["modules"]
            assert {module["version"] for module in modules} == {"v1.0.0", "v1.1.0"}
            assert [line for line in daemon.lines() if line["level"] in {"error", "warning"}] == []


# As tests/servers.py makes them: the user, his password, and a database that is there.
DATABASES = {"postgres": ("postgres", "postgres-secret", "postgres"), "mysql": ("athens", "mariadb-secret", "mysql")}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
def test_an_index(tmp_path: Path, kind: str) -> None:
    """What was stored is in the index, also when the database comes only later, and after a restart."""
    tree, database = tmp_path / "tree", tmp_path / "database"
    database.mkdir()
    add_version(tree, "example.test/m", "v1.0.0", {"m.go": b"package m\n"})
    upstream = Upstream(tree)
    [port] = free_ports(1)
    prefix = f"ATHENS_INDEX_{kind.upper()}"
    settings = {"ATHENS_INDEX_TYPE": kind}
    if kind != "sqlite":
        user, password, name = DATABASES[kind]
        settings |= {f"{prefix}_HOST": "127.0.0.1", f"{prefix}_PORT": str(port), f"{prefix}_DATABASE": name}
        settings |= {f"{prefix}_USER": user, f"{prefix}_PASSWORD": password}

    def lines(daemon: object) -> list[dict[str, str]]:
        status, body = daemon.get("index")  # type: ignore[attr-defined]
        return [json.loads(line) for line in body.splitlines()] if status == 200 else []

    with running(tmp_path / "athensd", upstream.url, **settings) as daemon:
        assert daemon.get("example.test/m/@v/v1.0.0.zip")[0] == 200
        if kind == "sqlite":
            [line] = eventually(lambda: lines(daemon))
            assert (line["Path"], line["Version"]) == ("example.test/m", "v1.0.0")
        else:
            eventually(lambda: list(tmp_path.rglob("late-index/*")))
        assert daemon.end() == 0
    server = {"postgres": postgres, "mysql": mariadb}.get(kind)
    if server is not None:
        with server(database, port=port), running(tmp_path / "athensd", "off", **settings) as daemon:
            [line] = eventually(lambda: lines(daemon), 40)
            assert (line["Path"], line["Version"]) == ("example.test/m", "v1.0.0")
