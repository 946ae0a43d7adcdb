"""Wiring of all that keeps: the datastore, the index, the audit, and the locks that several instances share.

A library that is not installed, and a setting that makes no sense, raise ``Unusable``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import structlog
from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred

from athensd.audit.file import AuditFile
from athensd.audit.recorder import Recorder
from athensd.bucket.azure import AzureBucket, managed_identity, shared_key
from athensd.bucket.gcs import GcsBucket, google_token, no_token
from athensd.bucket.s3 import S3Bucket
from athensd.bucket.s3_credentials import S3Key, fixed_key, s3_keys
from athensd.bucket.s3_place import S3Place, minio_place
from athensd.config.backends import LockConfig, Storage
from athensd.config.settings import Config
from athensd.errors import StorageFailed
from athensd.flight.bucket import BucketLeases
from athensd.flight.etcd import EtcdLeases, etcd_urls
from athensd.flight.leased import SECONDS, LeasedFlight
from athensd.flight.lock_file import FileLeases
from athensd.flight.redis import SILENCE, Connect, RedisLeases, cluster, one_server, redis_place, sentinel
from athensd.flight.watched import WatchedFlight
from athensd.gomod.version import ModuleVersion
from athensd.index.late import LateIndex
from athensd.index.memory import MemoryIndex
from athensd.index.mysql import MySQL
from athensd.index.nothing import NoIndex
from athensd.index.postgres import Postgres
from athensd.index.sql import Database, DatabaseIndex
from athensd.index.sqlite import SQLite
from athensd.interfaces import IBucket, IFlight, IIndex, ILeases, IStorage
from athensd.spool import Spool, take_place
from athensd.startup import Unusable
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout, FolderLayout
from athensd.storage.cached import CachedStorage
from athensd.storage.disk import DiskStorage
from athensd.storage.external import ExternalStorage
from athensd.storage.external_server import ExternalServer
from athensd.storage.memory import MemoryStorage
from athensd.storage.mongo import MongoStorage

EXTRAS = {"s3": "s3", "minio": "s3", "gcp": "gcp", "azureblob": "azureblob", "mongo": "mongo"}
EXTRAS |= {"redis": "redis", "redis-sentinel": "redis", "mysql": "mysql", "postgres": "postgres"}
"""What has to be installed for a choice."""


log = structlog.get_logger()
_PLACE: dict[str, Callable[[Storage], object]] = {
    "s3": attrgetter("s3.endpoint", "s3.region", "s3.bucket"),
    "minio": attrgetter("minio.endpoint", "minio.bucket"),
    "gcp": attrgetter("gcp.bucket"),
    "azureblob": attrgetter("azure_blob.endpoint", "azure_blob.account_name", "azure_blob.container_name"),
    "mongo": attrgetter("mongo.url", "mongo.database", "mongo.collection"),
    "external": attrgetter("external.url"),
}
"""Which store it is, of those on other machines."""


@frozen
class Ground:
    """What everything here stands on.

    ``client`` is a ``plain_client``.  ``work_place`` is for what can be lost, ``store_place`` for what cannot; the
    spools are in them.  ``shared``: with other workers of the same daemon.
    """

    reactor: Any
    client: HTTPClient
    in_thread: Callable[..., Awaitable[Any]]
    spool: Spool
    work_place: Path
    store_spool: Spool
    store_place: Path
    shared: bool = False


@frozen
class Kept:
    """What keeps modules, what knows in which order they came, and who is fetching which.

    ``forget`` is for what another process has deleted.
    """

    storage: IStorage
    forget: Callable[[ModuleVersion], object]
    index: IIndex
    flight: IFlight
    start: Sequence[Callable[[], None]]
    stop: Sequence[Callable[[], Awaitable[None]]]


def make_kept(config: Config, ground: Ground, local: IFlight) -> Kept:
    """What the settings choose; ``local`` are the flights of this process, which are to be stopped first."""
    bucket = make_bucket(config, ground)
    origin = make_storage(config, ground, bucket)
    storage = _cached(origin, config, ground, local)
    flight = _flight(config, ground, bucket, local)
    index, ends = _index(config, ground)
    start = [lambda: _look_at(storage)]
    stop = [*([flight.stop] if isinstance(flight, LeasedFlight) else []), *ends]
    if isinstance(index, LateIndex):
        start.append(index.start)
    if isinstance(origin, MongoStorage):
        start.append(origin.start)
        stop.append(origin.close)
    return Kept(storage, lambda version: _forget(storage, version), index, flight, start, stop)


def _forget(storage: IStorage, version: ModuleVersion) -> None:
    if isinstance(storage, CachedStorage):
        Deferred.fromCoroutine(storage.forget(version))


def _look_at(storage: IStorage) -> None:
    """Say at the start whether the store can be used; it may become so later."""

    async def look() -> None:
        try:
            await storage.check()
        except StorageFailed as error:
            log.warning("the store cannot be used", error=str(error))

    Deferred.fromCoroutine(look())


def make_bucket(config: Config, ground: Ground) -> IBucket | None:
    """The bucket that the settings choose as a datastore, if they do."""
    # At level debug it shows what a session is opened with.
    logging.getLogger("botocore").setLevel(logging.INFO)
    makers = {"s3": _s3, "minio": _minio, "gcp": _gcs, "azureblob": _azure}
    if config.storage_type not in makers:
        return None
    with _chosen("StorageType", config.storage_type):
        return makers[config.storage_type](config, ground)


def make_storage(config: Config, ground: Ground, bucket: IBucket | None) -> IStorage:
    """The datastore itself, wherever it is."""
    if config.storage_type == "disk":
        return DiskStorage(Path(config.storage.disk.root_path).absolute(), ground.store_spool, ground.in_thread)
    if config.storage_type == "memory":
        return MemoryStorage(ground.store_spool)
    if bucket is not None:
        return BucketStorage(bucket, FolderLayout() if config.storage_type == "minio" else DownloadLayout())
    with _chosen("StorageType", config.storage_type):
        return _mongo(config, ground) if config.storage_type == "mongo" else _external(config, ground)


def _cached(storage: IStorage, config: Config, ground: Ground, local: IFlight) -> IStorage:
    """With copies on this machine of what is on another."""
    if config.storage_type not in _PLACE or not config.storage_cache_bytes:
        return storage
    # Of this store, and of this process: what is kept of another store is not in this one.
    place = repr(_PLACE[config.storage_type](config.storage))
    name = hashlib.sha256(re.sub("//[^/]*@", "//", place).encode()).hexdigest()[:16]
    return CachedStorage(
        storage,
        root=take_place(ground.work_place / "cache" / name),
        spool=ground.spool,
        flight=local,
        in_thread=ground.in_thread,
        clock=ground.reactor,
        max_bytes=config.storage_cache_bytes,
    )


def _mongo(config: Config, ground: Ground) -> IStorage:
    # At level debug it shows every command.
    logging.getLogger("pymongo").setLevel(logging.INFO)
    mongo = config.storage.mongo
    return MongoStorage(
        mongo.url,
        ground.in_thread,
        database=mongo.database,
        collection=mongo.collection,
        cert_path=mongo.cert_path,
        insecure=mongo.insecure_conn,
    )


def _external(config: Config, ground: Ground) -> IStorage:
    def local(name: str) -> IStorage:
        return DiskStorage(ground.store_place / "external" / name, ground.store_spool, ground.in_thread)

    server = ExternalServer(config.storage.external.url, ground.client, ground.reactor, ground.spool)
    return ExternalStorage(server, local("pending"), local("hashes"))


def _flight(config: Config, ground: Ground, bucket: IBucket | None, local: IFlight) -> IFlight:
    """Flights among all instances that share the store."""
    with _chosen("SingleFlightType", config.single_flight_type):
        leases = _leases(config, ground, bucket)
    if leases is None:
        return WatchedFlight(local)
    lock = _lock_config(config)
    return LeasedFlight(
        WatchedFlight(local),
        leases,
        ground.reactor,
        name=f"{socket.gethostname()} {os.getpid()}",
        seconds=min(SECONDS, lock.ttl),
        patience=config.stash_timeout,
    )


def _lock_config(config: Config) -> LockConfig:
    """Of Redis; nothing else has one."""
    flights = config.single_flight
    return (flights.redis_sentinel if config.single_flight_type == "redis-sentinel" else flights.redis).lock_config


def _index(config: Config, ground: Ground) -> tuple[IIndex, Sequence[Callable[[], Awaitable[None]]]]:
    """The index, and what ends it; one in a database never keeps a download from being stored."""
    if config.index_type in {"none", "memory"}:
        return NoIndex() if config.index_type == "none" else MemoryIndex(), []
    with _chosen("IndexType", config.index_type):
        index = DatabaseIndex(_database(config, ground), ground.in_thread)
    late = LateIndex(index, ground.store_place / "late-index", ground.reactor, ground.in_thread)
    return late, [late.stop, index.close]


def make_recorder(config: Config, ground: Ground, trace: Callable[[], Mapping[str, str]]) -> Recorder | None:
    """The record of who was given what, if there is to be one; ``trace`` says which trace we are part of."""
    if not config.audit_file:
        return None
    with _chosen("AuditFile", config.audit_file):
        file = AuditFile(Path(config.audit_file), config.audit_days, config.audit_rows)
    return Recorder(file, ground.reactor, ground.in_thread, time.time, prefix=config.path_prefix, trace=trace)


@contextmanager
def _chosen(key: str, value: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        need = f'pip install "athensd[{EXTRAS[value]}]"' if value in EXTRAS else str(error)
        raise Unusable(f'{key} "{value}" needs a library that is not installed: {need}') from error
    except (ValueError, OSError) as error:
        raise Unusable(f'{key} "{value}": {error}') from error


def _s3(config: Config, ground: Ground) -> IBucket:
    s3 = config.storage.s3
    keys = s3_keys(
        key=s3.key,
        secret=s3.secret,
        token=s3.token,
        use_default=s3.use_default_configuration,
        endpoint=s3.credentials_endpoint,
        relative_uri=s3.aws_container_credentials_relative_uri,
        environ=os.environ,
        in_thread=ground.in_thread,
        clock=ground.reactor,
    )
    place = S3Place(s3.bucket, s3.region, s3.endpoint, s3.force_path_style)
    return S3Bucket(ground.client, ground.reactor, keys, place)


def _minio(config: Config, ground: Ground) -> IBucket:
    minio = config.storage.minio
    place = minio_place(minio.endpoint, ssl=minio.enable_ssl, bucket=minio.bucket, region=minio.region)
    return S3Bucket(ground.client, ground.reactor, fixed_key(S3Key(minio.key, minio.secret)), place, create=True)


def _gcs(config: Config, ground: Ground) -> IBucket:
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    json_key = config.storage.gcp.json_key
    token: Callable[[], Awaitable[str]] = no_token if emulator else google_token(json_key, ground.in_thread)
    return GcsBucket(ground.client, ground.reactor, config.storage.gcp.bucket, token, emulator=emulator)


def _azure(config: Config, ground: Ground) -> IBucket:
    azure = config.storage.azure_blob
    authorize = (
        shared_key(azure.account_name, azure.account_key)
        if azure.account_key
        else managed_identity(azure.managed_identity_resource_id, azure.credential_scope, ground.in_thread)
    )
    return AzureBucket(
        ground.client, ground.reactor, azure.account_name, azure.container_name, authorize, endpoint=azure.endpoint
    )


def _leases(config: Config, ground: Ground, bucket: IBucket | None) -> ILeases | None:
    kind, settings = config.single_flight_type, config.single_flight
    if kind == "memory" and not ground.shared:
        return None
    if kind in {"file", "memory"}:
        return FileLeases(ground.store_place / "locks", ground.reactor)
    if kind == "etcd":
        return EtcdLeases(etcd_urls(settings.etcd.endpoints), ground.client, ground.reactor)
    if kind in {"redis", "redis-sentinel"}:
        return RedisLeases(_redis(config), ground.in_thread)
    assert bucket is not None, "the settings were checked"
    return BucketLeases(bucket, time.monotonic)


def _redis(config: Config) -> Connect:
    silence = min(SILENCE, _lock_config(config).timeout)
    if config.single_flight_type == "redis":
        redis = config.single_flight.redis
        place = redis_place(redis.endpoint, redis.password, cluster=redis.cluster)
        return cluster(place, silence) if redis.cluster else one_server(place, silence)
    watched = config.single_flight.redis_sentinel
    return sentinel(
        watched.endpoints,
        watched.master_name,
        sentinel_password=watched.sentinel_password,
        username=watched.redis_username,
        password=watched.redis_password,
        db=watched.db,
        silence=silence,
    )


def _database(config: Config, ground: Ground) -> Database:
    if config.index_type == "sqlite":
        return SQLite(Path(config.index.sqlite.file or ground.store_place / "index.sqlite").absolute())
    if config.index_type == "mysql":
        mysql = config.index.mysql
        return MySQL(mysql.protocol, mysql.host, mysql.port, mysql.user, mysql.password, mysql.database, mysql.params)
    postgres = config.index.postgres
    return Postgres(postgres.host, postgres.port, postgres.user, postgres.password, postgres.database, postgres.params)
