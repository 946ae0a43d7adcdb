"""A real Prometheus scrapes a real daemon; dashboard and alerts speak of what is there and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from athensd.observe.metrics import CACHE_RESULTS, METHODS, OTHER, QUESTIONS, ROUTES, STATUSES
from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually, free_ports, serving
from tests.web.hostile import hostile_targets

PROMETHEUS = Path(__file__).parents[2] / "etc" / "prometheus"
DASHBOARD = Path(__file__).parents[2] / "etc" / "grafana" / "dashboards" / "athensd.json"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="prometheus and promtool are not installed"
)


@frozen
class Prometheus:
    """A running Prometheus server."""

    url: str

    def is_ready(self) -> bool:
        """Before it is, it answers every question with 503."""
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()
        except urllib.error.HTTPError:
            return False
        return True

    def ask(self, what: str, **parameters: str) -> Any:
        """The data of an answer of its API; that must be a success."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, expression: str) -> list[Any]:
        """The series that an expression has now."""
        series: list[Any] = self.ask("query", query=expression)["result"]
        return series


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One to which everything has happened that a metric tells of."""
    directory = tmp_path_factory.mktemp("metrics")
    tree = directory / "tree"
    for path in ("example.test/m", *(f"example.test/busy{number}" for number in range(6))):
        add_version(tree, path, "v1.0.0", {"go.mod": f"module {path}\n".encode(), "m.go": b"package m\n"})
    upstream = Upstream(tree)
    settings = {"ATHENS_PROTOCOL_WORKERS": "1", "ATHENS_QUEUE_LENGTH": "1", "ATHENS_LIST_FRESH": "1"}
    [refusing] = free_ports(1)
    goproxy = f"http://127.0.0.1:{refusing}|{upstream.url},direct"
    with running(directory / "athensd", goproxy, **settings) as daemon:
        everything_happens(daemon, upstream, directory / "athensd" / "store")
        yield daemon
    upstream.stop()


def everything_happens(daemon: Daemon, upstream: Upstream, store: Path) -> None:
    """Hits, misses, what is stale, what is absent, waiting, refusals, failures of the go command and of the store."""
    files = [f"example.test/m/@v/{file}" for file in ("list", "v1.0.0.info", "v1.0.0.mod", "v1.0.0.zip")]
    for path in [*files, "example.test/m/@latest"] * 2:
        assert daemon.get(path)[0] == 200
    # There is no such host, so that the upstream says no and the go command cannot find out.
    assert daemon.get("gone.invalid/m/@v/list")[0] in {404, 502}
    upstream.delay = 0.5
    with ThreadPoolExecutor(8) as askers:
        busy = [f"example.test/busy{number}/@v/v1.0.0.mod" for number in range(6)]
        statuses = [status for status, _ in askers.map(daemon.get, [busy[0], *busy])]
    assert {200, 503} <= set(statuses)
    upstream.delay = 0
    time.sleep(1.1)
    assert daemon.get("example.test/m/@v/list")[0] == 200
    away = store.with_name("away")
    store.rename(away)
    store.write_bytes(b"")
    assert daemon.get("example.test/m/@v/v1.0.0.mod")[0] == 500
    store.unlink()
    away.rename(store)


@pytest.fixture(scope="module")
def prometheus(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A server with our own configuration, whose target is the daemon, and which is in more of a hurry."""
    directory = tmp_path_factory.mktemp("prometheus")
    shutil.copy(PROMETHEUS / "alerts.yml", directory)
    text = (PROMETHEUS / "prometheus.yml").read_text()
    text = text.replace("athensd:3000", daemon.url.removeprefix("http://")).replace("15s", "500ms")
    (directory / "prometheus.yml").write_text(text)
    [port] = free_ports(1)
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = Prometheus(f"http://127.0.0.1:{port}")
    with serving(command, f"{server.url}/-/healthy", directory / "log"):
        eventually(server.is_ready)
        # From two readings a rate can be told.
        eventually(lambda: server.ask("query", query="count_over_time(up[1m]) > 3")["result"])
        yield server


