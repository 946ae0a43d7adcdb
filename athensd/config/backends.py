"""The settings of each datastore, lock and index.  Secrets are kept out of every repr."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


def _secret(default: str = "") -> str:
    secret: str = field(default=default, repr=False)
    return secret


@frozen
class Disk:
    """Where the disk storage keeps its files."""

    root_path: str = ""


@frozen
class S3:
    """A bucket of AWS, or of anything that speaks its protocol."""

    region: str = ""
    key: str = ""
    secret: str = _secret()
    token: str = _secret()
    bucket: str = ""
    use_default_configuration: bool = False
    force_path_style: bool = False
    endpoint: str = ""
    credentials_endpoint: str = ""
    aws_container_credentials_relative_uri: str = _secret()


@frozen
class Minio:
    """A bucket of MinIO, with the names that Athens gives objects there."""

    endpoint: str = ""
    key: str = ""
    secret: str = _secret()
    bucket: str = ""
    region: str = ""
    enable_ssl: bool = False


@frozen
class GCP:
    """A bucket of Google Cloud Storage."""

    bucket: str = ""
    json_key: str = _secret()


@frozen
class AzureBlob:
    """A container of Azure Blob Storage."""

    account_name: str = ""
    account_key: str = _secret()
    managed_identity_resource_id: str = ""
    credential_scope: str = ""
    container_name: str = ""
    endpoint: str = ""


@frozen
class Mongo:
    """A MongoDB database.  Its address may hold a password."""

    url: str = _secret()
    database: str = "athens"
    collection: str = "modules"
    cert_path: str = ""
    insecure_conn: bool = False


@frozen
class External:
    """A server of Athens' own HTTP contract.  Its address may hold a password."""

    url: str = _secret()


@frozen
class Storage:
    """Each datastore."""

    disk: Disk = Disk()
    s3: S3 = S3()
    minio: Minio = Minio()
    gcp: GCP = GCP()
    azure_blob: AzureBlob = AzureBlob()
    mongo: Mongo = Mongo()
    external: External = External()


@frozen
class LockConfig:
    """Of a lock in Redis, in seconds: Athens' defaults."""

    ttl: int = 900
    timeout: int = 15
    max_retries: int = 10


@frozen
class Etcd:
    """Its servers, with commas between them."""

    endpoints: str = "localhost:2379,localhost:22379,localhost:32379"


@frozen
class Redis:
    """A Redis, or the first servers of a cluster of them.  Its address may hold a password."""

    endpoint: str = _secret("127.0.0.1:6379")
    password: str = _secret()
    cluster: bool = False
    lock_config: LockConfig = LockConfig()


@frozen
class RedisSentinel:
    """A Redis of which sentinels know where it is."""

    endpoints: tuple[str, ...] = ("127.0.0.1:26379",)
    master_name: str = "redis-1"
    sentinel_password: str = _secret("sekret")
    redis_username: str = ""
    redis_password: str = _secret()
    db: int = 0
    lock_config: LockConfig = LockConfig()


@frozen
class StaleThreshold:
    """Athens has it, and does nothing with it; in seconds."""

    stale_threshold: int = 120


@frozen
class SingleFlight:
    """Each lock service."""

    etcd: Etcd = Etcd()
    redis: Redis = Redis()
    redis_sentinel: RedisSentinel = RedisSentinel()
    gcp: StaleThreshold = StaleThreshold()


@frozen
class SQLite:
    """The file of the index; empty is within the place of the store."""

    file: str = ""


@frozen
class MySQL:
    """A MySQL or MariaDB database."""

    protocol: str = "tcp"
    host: str = "localhost"
    port: int = 3306
    user: str = "root"
    password: str = _secret()
    database: str = "athens"
    params: Mapping[str, str] = field(factory=lambda: {"parseTime": "true", "timeout": "30s"})


@frozen
class Postgres:
    """A PostgreSQL database."""

    host: str = "localhost"
    port: int = 5432
    user: str = "postgres"
    password: str = _secret()
    database: str = "athens"
    params: Mapping[str, str] = field(factory=lambda: {"connect_timeout": "30", "sslmode": "disable"})


@frozen
class Index:
    """Each index."""

    sqlite: SQLite = SQLite()
    mysql: MySQL = MySQL()
    postgres: Postgres = Postgres()
