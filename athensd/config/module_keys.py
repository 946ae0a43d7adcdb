"""The keys about modules: where they are kept, where they come from, which may be had; see ``keys``."""

from __future__ import annotations

from athensd.config.key import Section, there
from athensd.config.kinds import (
    ASSIGNMENTS,
    FLAG,
    LIST,
    NUMBER,
    TEXT,
    between,
    environment,
    not_empty,
    one_of,
    token,
    web_address,
)

STORES = ("memory", "disk", "mongo", "gcp", "minio", "s3", "azureblob", "external")
LOCKS = ("memory", "file", "redis", "redis-sentinel", "etcd", "s3", "minio", "gcp", "azureblob")

_KEPT = (
    there("StorageType", "ATHENS_STORAGE_TYPE", TEXT, one_of(*STORES)).means(
        '`"memory"` (forgets everything at the end), `"disk"`, `"s3"`, `"minio"`, `"gcp"`, `"azureblob"`, `"mongo"` or '
        '`"external"`, each with a table of its own.'
    ),
    there("StorageCacheBytes", "ATHENS_STORAGE_CACHE_BYTES", NUMBER, between(0)).means(
        "How many bytes of a store on another machine are [kept here too](storage-cache.md), so that hits come from "
        "this disk; 0 is nothing."
    ),
    there("StorageMaxBytes", "ATHENS_STORAGE_MAX_BYTES", NUMBER, between(0)).means(
        "How many bytes the files of a disk storage may have: to make room, the zips used least recently are "
        "[evicted](retention.md), and fetched again when somebody asks for them; 0 is no bound."
    ),
    there("StoragePinned", "ATHENS_STORAGE_PINNED", LIST, tuple).means(
        "Modules whose zips are never [evicted](retention.md): patterns as in GOPRIVATE, and `MODULE@VERSION`."
    ),
    there(
        "IndexType", "ATHENS_INDEX_TYPE", TEXT, one_of("none", "memory", "sqlite", "mysql", "postgres", empty="none")
    ).means(
        'What [`/index`](index.md) knows is kept in `"memory"` (since the start of this process), `"sqlite"`, '
        '`"postgres"` or `"mysql"`; or `"none"`.'
    ),
    there("SingleFlightType", "ATHENS_SINGLE_FLIGHT_TYPE", TEXT, one_of(*LOCKS, empty="memory")).means(
        'How [askers for the same module](single-flight.md) find each other: `"memory"`, within this process; among '
        'several by `"file"` (on one disk), `"redis"`, `"redis-sentinel"`, `"etcd"`, or by the bucket itself: `"s3"`, '
        '`"minio"`, `"gcp"`, `"azureblob"`.'
    ),
)

_ORIGIN = (
    there("GoBinary", "GO_BINARY_PATH", TEXT, not_empty).means("The go command: a name to look up in PATH, or a path."),
    there("GoBinaryEnvVars", "ATHENS_GO_BINARY_ENV_VARS", ASSIGNMENTS, environment, empty_counts=False).means(
        'More environment for the go command, each `NAME=value` (in the variable with `";"` between them): `GOPROXY`, '
        "`GOPRIVATE`, `GONOSUMDB` and the like. Without `GOPROXY` here modules come from where `go env GOPROXY` of "
        "this machine says."
    ),
    there("NETRCPath", "ATHENS_NETRC_PATH", field="netrc_path").means(
        "A netrc file with logins for git and import pages, instead of the one in HOME; see [private.md](private.md)."
    ),
    there("HGRCPath", "ATHENS_HGRC_PATH", field="hgrc_path").means(
        "A settings file of hg, instead of the one in HOME."
    ),
    there("GithubToken", "ATHENS_GITHUB_TOKEN", TEXT, token).means(
        "A token for https://github.com, shown to git alone."
    ),
    there("GoGetWorkers", "ATHENS_GOGET_WORKERS", NUMBER, between(1)).means(
        "How many go commands may run at once, at least 1."
    ),
    there("GoGetDir", "ATHENS_GOGET_DIR").means(
        "Where work in progress is kept; empty is within the disk storage or, without one, the system's temporary "
        "directory."
    ),
    there("GoGetFileBytes", "ATHENS_GOGET_FILE_BYTES", NUMBER, between(0)).means(
        "The largest file that a go command, or git under it, may write, in bytes; 0 is no limit."
    ),
    there("VCSCacheBytes", "ATHENS_VCS_CACHE_BYTES", NUMBER, between(0), field="vcs_cache_bytes").means(
        "Cloned repositories are kept for the next version, of this size together; those used last stay. 0 keeps all."
    ),
    there("ProtocolWorkers", "ATHENS_PROTOCOL_WORKERS", NUMBER, between(1)).means(
        "How many questions may be under way at once to each upstream proxy, at least 1."
    ),
    there("QueueLength", "ATHENS_QUEUE_LENGTH", NUMBER, between(0)).means(
        "How many more may wait for their turn, which goes from client to client; in a full queue the last one of the "
        "client with the most is answered 503."
    ),
    there("FetchAhead", "ATHENS_FETCH_AHEAD", FLAG).means(
        "Whether go.mod files that a go command will ask for next are fetched before it does, from upstream proxies."
    ),
)