@needs_go
@needs_prometheus
def test_prometheus_scrapes_it(prometheus: Prometheus) -> None:
    """Our configuration finds the daemon, and Prometheus takes all that it is given."""
    [target] = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"], target["labels"]["job"]) == ("up", "", "athensd")
    assert prometheus.value("scrape_samples_scraped > 500")


@needs_go
@needs_prometheus
def test_promtool_finds_no_fault(daemon: Daemon) -> None:
    """Metrics, rules and configuration are as promtool wants them."""
    run("check", "metrics", text=daemon.get("metrics")[1].decode())
    run("check", "rules", str(PROMETHEUS / "alerts.yml"))
    run("check", "config", str(PROMETHEUS / "prometheus.yml"))


@needs_go
def test_the_parsers_of_the_library_read_it(daemon: Daemon) -> None:
    """In both formats; whoever accepts OpenMetrics is given that."""
    with daemon.open("metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name for family in parse_text(response.read().decode())}
    with daemon.open("metrics", Accept=OPENMETRICS) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert families == {plain_name(family) for family in parse_openmetrics(response.read().decode())}
    assert "proxy_requests" in families


def plain_name(family: Any) -> str:
    """What the plain format calls it."""
    name: str = family.name
    return f"{name}_info" if family.type == "info" else name


def dashboard_expressions() -> list[tuple[str, str]]:
    """All expressions of the dashboard, with the title of their panel, as Grafana would send them."""
    dashboard = json.loads(DASHBOARD.read_text())
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"))
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def test_panels_can_be_read() -> None:
    """Each has a title, a unit and the data source that is chosen above; no two have the same title."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    titles = [panel["title"] for panel in panels]
    assert all(titles)
    assert len(titles) == len(set(titles))
    for panel in panels:
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


@needs_go
@needs_prometheus
@pytest.mark.parametrize(("title", "expression"), dashboard_expressions())
def test_every_panel_shows_something(prometheus: Prometheus, title: str, expression: str) -> None:
    """To a daemon that has seen everything each expression of the dashboard has an answer."""
    assert eventually(lambda: prometheus.value(expression)), title


@needs_go
@needs_prometheus
def test_every_alert_speaks_of_what_is_there(prometheus: Prometheus) -> None:
    """Prometheus can evaluate each rule, and the metrics and labels in it are those of the daemon."""
    [group] = prometheus.ask("rules")["groups"]
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.ask("rules")["groups"][0]["rules"]))
    for rule in group["rules"]:
        assert {"summary", "description", "action"} <= set(rule["annotations"]), rule["name"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        for name in names_in(rule["query"]):
            known = {label for series in prometheus.ask("series", **{"match[]": name}) for label in series}
            assert known, f"{rule['name']}: there is no {name}"
            assert labels_of(name, rule["query"]) <= known, rule["name"]


def names_in(expression: str) -> set[str]:
    """The metrics of an expression."""
    return set(re.findall(r"\b(?:proxy|process)_\w+|\bup\b", expression))


def labels_of(name: str, expression: str) -> set[str]:
    """The labels by which an expression chooses among a metric's series, and those by which it groups."""
    chosen = re.findall(rf"{name}{{([^}}]*)}}", expression)
    return set(re.findall(r"(\w+)\s*[=!]", " ".join(chosen))) | {
        label for labels in re.findall(r"by ?\(([^)]*)\)", expression) for label in re.findall(r"\w+", labels)
    }


def run(*command: str, text: str | None = None) -> None:
    """promtool, which must be content and say so."""
    done = subprocess.run(["promtool", *command], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


SERVER = 'instance="a"'
DOWNLOADS = f'proxy_http_server_request_duration_count{{{SERVER},http_route="mod",http_response_status_code='
HITS = f'proxy_http_server_request_duration_bucket{{{SERVER},http_route="mod",cache_result="hit",le='
LAG = f"proxy_reactor_lag_seconds_bucket{{{SERVER},le="
FIRES: list[tuple[str, dict[str, str]]] = [
    ("AthensdDown", {'up{job="athensd",instance="a"}': "0x30"}),
    ("AthensdRestarting", {'process_start_time_seconds{job="athensd",instance="a"}': "0+60x30"}),
    ("AthensdFailing", {f'{DOWNLOADS}"200"}}': "0+90x30", f'{DOWNLOADS}"502"}}': "0+10x30"}),
    ("AthensdHitsSlow", {f'{HITS}"0.25"}}': "0+90x30", f'{HITS}"1"}}': "0+100x30", f'{HITS}"+Inf"}}': "0+100x30"}),
    (
        "AthensdOriginFailing",
        {
            f'proxy_origin_failures_total{{{SERVER},origin="o",host="h",failure="TimedOut"}}': "0+3x30",
            f'proxy_origin_duration_seconds_count{{{SERVER},origin="o",question="list"}}': "0+10x30",
        },
    ),
    ("AthensdQueueGrowing", {f'proxy_queue_length{{{SERVER},origin="o"}}': "30x30"}),
    ("AthensdRefusing", {f'proxy_queue_refusals_total{{{SERVER},origin="o"}}': "0+1x30"}),
    (
        "AthensdStale",
        {
            f'proxy_stale_age_seconds_sum{{{SERVER},http_route="list"}}': "0+8000x60",
            f'proxy_stale_age_seconds_count{{{SERVER},http_route="list"}}': "0+1x60",
        },
    ),
    (
        "AthensdStorageFailing",
        {f'proxy_storage_failures_total{{{SERVER},operation="put",failure="StorageFailed"}}': "0+1x30"},
    ),
    ("AthensdVerificationFailed", {f"proxy_verification_failures_total{{{SERVER}}}": "0x10 1x20"}),
    ("AthensdReactorLate", {f'{LAG}"0.1"}}': "0+90x30", f'{LAG}"0.25"}}': "0+100x30", f'{LAG}"+Inf"}}': "0+100x30"}),
    (
        "AthensdFilesRunningOut",
        {
            'process_open_fds{job="athensd",instance="a"}': "900x30",
            'process_max_fds{job="athensd",instance="a"}': "1000x30",
        },
    ),
    ("AthensdSpansDropped", {f"proxy_spans_dropped_total{{{SERVER}}}": "0+5x30"}),
]
WELL = {
    'up{job="athensd",instance="a"}': "1x60",
    'process_start_time_seconds{job="athensd",instance="a"}': "0x60",
    f'{DOWNLOADS}"200"}}': "0+999x60",
    f'{DOWNLOADS}"404"}}': "0+500x60",
    f'{DOWNLOADS}"502"}}': "0+1x60",
    f'{HITS}"0.25"}}': "0+1000x60",
    f'{HITS}"+Inf"}}': "0+1000x60",
    f'proxy_origin_failures_total{{{SERVER},origin="o",host="h",failure="TimedOut"}}': "0+1x60",
    f'proxy_origin_duration_seconds_count{{{SERVER},origin="o",question="list"}}': "0+100x60",
    f'proxy_queue_length{{{SERVER},origin="o"}}': "0 100 0 50 30 0 200 0x53",
    f'proxy_queue_refusals_total{{{SERVER},origin="o"}}': "0x60",
    f'proxy_stale_age_seconds_sum{{{SERVER},http_route="list"}}': "0+90x60",
    f'proxy_stale_age_seconds_count{{{SERVER},http_route="list"}}': "0+1x60",
    f'proxy_storage_failures_total{{{SERVER},operation="put",failure="Conflict"}}': "0+1x60",
    f"proxy_verification_failures_total{{{SERVER}}}": "0x60",
    f'{LAG}"0.1"}}': "0+1000x60",
    f'{LAG}"+Inf"}}': "0+1000x60",
    'process_open_fds{job="athensd",instance="a"}': "50x60",
    'process_max_fds{job="athensd",instance="a"}': "1000x60",
    f"proxy_spans_dropped_total{{{SERVER}}}": "5x60",
}


@needs_prometheus
@pytest.mark.parametrize(("alert", "series"), FIRES, ids=[alert for alert, _ in FIRES])
def test_an_alert_fires(tmp_path: Path, alert: str, series: dict[str, str]) -> None:
    """When what it speaks of has lasted for long enough, an alert fires, and no other with it."""
    fire(tmp_path, series, alert)


@needs_prometheus
def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    """Neither a failure now and then nor modules that are not there are a reason to wake somebody."""
    fire(tmp_path, WELL)


def test_every_alert_is_tried() -> None:
    """There is no rule that no test makes fire."""
    assert {alert for alert, _ in FIRES} == set(re.findall(r"- alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text()))


def fire(directory: Path, series: dict[str, str], *alerts: str) -> None:
    """After half an hour in which the series have these values, one a minute, these alerts fire, and no others."""
    test = {
        "rule_files": [str(PROMETHEUS / "alerts.yml")],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "30m",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
                    }
                ],
            }
        ],
    }
    (directory / "test.yml").write_text(json.dumps(test))  # which is YAML too
    run("test", "rules", str(directory / "test.yml"))


