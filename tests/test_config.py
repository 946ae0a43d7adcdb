"""The settings: what holds, what is refused, and that the samples and the documentation say the same."""

from __future__ import annotations

import json
import re
from operator import attrgetter
from pathlib import Path

import pytest
from attrs import asdict, evolve
from hypothesis import given
from hypothesis import strategies as st

from athensd.config.backend_keys import BACKENDS
from athensd.config.backends import Disk, Index, SingleFlight, Storage
from athensd.config.key import Key
from athensd.config.keys import KEYS
from athensd.config.kinds import FLAG, LIST, MAP, NUMBER, TEXT, Listen
from athensd.config.load import ConfigError, changes, load
from athensd.config.reference import explained, page, plain, sample
from athensd.config.settings import Config

HERE = Path(__file__).parent
ROOT = HERE.parent
THERE = [key for key in KEYS if key.field]


def complaints(text: str = "", environ: dict[str, str] | None = None) -> list[str]:
    """What is wrong with these settings, a line each."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ or {})
    return str(caught.value).splitlines()


def test_defaults() -> None:
    """Without a file and without variables every setting has the default that its field names."""
    assert load("", {}) == Config()
    assert asdict(Config()) == {
        "go_binary": "go",
        "go_env": "development",
        "go_binary_env_vars": {},
        "netrc_path": "",
        "hgrc_path": "",
        "github_token": "",
        "go_get_workers": 10,
        "go_get_dir": "",
        "go_get_file_bytes": 4_000_000_000,
        "vcs_cache_bytes": 20_000_000_000,
        "protocol_workers": 30,
        "queue_length": 1000,
        "log_level": "info",
        "log_format": "plain",
        "cloud_runtime": "none",
        "google_project": "",
        "trace_exporter": "",
        "trace_exporter_url": "",
        "trace_sampling_fraction": 1.0,
        "trace_slow": 5,
        "stats_exporter": "prometheus",
        "stats_exporter_url": "",
        "enable_pprof": False,
        "pprof": {"host": "127.0.0.1", "port": 3001},
        "audit_file": "",
        "audit_days": 400,
        "audit_rows": 10_000_000,
        "robots_file": "robots.txt",
        "home_template_path": "/var/lib/athens/home.html",
        "timeout": 300,
        "stash_timeout": 600,
        "shutdown_timeout": 60,
        "list_fresh": 60,
        "list_stale": 86400,
        "not_found_fresh": 60,
        "network_mode": "strict",
        "filter_file": "",
        "filter_direct": "proxy",
        "revoked_file": "",
        "global_endpoint": "http://localhost:3001",
        "validator_hook": "",
        "validator_timeout": 10,
        "validator_fresh": 60,
        "sum_dbs": ("https://sum.golang.org",),
        "no_sum_patterns": (),
        "sum_db_away": "store",
        "sum_db_fresh": 300,
        "download_mode": "sync",
        "download_url": "",
        "fast_lane": True,
        "fetch_ahead": True,
        "client_timeout": 60,
        "workers": 1,
        "max_connections": 10_000,
        "max_connections_per_client": 0,
        "listen": {"host": "", "port": 3000},
        "endpoints": (),
        "unix_socket": "",
        "unix_socket_mode": 0o660,
        "tls_cert_file": "",
        "tls_key_file": "",
        "force_ssl": False,
        "path_prefix": "",
        "trusted_proxies": (),
        "basic_auth_user": "",
        "basic_auth_pass": "",
        "users_file": "",
        "tokens_file": "",
        "rules_file": "",
        "metrics_auth": True,
        "storage_type": "memory",
        "index_type": "none",
        "storage_cache_bytes": 10_000_000_000,
        "storage_max_bytes": 0,
        "storage_pinned": (),
        "single_flight_type": "memory",
        "storage": asdict(Storage()),
        "single_flight": asdict(SingleFlight()),
        "index": asdict(Index()),
    }


LOCAL = "http://localhost:4317"
DOGSTATSD = "udp://localhost:8125"

# TOML key, its value, the variable's text for the same, and what Config then holds.
OVERRIDES = [
    ("GoBinary", '"go1.25"', "go1.25", {"go_binary": "go1.25"}),
    ("GoEnv", '"production"', "production", {"go_env": "production"}),
    ("GoBinaryEnvVars", '["A=1", "B=x=y"]', "A=1; B=x=y", {"go_binary_env_vars": {"A": "1", "B": "x=y"}}),
    ("GoGetWorkers", "2", "2", {"go_get_workers": 2}),
    ("GoGetDir", '"/big"', "/big", {"go_get_dir": "/big"}),
    ("RevokedFile", '"/shared/revoked"', "/shared/revoked", {"revoked_file": "/shared/revoked"}),
    ("AuditFile", '"/var/audit"', "/var/audit", {"audit_file": "/var/audit"}),
    ("AuditDays", "30", "30", {"audit_days": 30}),
    ("AuditRows", "1000", "1000", {"audit_rows": 1000}),
    ("ProtocolWorkers", "3", "3", {"protocol_workers": 3}),
    ("QueueLength", "0", "0", {"queue_length": 0}),
    ("LogLevel", '"WARN"', "WARN", {"log_level": "warning"}),
    ("LogFormat", '"json"', "json", {"log_format": "json"}),
    ("CloudRuntime", '"GCP"', "GCP", {"cloud_runtime": "GCP"}),
    ("TraceExporter", '"any"', "any", {"trace_exporter": "any"}),
    ("TraceExporterURL", '"http://localhost:4317"', "http://localhost:4317", {"trace_exporter_url": LOCAL}),
    ("TraceSamplingFraction", "0", "0", {"trace_sampling_fraction": 0.0}),
    ("TraceSlow", "0", "0", {"trace_slow": 0}),
    ("StatsExporter", '""', "", {"stats_exporter": ""}),
    ("StatsExporterURL", '"udp://localhost:8125"', "udp://localhost:8125", {"stats_exporter_url": DOGSTATSD}),
    ("EnablePprof", "true", "1", {"enable_pprof": True}),
    ("PprofPort", '":4001"', ":4001", {"pprof": Listen("127.0.0.1", 4001)}),
    ("RobotsFile", '""', "", {"robots_file": ""}),
    ("HomeTemplatePath", '"/srv/home.html"', "/srv/home.html", {"home_template_path": "/srv/home.html"}),
    ("BasicAuthUser", '"go"', "go", {"basic_auth_user": "go"}),
    ("BasicAuthPass", '"a:b c"', "a:b c", {"basic_auth_pass": "a:b c"}),
    ("UsersFile", '"/etc/users"', "/etc/users", {"users_file": "/etc/users"}),
    ("TokensFile", '"/etc/tokens"', "/etc/tokens", {"tokens_file": "/etc/tokens"}),
    ("RulesFile", '"/etc/rules"', "/etc/rules", {"rules_file": "/etc/rules"}),
    ("MetricsAuth", "false", "false", {"metrics_auth": False}),
    ("Timeout", "1", "1", {"timeout": 1}),
    ("StashTimeout", "2", "2", {"stash_timeout": 2}),
    ("ShutdownTimeout", "0", "0", {"shutdown_timeout": 0}),
    ("ListFresh", "0", "0", {"list_fresh": 0}),
    ("ListStale", "0", "0", {"list_stale": 0}),
    ("GoGetFileBytes", "0", "0", {"go_get_file_bytes": 0}),
    ("NETRCPath", '"n"', "n", {"netrc_path": "n"}),
    ("HGRCPath", '"h"', "h", {"hgrc_path": "h"}),
    ("GithubToken", '"t "', "t\n", {"github_token": "t"}),
    ("VCSCacheBytes", "0", "0", {"vcs_cache_bytes": 0}),
    ("FilterFile", '"f"', "f", {"filter_file": "f"}),
    ("FilterDirect", '"redirect"', "redirect", {"filter_direct": "redirect"}),
    ("GlobalEndpoint", f'"{LOCAL}"', LOCAL, {"global_endpoint": LOCAL}),
    ("ValidatorHook", f'"{LOCAL}"', LOCAL, {"validator_hook": LOCAL}),
    ("ValidatorTimeout", "1", "1", {"validator_timeout": 1}),
    ("ValidatorFresh", "0", "0", {"validator_fresh": 0}),
    (
        "SumDBs",
        '["https://a.test", "https://b.test"]',
        "https://a.test,https://b.test",
        {"sum_dbs": ("https://a.test", "https://b.test")},
    ),
    ("NoSumPatterns", '["a.test/*"]', "a.test/*", {"no_sum_patterns": ("a.test/*",)}),
    ("SumDBAway", '"refuse"', "refuse", {"sum_db_away": "refuse"}),
    ("SumDBFresh", "1", "1", {"sum_db_fresh": 1}),
    ("DownloadMode", '"none"', "none", {"download_mode": "none"}),
    ("DownloadURL", f'"{LOCAL}"', LOCAL, {"download_url": LOCAL}),
    ("NetworkMode", '"offline"', "offline", {"network_mode": "offline"}),
    ("NotFoundFresh", "0", "0", {"not_found_fresh": 0}),
    ("FastLane", "false", "0", {"fast_lane": False}),
    ("FetchAhead", "false", "0", {"fetch_ahead": False}),
    ("ClientTimeout", "1", "1", {"client_timeout": 1}),
    ("Workers", "1", "1", {"workers": 1}),  # more need a store that is not in memory
    ("MaxConnections", "0", "0", {"max_connections": 0}),
    ("MaxConnectionsPerClient", "7", "7", {"max_connections_per_client": 7}),
    ("Port", '"4000"', "4000", {"listen": Listen("", 4000)}),
    ("Listen", '["tcp:1", "unix:/s"]', "tcp:1,unix:/s", {"endpoints": ("tcp:1", "unix:/s")}),
    ("UnixSocket", '"/s"', "/s", {"unix_socket": "/s"}),
    ("UnixSocketMode", '"666"', "0666", {"unix_socket_mode": 0o666}),
    ("TLSCertFile", '"c"', "c", {"tls_cert_file": "c"}),
    ("TLSKeyFile", '"k"', "k", {"tls_key_file": "k"}),
    ("ForceSSL", "true", "1", {"force_ssl": True}),
    ("PathPrefix", '"/go/"', "/go", {"path_prefix": "/go"}),
    ("TrustedProxies", '["unix", "::1"]', "unix, ::1", {"trusted_proxies": ("unix", "::1")}),
    ("StorageType", '"memory"', "memory", {"storage_type": "memory"}),
    ("StorageCacheBytes", "0", "0", {"storage_cache_bytes": 0}),
    ("StorageMaxBytes", "0", "0", {"storage_max_bytes": 0}),
    ("StoragePinned", '["a.io", "b.io/m@v1.0.0"]', "a.io,b.io/m@v1.0.0", {"storage_pinned": ("a.io", "b.io/m@v1.0.0")}),
    ("IndexType", '"memory"', "memory", {"index_type": "memory"}),
    ("SingleFlightType", '""', "", {"single_flight_type": "memory"}),
    ("Storage.Disk.RootPath", '"/m"', "/m", {"storage": Storage(Disk("/m"))}),
    ("Storage.GCP.ProjectID", '"p"', "p", {"google_project": "p"}),
]


def test_every_setting_is_tried() -> None:
    """The table above leaves no setting out, but for those of backends."""
    backends = {key.path for key in OF_BACKENDS} - {"Storage.Disk.RootPath", "Storage.GCP.ProjectID"}
    assert {path for path, *_ in OVERRIDES} == {key.path for key in THERE} - backends


# By the name of a kind: a value in TOML, a variable's text for the same, and what is held.
OF_A_KIND = {
    TEXT.name: ('"x y"', "x y", "x y"),
    NUMBER.name: ("7", "7", 7),
    FLAG.name: ("true", "1", True),
    LIST.name: ('["x", "y"]', "x,y", ("x", "y")),
    MAP.name: ('{ x = "y" }', "x:y", {"x": "y"}),
}
OF_BACKENDS = [key for section in BACKENDS for key in section.keys if key.field]


@pytest.mark.parametrize("key", OF_BACKENDS, ids=[key.path for key in OF_BACKENDS])
def test_settings_of_backends(key: Key) -> None:
    """Each is held in its own place, from the file and from each spelling of its variable."""
    toml, text, held = OF_A_KIND[key.kind.name]
    find = attrgetter(key.field)
    assert find(Config()) != held
    assert find(load(f"{key.path} = {toml}", {})) == held
    assert key.path in changes(Config(), load(f"{key.path} = {toml}", {}))
    for variable in key.variables:
        assert find(load("", {variable: text})) == held


@pytest.mark.parametrize(("path", "toml", "text", "held"), OVERRIDES, ids=[row[0] for row in OVERRIDES])
def test_file_and_environment_agree(path: str, toml: str, text: str, held: dict[str, object]) -> None:
    """A value means the same in the file, in any case of its key, and in each spelling of its variable."""
    expected = evolve(Config(), **held)
    assert load(f"{path} = {toml}", {}) == expected
    assert load(f"{path.swapcase()} = {toml}", {}) == expected
    for variable in next(key for key in KEYS if key.path == path).variables:
        assert load("", {variable: text}) == expected


@pytest.mark.parametrize(("path", "toml", "text", "held"), OVERRIDES, ids=[row[0] for row in OVERRIDES])
def test_changes_are_named(path: str, toml: str, text: str, held: dict[str, object]) -> None:
    """Each setting that differs is named by its key, and no other."""
    new = evolve(Config(), **held)
    assert changes(Config(), new) == ([] if new == Config() else [path])
    assert changes(new, new) == []


@pytest.mark.parametrize(
    ("toml", "environ", "held"),
    [
        ("Timeout = 5", {"ATHENS_TIMEOUT": "6"}, {"timeout": 6}),
        ("", {"GO_ENV": "a", "ATHENS_GO_ENV": "b"}, {"go_env": "b"}),
        ("", {"ATHENS_PORT": "1", "ATHENS_ATHENS_PORT": "2", "PORT": "3"}, {"listen": Listen("", 2)}),
        (
            "",
            {"ATHENS_DISK_STORAGE_ROOT": "a", "ATHENS_STORAGE_DISK_ATHENS_DISK_STORAGE_ROOT": "b"},
            {"storage": Storage(Disk("b"))},
        ),
        ("Port = '1'", {"PORT": "3"}, {"listen": Listen("", 3)}),
        ("Port = '1'", {"PORT": "3", "ATHENS_PORT": ""}, {"listen": Listen("", 3)}),
        ("Port = '1'", {"PORT": "", "ATHENS_PORT": ""}, {"listen": Listen("", 1)}),
        ("GoBinaryEnvVars = ['A=1']", {"ATHENS_GO_BINARY_ENV_VARS": ""}, {"go_binary_env_vars": {"A": "1"}}),
        ("GoBinaryEnvVars = ['A=1']", {"ATHENS_GO_BINARY_ENV_VARS": "B=2"}, {"go_binary_env_vars": {"B": "2"}}),
        ("GoGetDir = 'x'", {"ATHENS_GOGET_DIR": ""}, {"go_get_dir": ""}),
        ("GoGetWorkers = 0", {"ATHENS_GOGET_WORKERS": "4"}, {"go_get_workers": 4}),
        ("ForceSSL = true", {"PROXY_FORCE_SSL": "F"}, {}),
        ("", {"HOME": "/home/me", "GOPROXY": "off", "athens_timeout": "7"}, {}),
        ("[storage.DISK]\nrootPATH = 'x'", {}, {"storage": Storage(Disk("x"))}),
    ],
)
def test_precedence(toml: str, environ: dict[str, str], held: dict[str, object]) -> None:
    """The prefixed variable goes before the plain one, that before the file, and the rest of the world is no matter."""
    assert load(toml, environ) == evolve(Config(), **held)


@pytest.mark.parametrize(("text", "number"), [("10", 10), ("0x1F", 31), ("010", 8), ("0b11", 3), ("1_000", 1000)])
def test_numbers_as_go_writes_them(text: str, number: int) -> None:
    """A whole number in the environment may have any of Go's prefixes."""
    assert load("", {"ATHENS_QUEUE_LENGTH": text}).queue_length == number


