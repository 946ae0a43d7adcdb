"""The keys of datastores, indexes and locks, by backend; see ``keys``.

A backend's settings are only looked at where it is chosen: Athens' own sample carries all of them filled.
"""

from __future__ import annotations

from athensd.config.key import Key, Section, there
from athensd.config.kinds import FLAG, LIST, MAP, NUMBER, between

_DISK = (
    there("Storage.Disk.RootPath", "ATHENS_DISK_STORAGE_ROOT").means(
        "The directory that modules are in; it is made if it is not there."
    ),
)

_S3 = (
    there("Storage.S3.Region", "AWS_REGION").means(
        "The region of the bucket; one that is wrong is answered with the right one."
    ),
    there("Storage.S3.Key", "AWS_ACCESS_KEY_ID").means(
        "The id of an access key; without one AWS' own places are looked at: variables, profiles, roles."
    ),
    there("Storage.S3.Secret", "AWS_SECRET_ACCESS_KEY").means("Its secret."),
    there("Storage.S3.Token", "AWS_SESSION_TOKEN").means("The token of a session, if the key belongs to one."),
    there("Storage.S3.Bucket", "ATHENS_S3_BUCKET_NAME").means("The bucket, which must be there."),
    there("Storage.S3.UseDefaultConfiguration", "AWS_USE_DEFAULT_CONFIGURATION", FLAG).means(
        "Whether to look at AWS' own places for keys even if there is one here."
    ),
    there("Storage.S3.ForcePathStyle", "AWS_FORCE_PATH_STYLE", FLAG).means(
        "Whether the bucket stands in the path of a URL and not in the name of the host."
    ),
    there("Storage.S3.Endpoint", "AWS_ENDPOINT").means(
        "The address of a server other than AWS, such as `https://s3.example.com`."
    ),
    there("Storage.S3.CredentialsEndpoint", "AWS_CREDENTIALS_ENDPOINT").means(
        "The address where a container asks for keys."
    ),
    there("Storage.S3.AwsContainerCredentialsRelativeURI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").means(
        "What is put behind that address."
    ),
)

_MINIO = (
    there("Storage.Minio.Endpoint", "ATHENS_MINIO_ENDPOINT").means(
        "The server, as `host:port`; a scheme before it is passed over."
    ),
    there("Storage.Minio.Key", "ATHENS_MINIO_ACCESS_KEY_ID").means("The id of an access key."),
    there("Storage.Minio.Secret", "ATHENS_MINIO_SECRET_ACCESS_KEY").means("Its secret."),
    there("Storage.Minio.Bucket", "ATHENS_MINIO_BUCKET_NAME").means(
        "The bucket, of at least three characters; it is made if it is not there."
    ),
    there("Storage.Minio.Region", "ATHENS_MINIO_REGION").means("Its region, if the server has any."),
    there("Storage.Minio.EnableSSL", "ATHENS_MINIO_USE_SSL", FLAG).means(
        "Whether the server speaks TLS; without it everything is readable on the way."
    ),
)

_GCP = (
    there("Storage.GCP.ProjectID", "GOOGLE_CLOUD_PROJECT", field="google_project").means(
        "The project on Google Cloud; for now only for the trace ids in log lines that `CloudRuntime` makes."
    ),
    there("Storage.GCP.Bucket", "ATHENS_STORAGE_GCP_BUCKET").means("The bucket, which must be there."),
    there("Storage.GCP.JSONKey", "ATHENS_STORAGE_GCP_JSON_KEY", field="storage.gcp.json_key").means(
        "A credential in JSON, of any type, in base64; without one it is the host's own default credentials."
    ),
)

_AZURE = (
    there("Storage.AzureBlob.AccountName", "ATHENS_AZURE_ACCOUNT_NAME").means("The storage account."),
    there("Storage.AzureBlob.AccountKey", "ATHENS_AZURE_ACCOUNT_KEY").means(
        "One of the account's two keys; without one it is a managed identity."
    ),
    there("Storage.AzureBlob.ManagedIdentityResourceID", "ATHENS_AZURE_MANAGED_IDENTITY_RESOURCE_ID").means(
        "The managed identity, by its resource id; empty is the host's own."
    ),
    there("Storage.AzureBlob.CredentialScope", "ATHENS_AZURE_CREDENTIAL_SCOPE").means(
        "What its tokens are for; empty is `https://storage.azure.com/.default`."
    ),
    there("Storage.AzureBlob.ContainerName", "ATHENS_AZURE_CONTAINER_NAME").means(
        "The container, which must be there."
    ),
    there("Storage.AzureBlob.Endpoint", "ATHENS_AZURE_ENDPOINT").means(
        "The URL of the blob service, where it is none of Azure's public cloud; empty is "
        "`https://<account>.blob.core.windows.net`."
    ),
)

