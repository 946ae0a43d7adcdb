"""``StatsExporter``: metrics as the settings want them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from athensd.observe.delivery import Delivery
from athensd.observe.quiet import importing, in_words
from athensd.observe.reactor_lag import ReactorLag

if TYPE_CHECKING:
    from athensd.observe.metrics import Metrics
    from athensd.observe.push import Destination, Push

Exposition = Callable[[str, Sequence[Any]], tuple[bytes, str]]
"""From an ``Accept`` header, and what other workers have ``packed``, to the metrics as text and their content type."""

EXPORTERS = ("datadog", "otlp", "prometheus", "stackdriver")


class Stats:
    """Metrics and their export.

    ``exposition`` is there when they are to be had at ``/metrics``, ``delivery`` when they are to be sent.  When they
    cannot be had at all there are no ``metrics``.  ``packed`` are ours for the page of another worker.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        lag: ReactorLag | None = None,
        exposition: Exposition | None = None,
        delivery: Delivery | None = None,
        push: Push | None = None,
        packed: Callable[[], Sequence[Any]] = tuple,
    ) -> None:
        self.metrics = metrics
        self.exposition = exposition
        self.delivery = delivery
        self.packed = packed
        self._lag = lag
        self._push = push

    def start(self) -> None:
        """Begin to measure the reactor, which must run by now, and to send."""
        if self._lag is not None:
            self._lag.start()
        if self._push is not None:
            self._push.start()

    async def stop(self) -> None:
        """Send a last time; that takes little more than a second at most."""
        if self._lag is not None:
            self._lag.stop()
        if self._push is not None:
            await self._push.stop()


def make_stats(
    exporter: str,
    url: str,
    reactor: Any,
    *,
    environ: Mapping[str, str],
    project: str,
    open_connections: Callable[[], int],
    dropped_spans: Callable[[], int],
    stored_bytes: Callable[[], int],
    worker: int = 0,
) -> Stats | None:
    """What ``exporter`` names; ``None`` when that is nothing.  That it cannot be is a line that says why.

    The metrics of a ``worker`` have its number as a label.

    The libraries are imported at once: that stops all threads for a while, so it belongs before the reactor runs.
    """
    if exporter in {"", "none"}:
        return None
    try:
        with importing(exporter):
            from athensd.observe.metrics import Metrics
            from athensd.observe.prometheus import exposition
            from athensd.observe.push import Push
            from athensd.observe.several import Joined, Labelled, packed

            destination = _destination(exporter, url, environ, project)
    except Exception as error:  # whatever a library may do when it is imported
        delivery = Delivery("metrics", exporter, url, reactor.callFromThread)
        delivery.failed(in_words(error))
        return Stats(None, delivery=delivery)
    metrics = Metrics(open_connections=open_connections, dropped_spans=dropped_spans, stored_bytes=stored_bytes)
    registry = Labelled(metrics.instruments.registry, worker) if worker else metrics.instruments.registry
    lag = ReactorLag(reactor, metrics.instruments.reactor_lag.observe)
    if destination is None:
        return Stats(
            metrics,
            lag,
            lambda accept, others: exposition(Joined(registry, others) if others else registry, accept),
            packed=lambda: packed(registry.collect()),
        )
    delivery = Delivery("metrics", exporter, destination.address, reactor.callFromThread)
    return Stats(metrics, lag, None, delivery, Push(destination, registry.collect, delivery, reactor))


def _destination(exporter: str, url: str, environ: Mapping[str, str], project: str) -> Destination | None:
    """Where metrics are sent to; ``None`` is for Prometheus, which comes and asks."""
    match exporter:
        case "prometheus":
            return None
        case "datadog":
            from athensd.observe.dogstatsd import dogstatsd

            return dogstatsd(url, environ)
        case "otlp":
            from athensd.observe.otlp_metrics import otlp

            return otlp(url, environ)
        case "stackdriver":
            from athensd.observe.stackdriver_metrics import stackdriver

            return stackdriver(url, project)
    raise ValueError(f"there is no such exporter; there are {', '.join(EXPORTERS)}")
