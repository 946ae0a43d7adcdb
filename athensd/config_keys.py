"""The keys of the configuration file: what each is called in the file and in the environment, and what it may hold.

A new setting is one line in ``KEYS`` and one field, with its default, in ``athensd.config.Config``.  Keys and variables
keep the names Athens gave them.  Those of Athens that are not there yet are known too, so that its files load.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from attrs import frozen


@frozen
class Listen:
    """A TCP address to serve; an empty host means all of them, port 0 any free one."""

    host: str = ""
    port: int = 3000


# Where /debug listens.  It shows much and asks for nothing, so that without a host it is for this machine only.
DEBUG = Listen("127.0.0.1", 3001)


@frozen
class Kind:
    """What a value has to be: in TOML it ``fits``, and ``parse`` makes the same of an environment variable's text.

    The parsers read what envconfig and Go's strconv read, since Athens uses them; they raise ``ValueError``.
    """

    name: str
    fits: Callable[[object], bool]
    parse: Callable[[str], object]


def _number(text: str) -> int:
    """A whole number as Go writes it: ``10``, ``0x0a``, ``012``."""
    return int(text, 8 if re.fullmatch(r"[+-]?0[0-7_]+", text) else 0)


def _flag(text: str) -> bool:
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if text in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ValueError(text)


def _list(text: str) -> list[str]:
    return text.split(",") if text.strip() else []


def _map(text: str) -> dict[str, str]:
    return dict(item.split(":") for item in _list(text))


def _assignments(text: str) -> list[str]:
    return [item.strip() for item in text.split(";")]


def _are_strings(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


TEXT = Kind("a string", lambda value: isinstance(value, str), str)
NUMBER = Kind("a whole number", lambda value: type(value) is int, _number)
FRACTION = Kind("a number", lambda value: type(value) in (int, float), float)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), _flag)
LIST = Kind("a list of strings", _are_strings, _list)
ASSIGNMENTS = Kind("a list of NAME=value", _are_strings, _assignments)
MAP = Kind("a table of strings", lambda v: isinstance(v, dict) and _are_strings(list(v.values())), _map)
ADDRESS = Kind('an address such as ":3000"', lambda value: type(value) in (str, int), str)


# The checks raise ValueError with the rest of the sentence that begins with the key.


def _as_it_is(value: Any) -> Any:
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("is empty; it must not be")
    return value


def _between(least: int, most: int | None = None) -> Callable[[int], int]:
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"

    def check(value: int) -> int:
        if value < least or (most is not None and value > most):
            raise ValueError(f"is {value}; it must be {allowed}")
        return value

    return check


def _share(value: float) -> float:
    if not 0 <= value <= 1:  # so written, it refuses TOML's nan too
        raise ValueError(f"is {value}; it must be from 0 to 1")
    return float(value)


def _one_of(*there: str, later: tuple[str, ...] = (), empty: str = "") -> Callable[[str], str]:
    """One of the words that are there; ``empty`` is the one that the empty string stands for, if it may."""
    choice = " or ".join(map(_shown, there))

    def check(value: str) -> str:
        if value in later:
            raise ValueError(f"{_shown(value)} is not there yet in this version of athensd; take {choice}")
        if (value or empty) not in there:
            raise ValueError(f"is {_shown(value)}; it must be {choice}")
        return value or empty

    return check


def _web_address(value: str) -> str:
    """The URL as it is, which need not be there.  It is never shown: it may hold a password."""
    if value and not re.match(r"https?://[^/]", value):
        raise ValueError("must be an address as in http://localhost:3001")
    return value


def _token(value: str) -> str:
    """A secret, without the end of the line that files often have; it is never shown."""
    token = value.strip()
    if not re.fullmatch("[!-~]*", token):
        raise ValueError("must be one word of ASCII")
    return token


def _log_level(value: str) -> str:
    """The level for a name that Athens' logger takes, in any case."""
    levels = {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"}
    level = levels.get(value.lower(), value.lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError(f"is {_shown(value)}; it must be debug, info, warning or error")
    return level


def _environment(entries: list[str]) -> dict[str, str]:
    """The variables by name; the last assignment wins, as in a process environment.  No value is ever shown."""
    for count, entry in enumerate(entries, 1):
        if not re.match("[^=]+=", entry):
            raise ValueError(f"has an entry (number {count}) that is no NAME=value")
    return dict(entry.split("=", 1) for entry in entries)


def _listen(default: Listen) -> Callable[[str | int], Listen]:
    """An address in Go's form, or the bare number of a port; what is left out of it is as in ``default``."""

    def check(value: str | int) -> Listen:
        if value == "":
            return default
        match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]*):)?([0-9]{1,5})", str(value))
        if match is None or int(match[2]) > 65535:
            raise ValueError(f'is {_shown(value)}; it must be a port as in ":3000", "127.0.0.1:3000" or "[::1]:3000"')
        return Listen((match[1] or "").strip("[]") or default.host, int(match[2]))

    return check


