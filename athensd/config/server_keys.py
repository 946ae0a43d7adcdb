"""The keys about the server: where it listens, who may come in, what is told of it; see ``keys``."""

from __future__ import annotations

from athensd.config.key import Section, there
from athensd.config.kinds import (
    ADDRESS,
    DEBUG,
    FLAG,
    FRACTION,
    LIST,
    NUMBER,
    TEXT,
    Listen,
    between,
    file_mode,
    listen,
    log_level,
    networks,
    not_empty,
    one_of,
    path_prefix,
    share,
    user_name,
)

_LISTENING = (
    there("Port", "ATHENS_PORT", ADDRESS, listen(Listen()), field="listen", also="PORT", empty_counts=False).means(
        '`"port"`, `":port"`, `"host:port"` or `"[IPv6]:port"`; port 0 is any free one.'
    ),
    there("Listen", "ATHENS_LISTEN", LIST, tuple, field="endpoints").means(
        'Endpoints to listen at instead of `Port`, such as `"tcp:3000"`, `"tls:tcp:3443"`, `"unix:/run/athensd.sock"` '
        'or `"haproxy:tcp:3000"`.'
    ),
    there("UnixSocket", "ATHENS_UNIX_SOCKET").means("A socket of this machine to listen at instead of `Port`."),
    there("UnixSocketMode", "ATHENS_UNIX_SOCKET_MODE", TEXT, file_mode).means(
        "Who may connect to it, as chmod says it."
    ),
    there("TLSCertFile", "ATHENS_TLSCERT_FILE", field="tls_cert_file").means(
        "The certificate for HTTPS, followed by those of its authorities, in PEM."
    ),
    there("TLSKeyFile", "ATHENS_TLSKEY_FILE", field="tls_key_file").means(
        "Its key, in PEM and without a password. SIGHUP reads both again."
    ),
    there("ForceSSL", "PROXY_FORCE_SSL", FLAG, field="force_ssl").means(
        "Whether all but health probes is redirected to [HTTPS](listening.md#https), which may end at a proxy before "
        "this one."
    ),
    there("PathPrefix", "ATHENS_PATH_PREFIX", TEXT, path_prefix).means('What all paths begin with, such as `"/go"`.'),
    there("TrustedProxies", "ATHENS_TRUSTED_PROXIES", LIST, networks).means(
        "Networks of reverse proxies that are [believed](listening.md#behind-a-reverse-proxy) who their clients are, "
        'such as `"10.0.0.0/8"`; `"unix"` for those at `UnixSocket`.'
    ),
    there("ClientTimeout", "ATHENS_CLIENT_TIMEOUT", NUMBER, between(1)).means(
        "Seconds after which a client is cut off that asks for nothing, has not sent the whole of a request, or takes "
        "less than 1 KiB a second of an answer."
    ),
    there("MaxConnections", "ATHENS_MAX_CONNECTIONS", NUMBER, between(0)).means(
        "How many connections clients may have at a time; 0 is no limit. Where the system gives fewer file descriptors "
        "(`ulimit -n`), they are fewer, and the log says so at the start."
    ),
    there("MaxConnectionsPerClient", "ATHENS_MAX_CONNECTIONS_PER_CLIENT", NUMBER, between(0)).means(
        "How many from one address; 0 is no limit, since many may stand behind one."
    ),
    there("Workers", "ATHENS_WORKERS", NUMBER, between(1)).means(
        "How many [processes](workers.md) serve, each with bounds of its own. More than 1 pays on several cores under "
        'much load, and needs a store and an index that are not `"memory"`.'
    ),
    there("FastLane", "ATHENS_FAST_LANE", FLAG).means(
        "Whether an answer that was given a moment ago may be given again before the request is parsed; no byte of any "
        "answer depends on it."
    ),
)