@pytest.mark.parametrize(
    ("names", "level"),
    [
        ("trace debug DEBUG", "debug"),
        ("info Info", "info"),
        ("warn warning", "warning"),
        ("error fatal panic PANIC", "error"),
    ],
)
def test_log_levels(names: str, level: str) -> None:
    """Each of Athens' names, in any case, stands for one of four levels."""
    for name in names.split():
        assert load("", {"ATHENS_LOG_LEVEL": name}).log_level == level


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("3000", "", 3000),
        (":3000", "", 3000),
        (":0", "", 0),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("localhost:80", "localhost", 80),
        ("my-host.example:65535", "my-host.example", 65535),
        ("[::1]:3000", "::1", 3000),
        ("", "", 3000),
    ],
)
def test_ports(text: str, host: str, port: int) -> None:
    """The address is a port, with or without a host before it."""
    assert load(f"Port = {json.dumps(text)}", {}).listen == Listen(host, port)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("4001", "127.0.0.1"),
        (":4001", "127.0.0.1"),
        ("0.0.0.0:4001", "0.0.0.0"),
        ("[::1]:4001", "::1"),
        ("[::]:4001", "::"),
    ],
)
def test_debugging_is_for_this_machine(text: str, host: str) -> None:
    """An address for /debug without a host is no address of the network; nothing at all is the default."""
    assert load(f"PprofPort = {json.dumps(text)}", {}).pprof == Listen(host, 4001)
    assert load("PprofPort = ''", {}).pprof == Config().pprof