def _shown(value: object) -> str:
    """A value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)


@frozen
class Key:
    """A key of the file and the environment variable that overrides it.

    ``check`` takes a value of the right kind and gives what ``Config`` holds in ``field`` (its dotted path; empty where
    ``Config`` has nothing of it).  ``also`` is a second variable.  An empty variable is an empty value, as in Athens,
    unless ``empty_counts`` is false: then it is as good as none.
    """

    path: str
    env: str
    kind: Kind = TEXT
    check: Callable[[Any], Any] = _as_it_is
    field: str = ""
    also: str = ""
    empty_counts: bool = True

    @property
    def variables(self) -> list[str]:
        """The names of its variable, best first: envconfig puts a prefix and the names of the tables before it."""
        *tables, _last = self.path.upper().split(".")
        return [name for name in ("_".join(["ATHENS", *tables, self.env]), self.env, self.also) if name]


def _snake(path: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path).lower()


def _there(path: str, env: str, kind: Kind = TEXT, check: Callable[[Any], Any] = _as_it_is, **rest: Any) -> Key:
    """A setting that ``Config`` holds."""
    return Key(path, env, kind, check, **{"field": _snake(path), **rest})


def _later(path: str, env: str, kind: Kind, default: object) -> Key:
    """A key of Athens that does nothing yet: it may stand only at Athens' own default."""

    def check(value: object) -> None:
        if value != default:
            raise ValueError(f"is not there yet in this version of athensd; leave it at {_shown(default)}")

    return Key(path, env, kind, check)


def _lock(table: str) -> list[Key]:
    keys = {"TTL": "TTL", "Timeout": "TIMEOUT", "MaxRetries": "MAX_RETRIES"}
    return [Key(f"{table}.LockConfig.{key}", f"ATHENS_REDIS_LOCK_{env}", NUMBER) for key, env in keys.items()]


