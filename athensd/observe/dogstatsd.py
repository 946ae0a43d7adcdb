"""Metrics for a Datadog agent, under the names that its own check of Prometheus pages gives them.

A counter ``x_total`` is ``athensd.x.count``; a histogram ``x`` is ``athensd.x.count``, ``athensd.x.sum`` and
``athensd.x.bucket`` with a tag ``upper_bound``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from datadog.dogstatsd.base import DogStatsd
from prometheus_client import Metric

from athensd.observe.push import Destination, Send, Undelivered
from athensd.observe.quiet import overhearing

INTERVAL = 10.0
PORT = 8125

_SUFFIXES = {"_total": ".count", "_count": ".count", "_sum": ".sum", "_bucket": ".bucket"}
_SEND_TIMEOUT = 0.5
_ECHO = 0.05  # so long it may take until we hear that nobody listens there


@frozen
class Reading:
    """One number; what is ``counted`` only grows."""

    name: str
    tags: tuple[str, ...]
    value: float
    counted: bool


def dogstatsd(url: str, environ: Mapping[str, str]) -> Destination:
    """The agent at ``url`` (``udp://host:port`` or ``unix:///path``); when it is empty, where the environment says.

    Raises ``ValueError`` when that can be no agent.
    """
    host, port = environ.get("DD_AGENT_HOST") or "localhost", environ.get("DD_DOGSTATSD_PORT") or PORT
    host = f"[{host}]" if ":" in host else host
    address = url or environ.get("DD_DOGSTATSD_URL") or f"udp://{host}:{port}"
    where = _where(address)
    return Destination(address, INTERVAL, lambda: _sender(_client(where)))


def readings(families: Iterable[Metric]) -> Iterator[Reading]:
    """All numbers, under Datadog's names."""
    for family in families:
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            name = f"{family.name}{_SUFFIXES.get(suffix, suffix)}"
            tags = tuple(_tag(label, value) for label, value in sample.labels.items())
            yield Reading(name, tags, sample.value, suffix in _SUFFIXES)


def _tag(label: str, value: str) -> str:
    return f"upper_bound:{value.lower().removeprefix('+')}" if label == "le" else f"{label}:{value}"


def _where(address: str) -> dict[str, Any]:
    wrong = ValueError("the address of a Datadog agent is like udp://localhost:8125 or unix:///path")
    try:
        parts = urlsplit(address)
        port = parts.port or PORT
    except ValueError:
        raise wrong from None
    if parts.scheme == "udp" and parts.hostname:
        return {"host": parts.hostname, "port": port}
    if parts.scheme == "unix" and parts.path:
        return {"socket_path": parts.path}
    raise wrong


def _client(where: Mapping[str, Any]) -> DogStatsd:
    return DogStatsd(**where, namespace="athensd", socket_timeout=_SEND_TIMEOUT, disable_telemetry=True)


def _sender(client: DogStatsd) -> Send:
    sent: dict[tuple[str, tuple[str, ...]], float] = {}

    def send(families: Iterable[Metric]) -> None:
        """What was counted since it arrived last, and all else as it is."""
        counts = {}
        with overhearing() as heard, client:
            for reading in readings(families):
                if heard.reason:
                    break
                if not reading.counted:
                    client.gauge(reading.name, reading.value, [*reading.tags])
                    continue
                key = (reading.name, reading.tags)
                counts[key] = reading.value
                if more := reading.value - sent.get(key, 0):
                    client.count(reading.name, more, [*reading.tags])
        if heard.reason:
            raise Undelivered(heard.reason)
        time.sleep(_ECHO)
        if error := client.get_socket().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        sent.update(counts)

    return send
