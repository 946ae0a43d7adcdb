"""Which versions a ``go.mod`` takes back (the Go module reference, "retract directive")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from attrs import frozen

from athensd.gomod.version import compare, is_valid

MOST = 200
"""So many retractions of a module are read, from so much of its go.mod, and so much of each reason."""
LARGEST = 1_000_000
LONGEST = 300
_RANGE = re.compile(r"\[\s*([^\s,\]]+)\s*,\s*([^\s,\]]+)\s*\]|([^\s,\]]+)")


@frozen
class Retraction:
    """The versions from ``low`` to ``high``, and why, in the words of their author."""

    low: str
    high: str
    why: str

    def holds(self, version: str) -> bool:
        """Whether this version is one of them."""
        return compare(self.low, version) <= 0 <= compare(self.high, version)


def retractions(go_mod: str) -> list[Retraction]:
    """The first of them, as many as an honest module has; lines that make no sense count for nothing."""
    every = (_parse(text, why[:LONGEST]) for text, why in _directives(go_mod[:LARGEST]))
    return list(islice(filter(None, every), MOST))


def _parse(text: str, why: str) -> Retraction | None:
    parts = _RANGE.fullmatch(text)
    if not parts:
        return None
    low, high = (part.strip('"`') for part in (parts[1] or parts[3], parts[2] or parts[3]))
    return Retraction(low, high, why) if is_valid(low) and is_valid(high) else None


def _directives(go_mod: str) -> Iterator[tuple[str, str]]:
    """What follows ``retract``, alone or in a block, with the comment above it or behind it."""
    inside, above = False, ""
    for line in go_mod.splitlines():
        code, _, comment = (part.strip() for part in line.partition("//"))
        verb, _, rest = code.partition(" ")
        if not code:
            above = f"{above} {comment}".strip() if comment else ""
            continue
        if inside and code == ")":
            inside = False
        elif inside:
            yield code, comment or above
        elif verb == "retract" and rest.strip() == "(":
            inside = True
            continue  # a comment above a block is for all that has none of its own
        elif verb == "retract":
            yield rest.strip(), comment or above
        above = above if inside else ""
