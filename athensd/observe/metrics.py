"""Numbers, of steps: how many, how long, how large.

The registry of prometheus_client is the one model: each exporter translates what that collects.  Whatever clients
send, the values of labels are those of the tables here; names of hosts, for which there is no table, are bounded in
number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from attrs import define
from twisted.internet.defer import CancelledError

from athensd.errors import (
    AthensError,
    InvalidRequest,
    NoRoom,
    NotFound,
    Overloaded,
    StorageFailed,
    Unsupported,
    VerificationFailed,
)
from athensd.observe.instruments import Instruments
from athensd.steps import Step

OTHER = "other"
METHODS = ("GET", "HEAD")
ROUTES = (
    *("list", "latest", "info", "mod", "zip", "sumdb"),
    *("home", "now", "module", "style", "healthz", "readyz", "version", "robots", "catalog", "index", "metrics"),
    "none",
)
STATUSES = (200, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 410, 416, 429, 499, 500, 501, 502, 503, 504)
CACHE_RESULTS = ("hit", "miss", "stale", "negative", "none")
STORAGE_OPERATIONS = ("open", "put", "versions", "delete", "check", "page", "remote", "evict")
QUESTIONS = ("list", "resolve", "fetch")
GO_COMMANDS = ("go mod download", "go list")
DIRECT = "direct"
MOST_HOSTS = 50
"""So many hosts one metric tells apart; those that come later are ``other``."""

# What Athens calls the kinds, and what counts for it as found.
_CACHE_TYPES = {"info": "info", "mod": "gomod", "zip": "zip"}
_LOOKUPS = {"hit": "hit", "stale": "hit", "miss": "miss", "negative": "miss"}

# To find that something is not there, or makes no sense, is an answer; a store may be full; who leaves has not failed.
_NO_FAILURES = (NotFound, NoRoom, InvalidRequest, Unsupported, CancelledError, GeneratorExit)


@define(eq=False)
class _Alike:
    """The requests that were answered alike: their instruments are looked up once, and here they are counted."""

    route: str
    cache: str
    took: Callable[[float], None]
    sent: Callable[[float], None]
    count: int = 0


class Metrics:
    """The ``Watcher`` that counts and measures what the steps say.

    Steps must be opened and closed by one thread; any other may collect ``instruments.registry``.
    ``open_connections``, ``dropped_spans`` and ``stored_bytes`` are asked whenever somebody does.
    """

    def __init__(
        self,
        *,
        open_connections: Callable[[], int],
        dropped_spans: Callable[[], int],
        stored_bytes: Callable[[], int],
    ) -> None:
        self.instruments = Instruments()
        self._under_way: dict[str, int] = defaultdict(int)
        self._alike: dict[tuple[object, ...], _Alike] = {}
        self._origins = Few(MOST_HOSTS)
        self._hosts = Few(MOST_HOSTS)
        self._servers = Few(MOST_HOSTS)
        self._largest_child = 0.0
        self._ask_when_collected(open_connections, dropped_spans)
        self.instruments.stored_bytes.set_function(stored_bytes)
        self._begin_at_zero()
        self._storage_took = {
            f"storage.{each}": self.instruments.storage_seconds.labels(each).observe for each in STORAGE_OPERATIONS
        }
        self._count: dict[str, Callable[[Step], None]] = {
            "request": self._request,
            "fetch": self._fetch,
            "flight": self._flight,
            "queue": self._queue,
            "http": self._http,
            "go": self._go,
            "verify": self._verify,
            "audit": self._audit,
            **{f"origin.{question}": self._origin for question in QUESTIONS},
            **dict.fromkeys(self._storage_took, self._storage),
        }

    def opened(self, step: Step) -> None:
        self._under_way[step.name] += 1
        if step.name == "queue":
            self.instruments.queue_length.labels(self._origin_of(step)).inc()

    def closed(self, step: Step) -> None:
        self._under_way[step.name] -= 1
        self.happened(step)

    def happened(self, step: Step) -> None:
        count = self._count.get(step.name)
        if count is not None:
            count(step)

    def requests(self) -> dict[tuple[str, ...], int]:
        """How many requests there were, by route and by what the cache had."""
        counts: dict[tuple[str, ...], int] = defaultdict(int)
        for alike in list(self._alike.values()):
            counts[alike.route, alike.cache] += alike.count
        return counts

    def lookups(self) -> dict[tuple[str, ...], int]:
        """How often what was asked for was there, and how often not, by kind: as Athens counts it."""
        counts: dict[tuple[str, ...], int] = {
            (result, kind): 0 for result in ("hit", "miss") for kind in _CACHE_TYPES.values()
        }
        for (route, cache), count in self.requests().items():
            if route in _CACHE_TYPES and cache in _LOOKUPS:
                counts[_LOOKUPS[cache], _CACHE_TYPES[route]] += count
        return counts

    def _ask_when_collected(self, open_connections: Callable[[], int], dropped_spans: Callable[[], int]) -> None:
        instruments = self.instruments
        instruments.count_elsewhere(
            "proxy_requests_total",
            "Requests, by what was asked for and what the cache had.",
            "http_route cache_result",
            self.requests,
        )
        instruments.count_elsewhere(
            "proxy_cache_lookup_total", "Lookups of files in the store.", "cache_result cache_type", self.lookups
        )
        instruments.count_elsewhere(
            "proxy_spans_dropped_total",
            "Spans that were recorded and did not reach the trace exporter.",
            "",
            lambda: {(): dropped_spans()},
        )
        instruments.open_connections.set_function(open_connections)
        instruments.requests_in_progress.set_function(lambda: self._under_way["request"])
        instruments.fetches_in_progress.set_function(lambda: self._under_way["fetch"])
        instruments.go_in_progress.set_function(lambda: self._under_way["go"])

    def _begin_at_zero(self) -> None:
        # Prometheus sees no increase in a series that begins at 1.
        for operation in STORAGE_OPERATIONS:
            self.instruments.storage_failures.labels(operation, StorageFailed.__name__)
        for result in ("success", "failure"):
            self.instruments.fetches.labels(result)

    def _request(self, step: Step) -> None:
        facts = step.facts
        answer = (facts.get("method"), facts.get("route"), facts.get("status"), facts.get("cache"))
        alike = self._alike.get(answer)
        if alike is None:
            alike = self._alike[answer] = self._new_alike(*answer)
        alike.count += 1
        alike.took(step.seconds)
        alike.sent(_number(step, "bytes"))
        if alike.cache == "stale":
            self.instruments.stale_age.labels(alike.route).observe(_number(step, "age"))

    def _new_alike(self, method: object, route: object, status: object, cache: object) -> _Alike:
        labels = (_known(method, METHODS), _known(status, STATUSES), _known(route, ROUTES))
        result = _known(cache or "none", CACHE_RESULTS)
        took = self.instruments.request_seconds.labels(*labels, result).observe
        sent = self.instruments.response_bytes.labels(*labels).observe
        return _Alike(labels[-1], result, took, sent)

    def _storage(self, step: Step) -> None:
        self._storage_took[step.name](step.seconds)
        if failure := failure_of(step.error):
            self.instruments.storage_failures.labels(step.name.removeprefix("storage."), failure).inc()
        elif step.name == "storage.evict":
            self.instruments.evicted_bytes.inc(_number(step, "bytes"))

    def _fetch(self, step: Step) -> None:
        if isinstance(step.error, VerificationFailed):
            self.instruments.verification_failures.inc()
        if step.facts.get("stored") is False:
            self.instruments.not_stored.inc()

    def _verify(self, step: Step) -> None:
        self.instruments.verification_seconds.observe(step.seconds)

    def _audit(self, step: Step) -> None:
        if step.error is None:
            self.instruments.audit_seconds.observe(step.seconds)
            self.instruments.audit_lost.inc(_number(step, "lost"))

    def _flight(self, step: Step) -> None:
        if step.facts.get("joined"):
            self.instruments.flight_seconds.observe(step.seconds)

    def _queue(self, step: Step) -> None:
        origin = self._origin_of(step)
        self.instruments.queue_length.labels(origin).dec()
        if isinstance(step.error, Overloaded):
            self.instruments.queue_refusals.labels(origin).inc()
        else:
            self.instruments.queue_seconds.labels(origin).observe(step.seconds)

    def _origin(self, step: Step) -> None:
        if isinstance(step.error, CancelledError):
            return
        origin, question = self._origin_of(step), step.name.removeprefix("origin.")
        self.instruments.origin_seconds.labels(origin, question).observe(step.seconds)
        if question == "fetch":
            # For Athens a file that is not there is a failure too.
            result = "success" if step.error is None else "failure"
            self.instruments.fetches.labels(result).inc()
            self.instruments.fetch_seconds.labels(result).observe(step.seconds)
        if failure := failure_of(step.error):
            module_host = str(step.facts.get("module", "")).partition("/")[0]
            host = self._hosts(module_host) if origin == DIRECT else origin
            self.instruments.origin_failures.labels(origin, host, failure).inc()

    def _http(self, step: Step) -> None:
        if isinstance(step.error, CancelledError):
            return
        server = self._servers(str(step.facts.get("host", "")))
        status = _known(step.facts.get("status") or "none", (*STATUSES, "none"))
        self.instruments.client_seconds.labels(server, status).observe(step.seconds)

    def _go(self, step: Step) -> None:
        command = _known(step.facts.get("command"), GO_COMMANDS)
        result = "ok" if step.error is None and step.facts.get("exit") == 0 else "failed"
        self.instruments.go_seconds.labels(command, result).observe(step.seconds)
        self.instruments.go_cpu_seconds.labels(command).inc(_number(step, "cpu_seconds"))
        self._largest_child = max(self._largest_child, _number(step, "peak_memory"))
        self.instruments.go_peak_memory.set(self._largest_child)

    def _origin_of(self, step: Step) -> str:
        return self._origins(str(step.facts.get("origin", "")))


class Few:
    """The names that it is called with, as long as there are at most ``most``; each later one is ``other``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= self._most:
                return OTHER
            self._names.add(name)
        return name


def failure_of(error: BaseException | None) -> str:
    """The word for a failure; empty when it is none."""
    if error is None or isinstance(error, _NO_FAILURES):
        return ""
    return type(error).__name__ if isinstance(error, AthensError) else "unexpected"


def _known(value: object, table: tuple[object, ...]) -> str:
    return str(value) if value in table else OTHER


def _number(step: Step, fact: str) -> float:
    value = step.facts.get(fact)
    return value if isinstance(value, (int, float)) else 0