_DOORS = (
    there("BasicAuthUser", "BASIC_AUTH_USER", TEXT, user_name).means(
        "The one user of Athens, who may have all; goes with `BasicAuthPass`."
    ),
    there("BasicAuthPass", "BASIC_AUTH_PASS").means("That user's password."),
    there("UsersFile", "ATHENS_USERS_FILE").means("Users and their passwords, as `htpasswd -B` writes them."),
    there("TokensFile", "ATHENS_TOKENS_FILE").means("Bearer tokens, by their SHA-256."),
    there("RulesFile", "ATHENS_RULES_FILE").means("Who may have which modules."),
    there("MetricsAuth", "ATHENS_METRICS_AUTH", FLAG).means(
        "Whether `/metrics` wants a login too, when there are any."
    ),
)

_PAGES = (
    there("HomeTemplatePath", "ATHENS_HOME_TEMPLATE_PATH").means(
        "A file to show as the [home page](pages.md#a-home-page-of-your-own); if there is none, athensd has its own."
    ),
    there("RobotsFile", "ATHENS_ROBOTS_FILE").means(
        "The file to serve as `/robots.txt`; if there is none, all robots are turned away."
    ),
)

_TOLD = (
    there("AuditFile", "ATHENS_AUDIT_FILE").means(
        "A file that records [who was given which version](incident.md#ask-who-has-it); empty records nothing."
    ),
    there("AuditDays", "ATHENS_AUDIT_DAYS", NUMBER, between(1)).means("For how many days it keeps an answer."),
    there("AuditRows", "ATHENS_AUDIT_ROWS", NUMBER, between(1)).means("How many answers it keeps at most."),
    there("LogLevel", "ATHENS_LOG_LEVEL", TEXT, log_level).means(
        '`"debug"`, `"info"`, `"warning"` or `"error"`; Athens\' other names are taken too.'
    ),
    there("LogFormat", "ATHENS_LOG_FORMAT", TEXT, one_of("plain", "json", empty="plain")).means(
        '`"plain"` or `"json"`.'
    ),
    there("CloudRuntime", "ATHENS_CLOUD_RUNTIME", TEXT, one_of("none", "GCP", empty="none")).means(
        '`"GCP"` writes log lines as Google Cloud wants them, whatever `LogFormat` says.'
    ),
    there("GoEnv", "GO_ENV", TEXT, not_empty).means(
        'The name of this environment, such as `"production"`; in `"development"` every request is traced.'
    ),
    there("TraceExporter", "ATHENS_TRACE_EXPORTER").means(
        'Where traces go: `"jaeger"`, `"otlp"`, `"stackdriver"`, `"datadog"`, or nowhere (empty or `"none"`).'
    ),
    there("TraceExporterURL", "ATHENS_TRACE_EXPORTER_URL").means(
        'The address for them (for `"stackdriver"`: the project); empty is the exporter\'s own default.'
    ),
    there("TraceSamplingFraction", "ATHENS_TRACE_SAMPLING_FRACTION", FRACTION, share).means(
        "Which part of the requests is traced, from 0 to 1."
    ),
    there("TraceSlow", "ATHENS_TRACE_SLOW", NUMBER, between(0)).means(
        "A request that took at least so many seconds is traced in any case."
    ),
    there("StatsExporter", "ATHENS_STATS_EXPORTER").means(
        'Where metrics go: `"prometheus"` (which fetches them at `/metrics`), `"otlp"`, `"stackdriver"`, `"datadog"`, '
        'or nowhere (empty or `"none"`).'
    ),
    there("StatsExporterURL", "ATHENS_STATS_EXPORTER_URL").means(
        'The address for them, unless it is `"prometheus"`; empty is the exporter\'s own default.'
    ),
    there("EnablePprof", "ATHENS_ENABLE_PPROF", FLAG).means(
        "Whether to show at `PprofPort`, under `/debug/`, what is under way."
    ),
    there("PprofPort", "ATHENS_PPROF_PORT", ADDRESS, listen(DEBUG), field="pprof").means(
        "As `Port`; but without a host it is only for this machine."
    ),
)

SERVER = [
    Section("Where it listens", _LISTENING, "See [listening.md](listening.md)."),
    Section("Who may come in", _DOORS, "See [access.md](access.md)."),
    Section("Pages for people", _PAGES, "See [pages.md](pages.md)."),
    Section("Who is told of what goes on", _TOLD, "See [operations.md](operations.md) and [metrics.md](metrics.md)."),
]
