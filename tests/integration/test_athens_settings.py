"""Athens' own sample of settings: athensd starts with it, or says which key cannot be honoured and why."""

from __future__ import annotations

import io
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from athensd import tap
from athensd.config.keys import KEYS
from athensd.config.report import report
from athensd.observe.logs import Log, _Lines
from athensd.startup import read_configuration
from tests.integration.daemon import running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version

SAMPLE = Path(__file__).parents[1] / "fixtures/athens.dev.toml"
"""The keys that Athens documents, each with the value of its sample, or else its default."""

# By table, as Athens' documentation and its sample have them.
DOCUMENTED = {
    "": """
        GoBinary GoEnv GoBinaryEnvVars GoGetWorkers GoGetDir ProtocolWorkers LogLevel LogFormat CloudRuntime
        EnablePprof PprofPort FilterFile RobotsFile Timeout StashTimeout ShutdownTimeout StorageType Port UnixSocket
        TLSCertFile TLSKeyFile GlobalEndpoint BasicAuthUser BasicAuthPass HomeTemplatePath ForceSSL ValidatorHook
        PathPrefix NETRCPath GithubToken HGRCPath TraceExporter TraceExporterURL TraceSamplingFraction StatsExporter
        SumDBs NoSumPatterns DownloadMode DownloadURL NetworkMode SingleFlightType IndexType
    """,
    "SingleFlight.Etcd": "Endpoints",
    "SingleFlight.Redis": "Endpoint Password Cluster",
    "SingleFlight.Redis.LockConfig": "TTL Timeout MaxRetries",
    "SingleFlight.RedisSentinel": "Endpoints MasterName SentinelPassword RedisUsername RedisPassword DB",
    "SingleFlight.RedisSentinel.LockConfig": "TTL Timeout MaxRetries",
    "SingleFlight.GCP": "StaleThreshold",
    "Storage.CDN": "Endpoint",
    "Storage.Disk": "RootPath",
    "Storage.GCP": "ProjectID Bucket JSONKey",
    "Storage.Minio": "Endpoint Key Secret EnableSSL Bucket Region",
    "Storage.Mongo": "URL DefaultDBName DefaultCollectionName CertPath Insecure InsecureConn",
    "Storage.S3": """
        Region Key Secret Token Bucket ForcePathStyle UseDefaultConfiguration CredentialsEndpoint
        AwsContainerCredentialsRelativeURI Endpoint
    """,
    "Storage.AzureBlob": "AccountName AccountKey ManagedIdentityResourceId CredentialScope ContainerName",
    "Storage.External": "URL",
    "Index.MySQL": "Protocol Host Port User Password Database Params",
    "Index.Postgres": "Host Port User Password Database Params",
}
NAMES = {f"{table}.{name}".strip(".") for table, names in DOCUMENTED.items() for name in names.split()}


def test_the_sample_has_every_key() -> None:
    """None that Athens documents is missing in it, and each is one that athensd knows."""
    known = {key.path.lower() for key in KEYS}

    def names(table: Mapping[str, Any], before: str = "") -> set[str]:
        found = set()
        for name, value in table.items():
            path = f"{before}{name}"
            is_value = not isinstance(value, dict) or path.lower() in known
            found |= {path} if is_value else names(value, f"{path}.")
        return found

    assert names(tomllib.loads(SAMPLE.read_text())) == NAMES
    assert {name.lower() for name in NAMES} <= known


def test_every_key_of_it_counts() -> None:
    """Each is what athensd says that it goes by, but for the one that means nothing to Athens either."""
    config = read_configuration(str(SAMPLE))
    shown = {each.key.lower() for each in report(config, SAMPLE.read_text(), {}, "sample") if each.source == "sample"}
    assert {name.lower() for name in NAMES} - shown == {"storage.cdn.endpoint"}


@needs_go
def test_athensd_starts_with_it(tmp_path: Path) -> None:
    """Unmodified, in place of athens.toml: it serves a module, and nothing in its log is worse than information.

    Only port, upstream and the form of the log are others, by the environment, and there is an index.
    """
    add_version(
        tmp_path / "tree", "example.test/m", "v1.0.0", {"go.mod": b"module example.test/m\n", "m.go": b"package m\n"}
    )
    upstream = Upstream(tmp_path / "tree")
    place = tmp_path / "athensd"
    place.mkdir()
    shutil.copy(SAMPLE, place / "athens.toml")
    variables = {"ATHENS_GO_BINARY_ENV_VARS": f"GOPROXY={upstream.url};GOSUMDB=off", "ATHENS_STORAGE_TYPE": "memory"}
    with running(place, upstream.url, **variables) as daemon:
        assert daemon.get("readyz")[0] == 200
        assert daemon.get("example.test/m/@v/v1.0.0.zip")[0] == 200
        assert daemon.end() == 0
        assert {line["level"] for line in daemon.lines()} <= {"debug", "info"}
    upstream.stop()


# What is chosen otherwise than in the sample, and what is said then; nothing where athensd starts.
CHOICES = [
    ("StorageType", "disk", ""),
    ("StorageType", "mongo", ""),
    ("StorageType", "gcp", ""),
    ("StorageType", "minio", ""),
    ("StorageType", "s3", ""),
    ("StorageType", "azureblob", ""),
    ("StorageType", "external", 'StorageType "external" needs Storage.External.URL (or ATHENS_EXTERNAL_STORAGE_URL)'),
    ("SingleFlightType", "etcd", ""),
    ("SingleFlightType", "redis", ""),
    ("SingleFlightType", "redis-sentinel", ""),
    ("SingleFlightType", "gcp", 'SingleFlightType "gcp" keeps its locks in the store: it needs StorageType "gcp"'),
    (
        "SingleFlightType",
        "azureblob",
        'SingleFlightType "azureblob" keeps its locks in the store: it needs StorageType "azureblob"',
    ),
    ("IndexType", "memory", ""),
    ("IndexType", "mysql", ""),
    # Athens' own driver refuses what stands in its sample, when it connects.
    ("IndexType", "postgres", "Index.Postgres.Params: connect_timeout must be a number of seconds"),
]


@needs_go
@pytest.mark.parametrize(("key", "value", "said"), CHOICES, ids=[f"{key}={value}" for key, value, _ in CHOICES])
def test_each_choice(key: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Athens' backends are called works with the tables of its sample, or the one line names a key and why."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"GOPROXY": "off", "ATHENS_STATS_EXPORTER": "none", "ATHENS_GOGET_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, text)
    quiet = Log(_Lines(io.StringIO()), [], lambda *_: "")
    monkeypatch.setattr(tap, "configure_logs", lambda *_, **__: quiet)  # it is for the whole process
    lines = SAMPLE.read_text().replace("/path/on/disk", str(tmp_path / "store")).splitlines()
    chosen = [f'{key} = "{value}"' if line.startswith(f"{key} =") else line for line in lines]
    Path("athens.toml").write_text("\n".join(chosen))
    options = tap.Options()
    options.parseOptions([])
    if not said:
        assert tap.makeService(options)
        return
    with pytest.raises(SystemExit) as caught:
        tap.makeService(options)
    [line] = str(caught.value).splitlines()
    assert line.endswith(said)
