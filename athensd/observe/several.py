"""Metrics of several processes: each one's own, told apart by a label.

They are not added up.  A sum becomes smaller when one of them starts anew, which Prometheus takes for one more start of
all that was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

LABEL = "worker"


class Labelled(Collector):
    """What ``registry`` collects, with the label ``worker``."""

    def __init__(self, registry: Collector, worker: int) -> None:
        self._registry = registry
        self._worker = str(worker)

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            # In a family of our own: some collectors give the same one each time.
            labelled = Metric(family.name, family.documentation, family.type, family.unit)
            labelled.samples = [
                sample._replace(labels={LABEL: self._worker, **sample.labels}) for sample in family.samples
            ]
            yield labelled


class Joined(Collector):
    """The families of several processes, those of one name as one; ``others`` are as ``packed`` makes them."""

    def __init__(self, ours: Collector, others: Sequence[Any]) -> None:
        self._ours = ours
        self._others = others

    def collect(self) -> Iterator[Metric]:
        families = {family.name: family for family in self._ours.collect()}
        for name, text, kind, samples in (family for other in self._others for family in other):
            family = families.setdefault(name, Metric(name, text, kind))
            family.samples += (Sample(*sample) for sample in samples)
        return iter(families.values())


def packed(families: Iterable[Metric]) -> list[Any]:
    """Families, so that JSON can hold them."""
    return [
        (family.name, family.documentation, family.type, [sample[:3] for sample in family.samples])
        for family in families
    ]