_MONGO = (
    there("Storage.Mongo.URL", "ATHENS_MONGO_STORAGE_URL").means(
        "The address, `mongodb://` or `mongodb+srv://`. In a password `: / ? # [ ] @ %` are written as `%3A` and so on."
    ),
    there("Storage.Mongo.DefaultDBName", "ATHENS_MONGO_DEFAULT_DATABASE", field="storage.mongo.database").means(
        "The database."
    ),
    there(
        "Storage.Mongo.DefaultCollectionName", "ATHENS_MONGO_DEFAULT_COLLECTION", field="storage.mongo.collection"
    ).means("Athens' collection; athensd's is named after it."),
    there("Storage.Mongo.CertPath", "ATHENS_MONGO_CERT_PATH").means(
        "A file of certificates (PEM) of the authorities to trust instead of the host's; then there is TLS."
    ),
    there("Storage.Mongo.InsecureConn", "ATHENS_MONGO_INSECURE", FLAG).means(
        "Whether any certificate will do; for trying things out."
    ),
    there("Storage.Mongo.Insecure", "ATHENS_MONGO_INSECURE", FLAG, field="storage.mongo.insecure_conn").means(
        "The same, as Athens' sample file spells it."
    ),
)

_EXTERNAL = (
    there("Storage.External.URL", "ATHENS_EXTERNAL_STORAGE_URL").means(
        "The server of the store; a user and a password in it are sent as basic authentication, and appear nowhere "
        "else."
    ),
)

_ETCD = (
    there("SingleFlight.Etcd.Endpoints", "ATHENS_ETCD_ENDPOINTS").means(
        "The members of one cluster, each `host:port` or a URL, with commas between them; the first that answers "
        "is asked."
    ),
)


def _lock(table: str) -> tuple[Key, ...]:
    """Of both kinds of Redis, which have the same variables."""
    return (
        there(f"{table}.TTL", "ATHENS_REDIS_LOCK_TTL", NUMBER, between(1)).means(
            "How long a lock holds without being renewed, in seconds, at least 1; we renew it and need no more than 8."
        ),
        there(f"{table}.Timeout", "ATHENS_REDIS_LOCK_TIMEOUT", NUMBER, between(1)).means(
            "How long the service may take to answer, in seconds, at least 1; nobody waits longer than 2."
        ),
        there(f"{table}.MaxRetries", "ATHENS_REDIS_LOCK_MAX_RETRIES", NUMBER, between(1)).means(
            "Athens' tries; here one waits as long as another fetches."
        ),
    )


_REDIS = (
    there("SingleFlight.Redis.Endpoint", "ATHENS_REDIS_ENDPOINT").means(
        "`host:port`, or `redis://user:password@host:port/number`, with TLS `rediss://`; of a cluster several with "
        "commas between them."
    ),
    there("SingleFlight.Redis.Password", "ATHENS_REDIS_PASSWORD").means(
        "Its password; if there is one in the URL too, they must be the same."
    ),
    there("SingleFlight.Redis.Cluster", "ATHENS_REDIS_CLUSTER", FLAG).means(
        "Whether it is a cluster; TLS, user and password of any of its addresses hold for all."
    ),
    *_lock("SingleFlight.Redis.LockConfig"),
)

_SENTINEL = (
    there("SingleFlight.RedisSentinel.Endpoints", "ATHENS_REDIS_SENTINEL_ENDPOINTS", LIST, tuple).means(
        "The sentinels, each as `host:port`, without TLS."
    ),
    there("SingleFlight.RedisSentinel.MasterName", "ATHENS_REDIS_SENTINEL_MASTER_NAME").means(
        "What they call the Redis."
    ),
    there("SingleFlight.RedisSentinel.SentinelPassword", "ATHENS_REDIS_SENTINEL_PASSWORD").means("Their password."),
    there("SingleFlight.RedisSentinel.RedisUsername", "ATHENS_REDIS_USERNAME").means("The user at the Redis."),
    there("SingleFlight.RedisSentinel.RedisPassword", "ATHENS_REDIS_PASSWORD").means("That user's password."),
    there("SingleFlight.RedisSentinel.DB", "ATHENS_REDIS_SENTINEL_DB", NUMBER, between(0)).means(
        "The number of the database there."
    ),
    *_lock("SingleFlight.RedisSentinel.LockConfig"),
)