def test_port_as_a_number() -> None:
    """In the file the port may be a number."""
    assert load("Port = 4000", {}).listen == Listen("", 4000)


@pytest.mark.parametrize(
    "text", ["http", ":", ":http", ":65536", "::1:3000", "[::1]", "a b:1", "tcp://10.0.0.1:80", ":-1", "[host]:1", "٣"]
)
def test_no_ports(text: str) -> None:
    """Whatever is no address is refused with the three forms of one."""
    [line] = complaints("", {"ATHENS_PORT": text})
    assert line.startswith(
        f'environment: ATHENS_PORT is {json.dumps(text, ensure_ascii=False)}; it must be a port as in ":3000"'
    )


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("GoGetWorkers = 0", "GoGetWorkers is 0; it must be at least 1"),
        ("NotFoundFresh = 61", "NotFoundFresh is 61; it must be from 0 to 60"),
        ("GoBinary = ''", "GoBinary is empty; it must not be"),
        ("LogLevel = 'loud'", 'LogLevel is "loud"; it must be debug, info, warning or error'),
        ("TraceSamplingFraction = 1.5", "TraceSamplingFraction is 1.5; it must be from 0 to 1"),
        ("TraceSamplingFraction = nan", "TraceSamplingFraction is nan; it must be from 0 to 1"),
        ("TraceSlow = -1", "TraceSlow is -1; it must be at least 0"),
        ("CloudRuntime = 'gcp'", 'CloudRuntime is "gcp"; it must be "none" or "GCP"'),
        (
            "PprofPort = 'x'",
            'PprofPort is "x"; it must be a port as in ":3000", "127.0.0.1:3000" or "[::1]:3000"',
        ),
        ("LogFormat = 'xml'", 'LogFormat is "xml"; it must be "plain" or "json"'),
        (
            "IndexType = 'sql'",
            'IndexType is "sql"; it must be "none" or "memory" or "sqlite" or "mysql" or "postgres"',
        ),
        (
            "StorageType = 'disk'",
            'StorageType "disk" needs Storage.Disk.RootPath (or ATHENS_DISK_STORAGE_ROOT)',
        ),
        (
            "StorageType = 'gcp'\nSingleFlightType = 'gcp'",
            'StorageType "gcp" needs Storage.GCP.Bucket (or ATHENS_STORAGE_GCP_BUCKET)',
        ),
        (
            "Workers = 2",
            'StorageType "memory" is of one process alone: it does not go with Workers above 1',
        ),
        (
            "Workers = 2\nIndexType = 'memory'\nStorageType = 'disk'\nStorage.Disk.RootPath = '/m'",
            'IndexType "memory" is of one process alone: it does not go with Workers above 1',
        ),
        (
            "Workers = 3\nEnablePprof = true\nPprofPort = ':65534'\nIndexType = 'none'\n"
            "StorageType = 'disk'\nStorage.Disk.RootPath = '/m'",
            "PprofPort is 65534, and the last of 3 Workers would be at 65536",
        ),
        ("Workers = 0", "Workers is 0; it must be at least 1"),
        (
            "SingleFlightType = 's3'",
            'SingleFlightType "s3" keeps its locks in the store: it needs StorageType "s3"',
        ),
        (
            "StorageMaxBytes = 1",
            'StorageMaxBytes needs StorageType "disk", SingleFlightType "memory" and one of Workers',
        ),
        (
            "SingleFlightType = 'etcd'\nSingleFlight.Etcd.Endpoints = ''",
            'SingleFlightType "etcd" needs SingleFlight.Etcd.Endpoints (or ATHENS_ETCD_ENDPOINTS)',
        ),
        ("GoBinaryEnvVars = ['A=1', 'B']", "GoBinaryEnvVars has an entry (number 2) that is no NAME=value"),
        ("GoBinaryEnvVars = ['=1']", "GoBinaryEnvVars has an entry (number 1) that is no NAME=value"),
        ("Timeout = '300'", "Timeout is a string; it must be a whole number"),
        ("Timeout = true", "Timeout is true or false; it must be a whole number"),
        ("Timeout = 1.5", "Timeout is a decimal number; it must be a whole number"),
        ("Timeout = 1979-05-27", "Timeout is a date or time; it must be a whole number"),
        ("ForceSSL = 1", "ForceSSL is a whole number; it must be true or false"),
        ("SumDBs = [1]", "SumDBs is an array; it must be a list of strings"),
        ("GoBinaryEnvVars.A = '1'", "GoBinaryEnvVars is a table; it must be a list of NAME=value"),
        ("Index.MySQL.Params.parseTime = true", "Index.MySQL.Params is a table; it must be a table of strings"),
        ("Storage = 'disk'", "Storage is a string; it must be a table"),
        ("[[Storage]]", "Storage is an array; it must be a table"),
        ("Port = '1'\nport = '2'", "port is there twice (upper and lower case are the same)"),
        ("GoBinry = 'go'", "GoBinry is no setting; the nearest one is GoBinary"),
        ("[Storage.S3]\nregon = ''", "Storage.S3.regon is no setting; the nearest one is Storage.S3.Region"),
        ("[Singleflght]", "Singleflght is no setting; the nearest one is SingleFlightType"),
        ("UnixSocketMode = '999'", 'UnixSocketMode is "999"; it must be as in "0660"'),
        ("PathPrefix = 'go'", 'PathPrefix is "go"; it must be as in "/go" or "/go/proxy"'),
        ("PathPrefix = '/a/../b'", 'PathPrefix is "/a/../b"; it must be as in "/go" or "/go/proxy"'),
        ("PathPrefix = '/a//b'", 'PathPrefix is "/a//b"; it must be as in "/go" or "/go/proxy"'),
        (
            "TrustedProxies = ['10.0.0.1/8']",
            'TrustedProxies has "10.0.0.1/8"; it may have "unix" and networks as in "10.0.0.0/8"',
        ),
        ("GlobalEndpoint = 'x'", "GlobalEndpoint must be an address as in http://localhost:3001"),
    ],
)
def test_what_the_file_may_not_say(toml: str, complaint: str) -> None:
    """A complaint names the file, the key, what was found and what would be right."""
    assert complaints(toml) == [f"athens.toml: {complaint}"]


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("ATHENS_TIMEOUT", "", "is empty; it must be a whole number"),
        ("ATHENS_TIMEOUT", "5m", "is not a whole number"),
        ("ATHENS_TIMEOUT", "09", "is not a whole number"),
        ("ATHENS_TIMEOUT", "0", "is 0; it must be at least 1"),
        ("ATHENS_ENABLE_PPROF", "", "is empty; it must be true or false"),
        ("PROXY_FORCE_SSL", "yes", "is not true or false"),
        ("ATHENS_PROXY_FORCE_SSL", "yes", "is not true or false"),
        ("ATHENS_TRACE_SAMPLING_FRACTION", "-0.5", "is -0.5; it must be from 0 to 1"),
        ("ATHENS_TRACE_SAMPLING_FRACTION", "some", "is not a number"),
        ("ATHENS_GO_BINARY_ENV_VARS", "A=1;", "has an entry (number 2) that is no NAME=value"),
        ("ATHENS_INDEX_MYSQL_PARAMS", "a:b,c", "is not a table of strings"),
        ("ATHENS_INDEX_MYSQL_PARAMS", "a:b:c", "is not a table of strings"),
        ("GO_ENV", "", "is empty; it must not be"),
        ("ATHENS_LOGLEVEL", "info", "is no setting; the nearest one is ATHENS_LOG_LEVEL"),
        ("ATHENS_FORCE_SSL", "true", "is no setting; the nearest one is PROXY_FORCE_SSL"),
        ("ATHENS_GO_BINARY", "go", "is no setting; the nearest one is GO_BINARY_PATH"),
    ],
)
def test_what_the_environment_may_not_say(variable: str, text: str, complaint: str) -> None:
    """A complaint names the very variable that was set."""
    assert complaints("", {variable: text}) == [f"environment: {variable} {complaint}"]


