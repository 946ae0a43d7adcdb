"""Metrics of several workers as one page."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from athensd.observe.prometheus import exposition
from athensd.observe.several import Joined, Labelled, packed


def worker(number: int) -> Labelled:
    """One that has counted as often as its number says; only the second has met a host."""
    registry = CollectorRegistry()
    Counter("requests_total", "Requests.", ["route"], registry=registry).labels("zip").inc(number)
    Gauge("connections", "Connections.", registry=registry).set(10 * number)
    Histogram("took_seconds", "Seconds.", buckets=(1, float("inf")), registry=registry).observe(number)
    if number == 2:
        Counter("failures_total", "Failures.", ["host"], registry=registry).labels("up.test").inc()
    return Labelled(registry, number)


@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", parse_text), ("application/openmetrics-text", parse_open)]
)
def test_joined(accept: str, parse: object) -> None:
    """Each family is there once, with the numbers of each worker; Prometheus' own parsers read it."""
    other = json.loads(json.dumps(packed(worker(2).collect())))
    text, _ = exposition(Joined(worker(1), [other]), accept)
    families = list(parse(text.decode()))  # type: ignore[operator]
    families = [family for family in families if not family.name.endswith("_created")]
    assert sorted(family.name for family in families) == ["connections", "failures", "requests", "took_seconds"]
    values = {
        (sample.name, sample.labels["worker"], sample.labels.get("le", "")): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert values == {
        ("requests_total", "1", ""): 1,
        ("requests_total", "2", ""): 2,
        ("connections", "1", ""): 10,
        ("connections", "2", ""): 20,
        ("failures_total", "2", ""): 1,
        **{("took_seconds_bucket", "1", le): 1 for le in ("1.0", "+Inf")},
        ("took_seconds_bucket", "2", "1.0"): 0,
        ("took_seconds_bucket", "2", "+Inf"): 1,
        **{("took_seconds_count", number, ""): 1 for number in "12"},
        ("took_seconds_sum", "1", ""): 1,
        ("took_seconds_sum", "2", ""): 2,
    }


def test_asked_again() -> None:
    """A page is not longer for those that came before it, also where a collector gives the same family each time."""
    registry = CollectorRegistry()
    PlatformCollector(registry=registry)
    ours, theirs = Labelled(registry, 1), Labelled(registry, 2)
    for _ in range(3):
        [family] = Joined(ours, [packed(theirs.collect())]).collect()
        assert [sample.labels["worker"] for sample in family.samples] == ["1", "2"]


def test_collected_again() -> None:
    """Labels are put on what is collected, and not on what is kept."""
    one = worker(1)
    assert [sample.labels for family in one.collect() for sample in family.samples] == [
        sample.labels for family in one.collect() for sample in family.samples
    ]
