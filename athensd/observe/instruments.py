"""Every metric of ours: its name, its labels, its buckets.  ``docs/metrics.md`` says the same in a table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from athensd import __version__

REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
STORAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
WAIT_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
WORK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ATHENS_FETCH_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
AGE_SECONDS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 72 * 3600)
BODY_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


class Instruments:
    """All of them, in one ``registry`` with what the library itself knows of the process."""

    def __init__(self) -> None:
        # They double the number of series, and say only when a series began.
        disable_created_metrics()
        self.registry = CollectorRegistry()

        self.request_seconds = self._tallies(
            "proxy_http_server_request_duration",
            "Seconds from a request's arrival to the end of its answer.",
            REQUEST_SECONDS,
            "http_request_method http_response_status_code http_route cache_result",
        )
        self.response_bytes = self._tallies(
            "proxy_http_server_response_body_size",
            "Bytes of the answers' bodies, as sent.",
            BODY_BYTES,
            "http_request_method http_response_status_code http_route",
        )
        self.requests_in_progress = self._gauge("proxy_requests_in_progress", "Requests that are being answered.")
        self.open_connections = self._gauge("proxy_open_connections", "Connections of clients.")
        self.stale_age = self._histogram(
            "proxy_stale_age_seconds", "Age of the answers that were served stale.", AGE_SECONDS, "http_route"
        )

        self.fetches = self._counter(
            "proxy_upstream_fetch_total", "Questions for a file to an origin, and whether it came.", "fetch_result"
        )
        self.fetch_seconds = self._histogram(
            "proxy_upstream_fetch_duration_seconds",
            "Seconds that an origin took for a file.",
            ATHENS_FETCH_SECONDS,
            "fetch_result",
        )
        self.fetches_in_progress = self._gauge(
            "proxy_fetches_in_progress", "Files that are being fetched, checked and stored."
        )
        self.origin_seconds = self._histogram(
            "proxy_origin_duration_seconds",
            "Seconds that an origin took for any question (list, resolve, fetch).",
            WORK_SECONDS,
            "origin question",
        )
        self.origin_failures = self._counter(
            "proxy_origin_failures_total",
            "Questions that an origin could not answer, by the host that it was about and the kind of failure.",
            "origin host failure",
        )
        self.client_seconds = self._histogram(
            "proxy_http_client_request_duration",
            "Seconds of one HTTP exchange with an upstream; a status of 0 is one without an answer.",
            WORK_SECONDS,
            "server_address http_response_status_code",
        )
        self.queue_length = self._gauge("proxy_queue_length", "Questions that wait for a free slot.", "origin")
        self.queue_seconds = self._histogram(
            "proxy_queue_wait_seconds", "Seconds that a question waited for a free slot.", WAIT_SECONDS, "origin"
        )
        self.queue_refusals = self._counter(
            "proxy_queue_refusals_total", "Questions that were refused because too many wait already.", "origin"
        )
        self.flight_seconds = self._histogram(
            "proxy_flight_wait_seconds", "Seconds that one asker waited for the work of another.", WAIT_SECONDS
        )
        self.verification_seconds = self._histogram(
            "proxy_verification_duration_seconds", "Seconds that checking a zip took.", WORK_SECONDS
        )
        self.verification_failures = self._counter(
            "proxy_verification_failures_total", "Fetched files that were not what they should be."
        )

        self.go_seconds = self._histogram(
            "proxy_go_command_duration_seconds",
            "Seconds that a go command ran, and how it ended (ok, failed).",
            WORK_SECONDS,
            "command result",
        )
        self.go_cpu_seconds = self._counter(
            "proxy_go_cpu_seconds_total", "CPU seconds of go commands and their children.", "command"
        )
        self.go_peak_memory = self._gauge(
            "proxy_go_peak_memory_bytes", "Peak resident memory of the largest child process so far."
        )
        self.go_in_progress = self._gauge("proxy_go_commands_in_progress", "Go commands that are running.")

        self.storage_seconds = self._histogram(
            "proxy_storage_duration_seconds", "Seconds that a storage operation took.", STORAGE_SECONDS, "operation"
        )
        self.storage_failures = self._counter(
            "proxy_storage_failures_total", "Storage operations that failed, by kind of failure.", "operation failure"
        )

        self.audit_seconds = self._histogram(
            "proxy_audit_duration_seconds", "Seconds that recording the answers of a second took.", WORK_SECONDS
        )
        self.audit_lost = self._counter("proxy_audit_lost_total", "Answers that could not be recorded.")
        self.stored_bytes = self._gauge(
            "proxy_storage_bytes", "Bytes of the store's files, where they are bounded (StorageMaxBytes); else 0."
        )
        self.evicted_bytes = self._counter("proxy_storage_evicted_bytes_total", "Bytes of the zips that were evicted.")
        self.not_stored = self._counter(
            "proxy_fetches_not_stored_total", "Fetched files that were given away and not stored: the store was full."
        )

        self.reactor_lag = self._histogram(
            "proxy_reactor_lag_seconds", "Seconds by which a timer of the reactor was late.", LAG_SECONDS
        )
        Info("proxy_build", "The version of athensd.", registry=self.registry).info({"version": __version__})
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def count_elsewhere(
        self, name: str, text: str, labels: str, counted: Callable[[], Mapping[tuple[str, ...], int]]
    ) -> None:
        """A counter whose numbers are kept elsewhere, by the values of its labels, and asked for when collected."""
        self.registry.register(_CountedElsewhere(name, text, labels.split(), counted))

    def _counter(self, name: str, text: str, labels: str = "") -> Counter:
        return Counter(name, text, labels.split(), registry=self.registry)

    def _gauge(self, name: str, text: str, labels: str = "") -> Gauge:
        return Gauge(name, text, labels.split(), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], labels: str = "") -> Histogram:
        return Histogram(name, text, labels.split(), buckets=buckets, registry=self.registry)

    def _tallies(self, name: str, text: str, buckets: Sequence[float], labels: str) -> Tallies:
        tallies = Tallies(name, text, buckets, labels.split())
        self.registry.register(tallies)
        return tallies


class Tally:
    """One series of a histogram.  Told by one thread, it does without the locks that cost a hit two microseconds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """It was this much."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Tallies:
    """A histogram of what each request tells."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._labels = labels
        self._series: dict[tuple[str, ...], Tally] = {}

    def labels(self, *values: str) -> Tally:
        """The series with these values of the labels."""
        return self._series.setdefault(values, Tally(self._bounds))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, tally in list(self._series.items()):
            family.add_metric(values, list(zip(names, accumulate(tally.counts), strict=True)), tally.total)
        yield family


class _CountedElsewhere:
    def __init__(
        self, name: str, text: str, labels: Sequence[str], counted: Callable[[], Mapping[tuple[str, ...], int]]
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self._counted().items():
            family.add_metric(values, count)
        yield family