_RULES = (
    there("FilterFile", "ATHENS_FILTER_FILE").means(
        "A file of rules, such as `etc/filter.conf`; empty lets all through."
    ),
    there("FilterDirect", "ATHENS_FILTER_DIRECT", TEXT, one_of("proxy", "redirect", empty="proxy")).means(
        'What a rule `D` means: `"proxy"` hands the module on without storing it, `"redirect"` sends the client to '
        "`GlobalEndpoint`."
    ),
    there("GlobalEndpoint", "ATHENS_GLOBAL_ENDPOINT", TEXT, web_address).means(
        'The proxy that `FilterDirect = "redirect"` leads to.'
    ),
    there("RevokedFile", "ATHENS_REVOKED_FILE").means(
        "The file of [revoked versions](incident.md); empty is one within the disk storage, and with another storage "
        "no version can be revoked then."
    ),
    there("ValidatorHook", "ATHENS_PROXY_VALIDATOR", TEXT, web_address).means(
        "A server of yours that allows or forbids each version; empty is none."
    ),
    there("ValidatorTimeout", "ATHENS_VALIDATOR_TIMEOUT", NUMBER, between(1)).means(
        "How long it may take to answer, in seconds."
    ),
    there("ValidatorFresh", "ATHENS_VALIDATOR_FRESH", NUMBER, between(0)).means(
        "How long its verdict on a version holds, in seconds."
    ),
    there("DownloadMode", "ATHENS_DOWNLOAD_MODE", TEXT, lambda value: value or "sync").means(
        'What happens to what is not stored: `"sync"` fetches it, `"async"` fetches it for the next one who asks, '
        '`"redirect"` sends the client to `DownloadURL`, `"async_redirect"` does both, `"none"` does nothing. '
        '`"file:PATH"`, or `"custom:"` and the same in base64, has rules by module, such as `etc/download.hcl`.'
    ),
    there("DownloadURL", "ATHENS_DOWNLOAD_URL", field="download_url").means(
        "The proxy that the redirecting modes lead to."
    ),
    there("NetworkMode", "ATHENS_NETWORK_MODE", TEXT, one_of("strict", "fallback", "offline", empty="strict")).means(
        'While the origin cannot be asked: `"strict"` says so, `"fallback"` answers lists, `@latest` and prefixes such '
        'as `v1` from what is stored. `"offline"` asks nobody for anything.'
    ),
)

_CHECKSUMS = (
    there("SumDBs", "ATHENS_SUM_DBS", LIST, tuple, field="sum_dbs").means(
        "Those that clients may ask through this proxy, each a URL or what `GOSUMDB` may be."
    ),
    there("NoSumPatterns", "ATHENS_GONOSUM_PATTERNS", LIST, tuple).means(
        "Modules about which no checksum database is asked, as in `GONOSUMDB`; clients get 403."
    ),
    there("SumDBAway", "ATHENS_SUM_DB_AWAY", TEXT, one_of("store", "refuse", empty="store"), field="sum_db_away").means(
        'While the database cannot be asked, `"store"` takes modules in and verifies them later, `"refuse"` does not.'
    ),
    there("SumDBFresh", "ATHENS_SUM_DB_FRESH", NUMBER, between(1), field="sum_db_fresh").means(
        "How long the newest tree head of a database is fresh, in seconds."
    ),
)

_TIMES = (
    there("Timeout", "ATHENS_TIMEOUT", NUMBER, between(1)).means(
        "For one question to an upstream or a version control host."
    ),
    there("StashTimeout", "ATHENS_STASH_TIMEOUT", NUMBER, between(1)).means("To fetch, verify and store one version."),
    there("ListFresh", "ATHENS_LIST_FRESH", NUMBER, between(0)).means(
        "How long a version list, `@latest` or the commit of a branch is fresh."
    ),
    there("ListStale", "ATHENS_LIST_STALE", NUMBER, between(0)).means(
        "Up to this age it is still given at once, while a new one is fetched behind it."
    ),
    there("NotFoundFresh", "ATHENS_NOT_FOUND_FRESH", NUMBER, between(0, 60)).means(
        'How long "there is no such module" is believed, at most 60.'
    ),
    there("ShutdownTimeout", "ATHENS_SHUTDOWN_TIMEOUT", NUMBER, between(0)).means(
        "To finish the open requests at shutdown."
    ),
)

MODULES = [
    Section("Where modules are kept", _KEPT),
    Section("Where modules come from", _ORIGIN, "See [upstreams.md](upstreams.md) and [private.md](private.md)."),
    Section(
        "Which modules may be had",
        _RULES,
        "See [policy.md](policy.md), for what happens to those that are not stored too.",
    ),
    Section("Checksum databases", _CHECKSUMS, "See [checksums.md](checksums.md)."),
    Section("How long things may take or hold", _TIMES, "In seconds."),
]