CONNECTIONS = 8
Labels = tuple[tuple[str, str], ...]


@pytest.mark.slow
@needs_go
def test_hostile_requests_make_no_series(tmp_path: Path) -> None:
    """However many odd paths, methods and hosts are sent, the series are those of the tables."""
    add_version(tmp_path / "tree", "example.test/m", "v1.0.0", {"m.go": b"package m\n"})
    upstream = Upstream(tmp_path / "tree")
    with running(tmp_path / "athensd", upstream.url) as daemon:
        daemon.get("example.test/m/@v/v1.0.0.zip")
        before = series_of(daemon)
        attack(daemon, 10_000)
        after = series_of(daemon)
    upstream.stop()
    tables: dict[str, tuple[object, ...]] = {
        "http_request_method": (*METHODS, OTHER),
        "http_response_status_code": STATUSES,
        "http_route": ROUTES,
        "cache_result": CACHE_RESULTS,
        "question": QUESTIONS,
        "failure": ("UpstreamFailed", "Overloaded"),
        "fetch_result": ("success", "failure"),
    }
    for label in {label for labels in after for label, _ in labels} - {"__name__"}:
        assert values(after, label) <= {*map(str, tables.get(label, ())), *values(before, label)}, label
    assert len(after) < 2500


def values(series: set[Labels], label: str) -> set[str]:
    return {value for labels in series for name, value in labels if name == label}


def attack(daemon: Daemon, count: int) -> None:
    """So many requests as an attacker would send them, a few at once."""
    targets = [*hostile_targets(count)]
    with ThreadPoolExecutor(CONNECTIONS) as attackers:
        for sent in [attackers.submit(send, daemon, targets[first::CONNECTIONS]) for first in range(CONNECTIONS)]:
            sent.result()


def send(daemon: Daemon, targets: list[bytes]) -> None:
    """A connection for each target, with a host and a method of its own."""
    address = urllib.parse.urlsplit(daemon.url)
    for number, target in enumerate(targets):
        method = (b"GET", b"GET", b"HEAD", b"METHOD%d" % number)[number % 4]
        with socket.create_connection((address.hostname, address.port), 30) as connection:
            connection.sendall(
                b"%b %b HTTP/1.1\r\nHost: %d.test\r\nConnection: close\r\n\r\n" % (method, target, number)
            )
            with suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass


def series_of(daemon: Daemon) -> set[Labels]:
    """Every series, as its labels; ``__name__`` is its name."""
    return {
        tuple(sorted({"__name__": sample.name, **sample.labels}.items()))
        for family in parse_text(daemon.get("metrics")[1].decode())
        for sample in family.samples
    }