def test_all_complaints_at_once() -> None:
    """One start shows everything that has to be put right."""
    lines = complaints("Ports = 1\nTimeout = 0\nStorageType = 'disk'", {"ATHENS_GOGET_WORKERS": "many", "ATHENS_X": ""})
    assert [line.split()[1] for line in lines] == [
        "Ports",
        "ATHENS_GOGET_WORKERS",
        "ATHENS_X",
        "Timeout",
        "StorageType",
    ]


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("Port = \n", "Invalid value (at line 1, column 8)"),
        ("\nPort = '1'\nPort = '2'\n", "Cannot overwrite a value (at line 3, column 11)"),
        ("Timeout = " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_what_is_no_toml(toml: str, complaint: str) -> None:
    """A file that cannot be parsed is named, with the place where that was seen."""
    with pytest.raises(ConfigError) as caught:
        load(toml, {}, "my.toml")
    assert str(caught.value).startswith(f"my.toml is not TOML: {complaint}")


def test_no_credential_is_shown() -> None:
    """Neither a complaint nor the printed settings hold a value that may be secret."""
    text = "\n".join(
        complaints(
            "GithubToken = 'sekret sekret'\nBasicAuthPass = ['sekret']\n[Storage.S3]\nSecret = ['sekret']",
            {"ATHENS_GO_BINARY_ENV_VARS": "TOKEN sekret", "ATHENS_INDEX_MYSQL_PARAMS": "sekret"},
        )
    )
    assert len(text.splitlines()) == 5
    assert "sekret" not in text
    secret = "\n".join(
        [
            "GoBinaryEnvVars = ['TOKEN=sekret']",
            "GithubToken = 'sekret'",
            "BasicAuthPass = 'sekret'",
            "TraceExporterURL = 'http://me:sekret@jaeger'",
            "StatsExporterURL = 'http://me:sekret@collector'",
        ]
    )
    assert "sekret" not in repr(load(secret, {}))


def test_a_file_of_athens_loads() -> None:
    """Athens' own sample loads; besides the tables of backends it differs from our defaults in four values."""
    text = (HERE / "fixtures" / "athens.dev.toml").read_text()
    config = load(text, {})
    assert config == evolve(
        Config(),
        go_binary_env_vars={"GOPROXY": "direct"},
        log_level="debug",
        google_project="MY_GCP_PROJECT_ID",
        trace_exporter_url=LOCAL,
        storage=config.storage,
        single_flight=config.single_flight,
        index=config.index,
    )
    assert config.storage.disk == Disk("/path/on/disk")
    assert config.single_flight == SingleFlight()
    assert config.index.mysql == Index().mysql


def test_the_sample_file() -> None:
    """The sample keeps modules on disk and else names the defaults."""
    text = (ROOT / "etc" / "athens.toml").read_text()
    assert load(text, {}) == evolve(Config(), storage_type="disk", storage=Storage(Disk("var/storage")))


PAGE = ROOT / "docs" / "configuration.md"
PAGES = [file for file in sorted((ROOT / "docs").glob("*.md")) if "script/reference: " in file.read_text()]


def test_the_sample_is_made_of_the_keys() -> None:
    """Run script/reference where this fails."""
    assert (ROOT / "etc" / "athens.toml").read_text() == sample()


@pytest.mark.parametrize("file", PAGES, ids=[file.name for file in PAGES])
def test_tables_are_made_of_the_keys(file: Path) -> None:
    """Run script/reference where this fails."""
    assert page(file.read_text()) == file.read_text()


@pytest.mark.parametrize("key", KEYS, ids=[key.path for key in KEYS])
def test_each_key_is_explained(key: Key) -> None:
    """In sentences that fit into a cell, in its row of the page, and in the sample."""
    assert re.fullmatch(r"[^|\n]+\.", key.meaning)
    assert f"\n| `{key.path}`<br>`{key.env}`" in PAGE.read_text()
    assert load(explained(key.path), {}) == Config()
    assert explained(key.path) in explained(key.env.lower())


def test_a_key_that_is_not_there() -> None:
    """The nearest one is named."""
    with pytest.raises(LookupError, match="GoBinry is no setting; the nearest one is GoBinary"):
        explained("GoBinry")


def test_a_meaning_without_marks() -> None:
    """In the sample it is plain, and pages are named from the root of the repository."""
    marked = "What `D` [means](policy.md#a-b), as [policy.md](policy.md) and [RFC 1](https://a.test/) say."
    assert plain(marked) == ("What D means (docs/policy.md), as docs/policy.md and [RFC 1](https://a.test/) say.")


def test_a_table_of_no_section() -> None:
    """It is not left as it is."""
    with pytest.raises(KeyError, match="Nothing"):
        page("<!-- script/reference: Nothing -->\n<!-- end -->\n")


def documented(key: Key) -> str:
    """The second column of the documentation's row for this key."""
    [row] = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{key.path}`<br>")]
    return row.split(" | ")[1]


@pytest.mark.parametrize("key", THERE, ids=[key.path for key in THERE])
def test_the_documentation_names_the_default(key: Key) -> None:
    """The default in the documentation, written into a file, is the default."""
    assert load(f"{key.path} = {documented(key).strip('`')}", {}) == Config()


VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


@given(
    st.dictionaries(st.sampled_from([key.path for key in KEYS]), st.one_of(VALUES, st.lists(st.text()))),
    st.dictionaries(st.sampled_from([name for key in KEYS for name in key.variables]), st.text()),
)
def test_nothing_else_is_raised(file: dict[str, object], environ: dict[str, str]) -> None:
    """Whatever the values are, there are settings or complaints."""
    text = "\n".join(f"{path} = {json.dumps(value)}" for path, value in file.items())
    try:
        assert isinstance(load(text, environ), Config)
    except ConfigError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATHENS_SERVICE_HOST", "10.0.0.7"),
        ("ATHENS_PROXY_SERVICE_PORT", "80"),
        ("ATHENS_SERVICE_PORT_HTTP", "80"),
        ("ATHENS_PORT_80_TCP_ADDR", "10.0.0.7"),
        ("ATHENS_PROXY_PORT", "tcp://10.0.0.7:80"),
    ],
)
def test_what_kubernetes_says_of_a_service_is_passed_over(name: str, value: str) -> None:
    """A service whose name begins with "athens" keeps no pod from starting; a setting misspelt is still found."""
    assert load("", {name: value}) == Config()
    with pytest.raises(ConfigError, match="ATHENS_PROXY_PORT is no setting"):
        load("", {"ATHENS_PROXY_PORT": "80"})