KEYS = [
    _there("GoBinary", "GO_BINARY_PATH", TEXT, _not_empty),
    _there("GoEnv", "GO_ENV", TEXT, _not_empty),
    _there("GoBinaryEnvVars", "ATHENS_GO_BINARY_ENV_VARS", ASSIGNMENTS, _environment, empty_counts=False),
    _there("NETRCPath", "ATHENS_NETRC_PATH", field="netrc_path"),
    _there("HGRCPath", "ATHENS_HGRC_PATH", field="hgrc_path"),
    _there("GithubToken", "ATHENS_GITHUB_TOKEN", TEXT, _token),
    _there("GoGetWorkers", "ATHENS_GOGET_WORKERS", NUMBER, _between(1)),
    _there("GoGetDir", "ATHENS_GOGET_DIR"),
    _there("GoGetFileBytes", "ATHENS_GOGET_FILE_BYTES", NUMBER, _between(0)),
    _there("VCSCacheBytes", "ATHENS_VCS_CACHE_BYTES", NUMBER, _between(0), field="vcs_cache_bytes"),
    _there("FilterFile", "ATHENS_FILTER_FILE"),
    _there("FilterDirect", "ATHENS_FILTER_DIRECT", TEXT, _one_of("proxy", "redirect", empty="proxy")),
    _there("GlobalEndpoint", "ATHENS_GLOBAL_ENDPOINT", TEXT, _web_address),
    _there("ValidatorHook", "ATHENS_PROXY_VALIDATOR", TEXT, _web_address),
    _there("ValidatorTimeout", "ATHENS_VALIDATOR_TIMEOUT", NUMBER, _between(1)),
    _there("ValidatorFresh", "ATHENS_VALIDATOR_FRESH", NUMBER, _between(0)),
    _there("SumDBs", "ATHENS_SUM_DBS", LIST, tuple, field="sum_dbs"),
    _there("NoSumPatterns", "ATHENS_GONOSUM_PATTERNS", LIST, tuple),
    _there("SumDBAway", "ATHENS_SUM_DB_AWAY", TEXT, _one_of("store", "refuse", empty="store"), field="sum_db_away"),
    _there("SumDBFresh", "ATHENS_SUM_DB_FRESH", NUMBER, _between(1), field="sum_db_fresh"),
    _there("DownloadMode", "ATHENS_DOWNLOAD_MODE", TEXT, lambda value: value or "sync"),
    _there("DownloadURL", "ATHENS_DOWNLOAD_URL", field="download_url"),
    _there("ProtocolWorkers", "ATHENS_PROTOCOL_WORKERS", NUMBER, _between(1)),
    _there("QueueLength", "ATHENS_QUEUE_LENGTH", NUMBER, _between(0)),
    _there("LogLevel", "ATHENS_LOG_LEVEL", TEXT, _log_level),
    _there("LogFormat", "ATHENS_LOG_FORMAT", TEXT, _one_of("plain", "json", empty="plain")),
    _there("CloudRuntime", "ATHENS_CLOUD_RUNTIME", TEXT, _one_of("none", "GCP", empty="none")),
    _there("TraceExporter", "ATHENS_TRACE_EXPORTER"),
    _there("TraceExporterURL", "ATHENS_TRACE_EXPORTER_URL"),
    _there("TraceSamplingFraction", "ATHENS_TRACE_SAMPLING_FRACTION", FRACTION, _share),
    _there("TraceSlow", "ATHENS_TRACE_SLOW", NUMBER, _between(0)),
    _there("StatsExporter", "ATHENS_STATS_EXPORTER"),
    _there("StatsExporterURL", "ATHENS_STATS_EXPORTER_URL"),
    _there("EnablePprof", "ATHENS_ENABLE_PPROF", FLAG),
    _there("PprofPort", "ATHENS_PPROF_PORT", ADDRESS, _listen(DEBUG), field="pprof"),
    _there("RobotsFile", "ATHENS_ROBOTS_FILE"),
    _there("Timeout", "ATHENS_TIMEOUT", NUMBER, _between(1)),
    _there("StashTimeout", "ATHENS_STASH_TIMEOUT", NUMBER, _between(1)),
    _there("ShutdownTimeout", "ATHENS_SHUTDOWN_TIMEOUT", NUMBER, _between(0)),
    _there("ListFresh", "ATHENS_LIST_FRESH", NUMBER, _between(0)),
    _there("ListStale", "ATHENS_LIST_STALE", NUMBER, _between(0)),
    _there("NetworkMode", "ATHENS_NETWORK_MODE", TEXT, _one_of("strict", "fallback", "offline", empty="strict")),
    _there("NotFoundFresh", "ATHENS_NOT_FOUND_FRESH", NUMBER, _between(0, 60)),
    _there("Port", "ATHENS_PORT", ADDRESS, _listen(Listen()), field="listen", also="PORT", empty_counts=False),
    _there(
        "StorageType",
        "ATHENS_STORAGE_TYPE",
        TEXT,
        _one_of("memory", "disk", later=("mongo", "gcp", "minio", "s3", "azureblob", "external")),
    ),
    _there(
        "IndexType", "ATHENS_INDEX_TYPE", TEXT, _one_of("none", "memory", later=("mysql", "postgres"), empty="none")
    ),
    _there(
        "SingleFlightType",
        "ATHENS_SINGLE_FLIGHT_TYPE",
        TEXT,
        _one_of("memory", later=("etcd", "redis", "redis-sentinel", "gcp", "azureblob"), empty="memory"),
    ),
    _there("Storage.Disk.RootPath", "ATHENS_DISK_STORAGE_ROOT"),
    _there("Storage.GCP.ProjectID", "GOOGLE_CLOUD_PROJECT", field="google_project"),
    # Not there yet.
    _later("UnixSocket", "ATHENS_UNIX_SOCKET", TEXT, ""),
    _later("TLSCertFile", "ATHENS_TLSCERT_FILE", TEXT, ""),
    _later("TLSKeyFile", "ATHENS_TLSKEY_FILE", TEXT, ""),
    _later("BasicAuthUser", "BASIC_AUTH_USER", TEXT, ""),
    _later("BasicAuthPass", "BASIC_AUTH_PASS", TEXT, ""),
    _later("HomeTemplatePath", "ATHENS_HOME_TEMPLATE_PATH", TEXT, "/var/lib/athens/home.html"),
    _later("ForceSSL", "PROXY_FORCE_SSL", FLAG, False),
    _later("PathPrefix", "ATHENS_PATH_PREFIX", TEXT, ""),
    # The tables of what cannot be chosen yet: Athens' sample carries them filled, so only their spelling matters.
    Key("SingleFlight.Etcd.Endpoints", "ATHENS_ETCD_ENDPOINTS"),
    Key("SingleFlight.Redis.Endpoint", "ATHENS_REDIS_ENDPOINT"),
    Key("SingleFlight.Redis.Password", "ATHENS_REDIS_PASSWORD"),
    Key("SingleFlight.Redis.Cluster", "ATHENS_REDIS_CLUSTER", FLAG),
    *_lock("SingleFlight.Redis"),
    Key("SingleFlight.RedisSentinel.Endpoints", "ATHENS_REDIS_SENTINEL_ENDPOINTS", LIST),
    Key("SingleFlight.RedisSentinel.MasterName", "ATHENS_REDIS_SENTINEL_MASTER_NAME"),
    Key("SingleFlight.RedisSentinel.SentinelPassword", "ATHENS_REDIS_SENTINEL_PASSWORD"),
    Key("SingleFlight.RedisSentinel.RedisUsername", "ATHENS_REDIS_USERNAME"),
    Key("SingleFlight.RedisSentinel.RedisPassword", "ATHENS_REDIS_PASSWORD"),
    Key("SingleFlight.RedisSentinel.DB", "ATHENS_REDIS_SENTINEL_DB", NUMBER),
    *_lock("SingleFlight.RedisSentinel"),
    Key("SingleFlight.GCP.StaleThreshold", "ATHENS_GCP_STALE_THRESHOLD", NUMBER),
    Key("Storage.CDN.Endpoint", "CDN_ENDPOINT"),
    Key("Storage.GCP.Bucket", "ATHENS_STORAGE_GCP_BUCKET"),
    Key("Storage.GCP.JSONKey", "ATHENS_STORAGE_GCP_JSON_KEY"),
    Key("Storage.Minio.Endpoint", "ATHENS_MINIO_ENDPOINT"),
    Key("Storage.Minio.Key", "ATHENS_MINIO_ACCESS_KEY_ID"),
    Key("Storage.Minio.Secret", "ATHENS_MINIO_SECRET_ACCESS_KEY"),
    Key("Storage.Minio.Bucket", "ATHENS_MINIO_BUCKET_NAME"),
    Key("Storage.Minio.Region", "ATHENS_MINIO_REGION"),
    Key("Storage.Minio.EnableSSL", "ATHENS_MINIO_USE_SSL", FLAG),
    Key("Storage.Mongo.URL", "ATHENS_MONGO_STORAGE_URL"),
    Key("Storage.Mongo.DefaultDBName", "ATHENS_MONGO_DEFAULT_DATABASE"),
    Key("Storage.Mongo.DefaultCollectionName", "ATHENS_MONGO_DEFAULT_COLLECTION"),
    Key("Storage.Mongo.CertPath", "ATHENS_MONGO_CERT_PATH"),
    Key("Storage.Mongo.InsecureConn", "ATHENS_MONGO_INSECURE", FLAG),
    Key("Storage.Mongo.Insecure", "ATHENS_MONGO_INSECURE", FLAG),  # so spelled in Athens' sample file
    Key("Storage.S3.Region", "AWS_REGION"),
    Key("Storage.S3.Key", "AWS_ACCESS_KEY_ID"),
    Key("Storage.S3.Secret", "AWS_SECRET_ACCESS_KEY"),
    Key("Storage.S3.Token", "AWS_SESSION_TOKEN"),
    Key("Storage.S3.Bucket", "ATHENS_S3_BUCKET_NAME"),
    Key("Storage.S3.UseDefaultConfiguration", "AWS_USE_DEFAULT_CONFIGURATION", FLAG),
    Key("Storage.S3.ForcePathStyle", "AWS_FORCE_PATH_STYLE", FLAG),
    Key("Storage.S3.Endpoint", "AWS_ENDPOINT"),
    Key("Storage.S3.CredentialsEndpoint", "AWS_CREDENTIALS_ENDPOINT"),
    Key("Storage.S3.AwsContainerCredentialsRelativeURI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    Key("Storage.AzureBlob.AccountName", "ATHENS_AZURE_ACCOUNT_NAME"),
    Key("Storage.AzureBlob.AccountKey", "ATHENS_AZURE_ACCOUNT_KEY"),
    Key("Storage.AzureBlob.ManagedIdentityResourceID", "ATHENS_AZURE_MANAGED_IDENTITY_RESOURCE_ID"),
    Key("Storage.AzureBlob.CredentialScope", "ATHENS_AZURE_CREDENTIAL_SCOPE"),
    Key("Storage.AzureBlob.ContainerName", "ATHENS_AZURE_CONTAINER_NAME"),
    Key("Storage.External.URL", "ATHENS_EXTERNAL_STORAGE_URL"),
    Key("Index.MySQL.Protocol", "ATHENS_INDEX_MYSQL_PROTOCOL"),
    Key("Index.MySQL.Host", "ATHENS_INDEX_MYSQL_HOST"),
    Key("Index.MySQL.Port", "ATHENS_INDEX_MYSQL_PORT", NUMBER),
    Key("Index.MySQL.User", "ATHENS_INDEX_MYSQL_USER"),
    Key("Index.MySQL.Password", "ATHENS_INDEX_MYSQL_PASSWORD"),
    Key("Index.MySQL.Database", "ATHENS_INDEX_MYSQL_DATABASE"),
    Key("Index.MySQL.Params", "ATHENS_INDEX_MYSQL_PARAMS", MAP),
    Key("Index.Postgres.Host", "ATHENS_INDEX_POSTGRES_HOST"),
    Key("Index.Postgres.Port", "ATHENS_INDEX_POSTGRES_PORT", NUMBER),
    Key("Index.Postgres.User", "ATHENS_INDEX_POSTGRES_USER"),
    Key("Index.Postgres.Password", "ATHENS_INDEX_POSTGRES_PASSWORD"),
    Key("Index.Postgres.Database", "ATHENS_INDEX_POSTGRES_DATABASE"),
    Key("Index.Postgres.Params", "ATHENS_INDEX_POSTGRES_PARAMS", MAP),
]
