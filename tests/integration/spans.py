"""Spans, as the servers show them to which they were sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen


@frozen
class Span:
    """``parent`` is the id of a span, "" at the root; ``links`` are (trace id, span id)."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    start: int  # microseconds since 1970
    duration: int  # microseconds
    tags: Mapping[str, Any]
    links: frozenset[tuple[str, str]] = frozenset()


def root(trace: Iterable[Span]) -> Span | None:
    """The span above all others, once that has arrived."""
    return next((span for span in trace if not span.parent), None)


def outline(trace: Iterable[Span]) -> str:
    """The names of all spans, one a line in the order in which they began, each further in than its parent."""
    spans = list(trace)
    known = {span.id for span in spans}

    def lines(parent: str, indent: str) -> Iterator[str]:
        for span in spans:
            if span.parent == parent or (not parent and span.parent not in known):
                yield f"{indent}{span.name}\n"
                yield from lines(span.id, indent + "  ")

    return "".join(lines("", ""))
