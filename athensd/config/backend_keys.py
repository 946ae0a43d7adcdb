"""The keys of datastores, indexes and locks, by backend; see ``keys``.

A backend's settings are only looked at where it is chosen: Athens' own sample carries all of them filled.
"""

from __future__ import annotations

from athensd.config.key import Key, there
from athensd.config.kinds import FLAG, LIST, MAP, NUMBER, between


def _lock(table: str) -> list[Key]:
    keys = {"TTL": "TTL", "Timeout": "TIMEOUT", "MaxRetries": "MAX_RETRIES"}
    return [
        there(f"{table}.LockConfig.{key}", f"ATHENS_REDIS_LOCK_{env}", NUMBER, between(1)) for key, env in keys.items()
    ]


BACKENDS = [
    there("Storage.Disk.RootPath", "ATHENS_DISK_STORAGE_ROOT"),
    there("Storage.S3.Region", "AWS_REGION"),
    there("Storage.S3.Key", "AWS_ACCESS_KEY_ID"),
    there("Storage.S3.Secret", "AWS_SECRET_ACCESS_KEY"),
    there("Storage.S3.Token", "AWS_SESSION_TOKEN"),
    there("Storage.S3.Bucket", "ATHENS_S3_BUCKET_NAME"),
    there("Storage.S3.UseDefaultConfiguration", "AWS_USE_DEFAULT_CONFIGURATION", FLAG),
    there("Storage.S3.ForcePathStyle", "AWS_FORCE_PATH_STYLE", FLAG),
    there("Storage.S3.Endpoint", "AWS_ENDPOINT"),
    there("Storage.S3.CredentialsEndpoint", "AWS_CREDENTIALS_ENDPOINT"),
    there("Storage.S3.AwsContainerCredentialsRelativeURI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    there("Storage.Minio.Endpoint", "ATHENS_MINIO_ENDPOINT"),
    there("Storage.Minio.Key", "ATHENS_MINIO_ACCESS_KEY_ID"),
    there("Storage.Minio.Secret", "ATHENS_MINIO_SECRET_ACCESS_KEY"),
    there("Storage.Minio.Bucket", "ATHENS_MINIO_BUCKET_NAME"),
    there("Storage.Minio.Region", "ATHENS_MINIO_REGION"),
    there("Storage.Minio.EnableSSL", "ATHENS_MINIO_USE_SSL", FLAG),
    there("Storage.GCP.ProjectID", "GOOGLE_CLOUD_PROJECT", field="google_project"),
    there("Storage.GCP.Bucket", "ATHENS_STORAGE_GCP_BUCKET"),
    there("Storage.GCP.JSONKey", "ATHENS_STORAGE_GCP_JSON_KEY", field="storage.gcp.json_key"),
    there("Storage.AzureBlob.AccountName", "ATHENS_AZURE_ACCOUNT_NAME"),
    there("Storage.AzureBlob.AccountKey", "ATHENS_AZURE_ACCOUNT_KEY"),
    there("Storage.AzureBlob.ManagedIdentityResourceID", "ATHENS_AZURE_MANAGED_IDENTITY_RESOURCE_ID"),
    there("Storage.AzureBlob.CredentialScope", "ATHENS_AZURE_CREDENTIAL_SCOPE"),
    there("Storage.AzureBlob.ContainerName", "ATHENS_AZURE_CONTAINER_NAME"),
    there("Storage.AzureBlob.Endpoint", "ATHENS_AZURE_ENDPOINT"),
    there("Storage.Mongo.URL", "ATHENS_MONGO_STORAGE_URL"),
    there("Storage.Mongo.DefaultDBName", "ATHENS_MONGO_DEFAULT_DATABASE", field="storage.mongo.database"),
    there("Storage.Mongo.DefaultCollectionName", "ATHENS_MONGO_DEFAULT_COLLECTION", field="storage.mongo.collection"),
    there("Storage.Mongo.CertPath", "ATHENS_MONGO_CERT_PATH"),
    there("Storage.Mongo.InsecureConn", "ATHENS_MONGO_INSECURE", FLAG),
    # So spelled in Athens' sample file.
    there("Storage.Mongo.Insecure", "ATHENS_MONGO_INSECURE", FLAG, field="storage.mongo.insecure_conn"),
    there("Storage.External.URL", "ATHENS_EXTERNAL_STORAGE_URL"),
    Key("Storage.CDN.Endpoint", "CDN_ENDPOINT"),  # in Athens' sample file, and nothing behind it
    there("SingleFlight.Etcd.Endpoints", "ATHENS_ETCD_ENDPOINTS"),
    there("SingleFlight.Redis.Endpoint", "ATHENS_REDIS_ENDPOINT"),
    there("SingleFlight.Redis.Password", "ATHENS_REDIS_PASSWORD"),
    there("SingleFlight.Redis.Cluster", "ATHENS_REDIS_CLUSTER", FLAG),
    *_lock("SingleFlight.Redis"),
    there("SingleFlight.RedisSentinel.Endpoints", "ATHENS_REDIS_SENTINEL_ENDPOINTS", LIST, tuple),
    there("SingleFlight.RedisSentinel.MasterName", "ATHENS_REDIS_SENTINEL_MASTER_NAME"),
    there("SingleFlight.RedisSentinel.SentinelPassword", "ATHENS_REDIS_SENTINEL_PASSWORD"),
    there("SingleFlight.RedisSentinel.RedisUsername", "ATHENS_REDIS_USERNAME"),
    there("SingleFlight.RedisSentinel.RedisPassword", "ATHENS_REDIS_PASSWORD"),
    there("SingleFlight.RedisSentinel.DB", "ATHENS_REDIS_SENTINEL_DB", NUMBER, between(0)),
    *_lock("SingleFlight.RedisSentinel"),
    there("SingleFlight.GCP.StaleThreshold", "ATHENS_GCP_STALE_THRESHOLD", NUMBER, between(1)),
    there("Index.SQLite.File", "ATHENS_INDEX_SQLITE_FILE", field="index.sqlite.file"),
    there("Index.MySQL.Protocol", "ATHENS_INDEX_MYSQL_PROTOCOL", field="index.mysql.protocol"),
    there("Index.MySQL.Host", "ATHENS_INDEX_MYSQL_HOST", field="index.mysql.host"),
    there("Index.MySQL.Port", "ATHENS_INDEX_MYSQL_PORT", NUMBER, between(1, 65535), field="index.mysql.port"),
    there("Index.MySQL.User", "ATHENS_INDEX_MYSQL_USER", field="index.mysql.user"),
    there("Index.MySQL.Password", "ATHENS_INDEX_MYSQL_PASSWORD", field="index.mysql.password"),
    there("Index.MySQL.Database", "ATHENS_INDEX_MYSQL_DATABASE", field="index.mysql.database"),
    there("Index.MySQL.Params", "ATHENS_INDEX_MYSQL_PARAMS", MAP, field="index.mysql.params"),
    there("Index.Postgres.Host", "ATHENS_INDEX_POSTGRES_HOST"),
    there("Index.Postgres.Port", "ATHENS_INDEX_POSTGRES_PORT", NUMBER, between(1, 65535)),
    there("Index.Postgres.User", "ATHENS_INDEX_POSTGRES_USER"),
    there("Index.Postgres.Password", "ATHENS_INDEX_POSTGRES_PASSWORD"),
    there("Index.Postgres.Database", "ATHENS_INDEX_POSTGRES_DATABASE"),
    there("Index.Postgres.Params", "ATHENS_INDEX_POSTGRES_PARAMS", MAP),
]