_SQLITE = (
    there("Index.SQLite.File", "ATHENS_INDEX_SQLITE_FILE", field="index.sqlite.file").means(
        "The file; empty is within the place of the store."
    ),
)

_MYSQL = (
    there("Index.MySQL.Protocol", "ATHENS_INDEX_MYSQL_PROTOCOL", field="index.mysql.protocol").means(
        '`"tcp"`, or `"unix"` for a socket.'
    ),
    there("Index.MySQL.Host", "ATHENS_INDEX_MYSQL_HOST", field="index.mysql.host").means(
        "The server, or the path of the socket."
    ),
    there("Index.MySQL.Port", "ATHENS_INDEX_MYSQL_PORT", NUMBER, between(1, 65535), field="index.mysql.port").means(
        "Its port."
    ),
    there("Index.MySQL.User", "ATHENS_INDEX_MYSQL_USER", field="index.mysql.user").means("The user."),
    there("Index.MySQL.Password", "ATHENS_INDEX_MYSQL_PASSWORD", field="index.mysql.password").means(
        "That user's password."
    ),
    there("Index.MySQL.Database", "ATHENS_INDEX_MYSQL_DATABASE", field="index.mysql.database").means(
        "The database, which must be there."
    ),
    there("Index.MySQL.Params", "ATHENS_INDEX_MYSQL_PARAMS", MAP, field="index.mysql.params").means(
        "More about the connection."
    ),
)

_POSTGRES = (
    there("Index.Postgres.Host", "ATHENS_INDEX_POSTGRES_HOST").means(
        "The server; the directory of a socket begins with `/`."
    ),
    there("Index.Postgres.Port", "ATHENS_INDEX_POSTGRES_PORT", NUMBER, between(1, 65535)).means("Its port."),
    there("Index.Postgres.User", "ATHENS_INDEX_POSTGRES_USER").means("The user."),
    there("Index.Postgres.Password", "ATHENS_INDEX_POSTGRES_PASSWORD").means("That user's password."),
    there("Index.Postgres.Database", "ATHENS_INDEX_POSTGRES_DATABASE").means("The database, which must be there."),
    there("Index.Postgres.Params", "ATHENS_INDEX_POSTGRES_PARAMS", MAP).means("More about the connection."),
)

_NOTHING = (
    there("SingleFlight.GCP.StaleThreshold", "ATHENS_GCP_STALE_THRESHOLD", NUMBER, between(1)).means(
        "It has no meaning here, nor in Athens."
    ),
    Key("Storage.CDN.Endpoint", "CDN_ENDPOINT").means("It stands in Athens' sample file, and nothing is behind it."),
)

BACKENDS = [
    Section("Disk", _DISK, "See [storage-disk.md](storage-disk.md)."),
    Section("Amazon S3", _S3, "See [storage-s3.md](storage-s3.md)."),
    Section("MinIO", _MINIO, "See [storage-minio.md](storage-minio.md)."),
    Section("Google Cloud Storage", _GCP, "See [storage-gcp.md](storage-gcp.md)."),
    Section("Azure Blob Storage", _AZURE, "See [storage-azureblob.md](storage-azureblob.md)."),
    Section("MongoDB", _MONGO, "See [storage-mongo.md](storage-mongo.md)."),
    Section("External storage", _EXTERNAL, "See [storage-external.md](storage-external.md)."),
    Section("etcd", _ETCD, "A lock: see [single-flight.md](single-flight.md)."),
    Section("Redis", _REDIS, "A lock: see [single-flight.md](single-flight.md)."),
    Section("Redis with sentinels", _SENTINEL, "A lock: see [single-flight.md](single-flight.md)."),
    Section("SQLite", _SQLITE, "An index: see [index.md](index.md)."),
    Section("MySQL and MariaDB", _MYSQL, "An index: see [index.md](index.md)."),
    Section("PostgreSQL", _POSTGRES, "An index: see [index.md](index.md)."),
    Section("Of Athens alone", _NOTHING),
]
