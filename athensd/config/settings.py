"""The settings, checked; the defaults stand at the fields."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from athensd.config.backends import Index, SingleFlight, Storage
from athensd.config.kinds import DEBUG, Listen
from athensd.sumdb.names import PUBLIC


@frozen
class Config:
    """All settings, checked.  Times are in seconds."""

    go_binary: str = "go"
    go_env: str = "development"
    # Kept out of the repr: operators pass tokens to git this way.
    go_binary_env_vars: Mapping[str, str] = field(factory=dict, repr=False)
    netrc_path: str = ""
    hgrc_path: str = ""
    github_token: str = field(default="", repr=False)
    go_get_workers: int = 10
    go_get_dir: str = ""
    go_get_file_bytes: int = 4_000_000_000
    vcs_cache_bytes: int = 20_000_000_000
    protocol_workers: int = 30
    queue_length: int = 1000
    log_level: str = "info"
    log_format: str = "plain"
    cloud_runtime: str = "none"
    google_project: str = ""
    trace_exporter: str = ""
    # Out of the repr as well: collectors are given a user and password this way.
    trace_exporter_url: str = field(default="", repr=False)
    trace_sampling_fraction: float = 1.0
    trace_slow: int = 5
    stats_exporter: str = "prometheus"
    stats_exporter_url: str = field(default="", repr=False)
    enable_pprof: bool = False
    pprof: Listen = DEBUG
    audit_file: str = ""
    audit_days: int = 400
    audit_rows: int = 10_000_000
    robots_file: str = "robots.txt"
    home_template_path: str = "/var/lib/athens/home.html"
    timeout: int = 300
    stash_timeout: int = 600
    shutdown_timeout: int = 60
    list_fresh: int = 60
    list_stale: int = 86400
    not_found_fresh: int = 60
    network_mode: str = "strict"
    filter_file: str = ""
    filter_direct: str = "proxy"
    revoked_file: str = ""
    global_endpoint: str = "http://localhost:3001"
    validator_hook: str = field(default="", repr=False)
    validator_timeout: int = 10
    validator_fresh: int = 60
    sum_dbs: tuple[str, ...] = (f"https://{PUBLIC}",)
    no_sum_patterns: tuple[str, ...] = ()
    sum_db_away: str = "store"
    sum_db_fresh: int = 300
    download_mode: str = "sync"
    download_url: str = ""
    fast_lane: bool = True
    fetch_ahead: bool = True
    client_timeout: int = 60
    workers: int = 1
    max_connections: int = 10_000
    max_connections_per_client: int = 0
    listen: Listen = field(factory=Listen)
    endpoints: tuple[str, ...] = ()
    unix_socket: str = ""
    unix_socket_mode: int = 0o660
    tls_cert_file: str = ""
    tls_key_file: str = ""
    force_ssl: bool = False
    path_prefix: str = ""
    trusted_proxies: tuple[str, ...] = ()
    basic_auth_user: str = ""
    basic_auth_pass: str = field(default="", repr=False)
    users_file: str = ""
    tokens_file: str = ""
    rules_file: str = ""
    metrics_auth: bool = True
    storage_type: str = "memory"
    storage_cache_bytes: int = 10_000_000_000
    storage_max_bytes: int = 0
    storage_pinned: tuple[str, ...] = ()
    index_type: str = "none"
    single_flight_type: str = "memory"
    storage: Storage = field(factory=Storage)
    single_flight: SingleFlight = field(factory=SingleFlight)
    index: Index = field(factory=Index)
