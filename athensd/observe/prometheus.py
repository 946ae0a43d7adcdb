"""The page that a Prometheus server reads."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector


def exposition(registry: Collector, accept: str) -> tuple[bytes, str]:
    """All metrics as text, and its content type: OpenMetrics for whoever accepts that, else Prometheus' own format.

    With thousands of series it takes tens of milliseconds, so it is work for a thread.
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
