"""The ``@v/list`` document, and which of its versions ``latest``, ``v1`` or ``v1.2`` stand for.

The rules are those of the Go module reference ("$base/$module/@v/list", "$base/$module/@latest", "Version queries") and
of the go command's own reading of them (``modfetch/proxy.go``, ``modload/query.go``).

``latest_of`` gives ``+incompatible`` versions no treatment of their own: the go command passes over them only when the
highest compatible version has a ``go.mod``, which no list tells, and it asks ``@latest`` only of a module whose list is
no use to it.  A module that never had a ``go.mod`` keeps its true latest version that way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import frozen

from athensd.gomod.info import parse_time
from athensd.gomod.version import compare, is_prerelease, is_pseudo, is_valid, pseudo_time, sort_key

_NO_TIME = datetime.min.replace(tzinfo=UTC)


@frozen
class Listed:
    """One line of a list: a version, and its time where the line tells it."""

    version: str
    time: datetime | None = None


def parse_list(text: str) -> tuple[Listed, ...]:
    """What a list holds, in its order, pseudo-versions too.

    The first field of a line is the version, an RFC 3339 time in the second is its time; all else, and every line that
    does not begin with a valid version, counts for nothing.
    """
    lines = (line.split() for line in text.split("\n"))
    return tuple(_listed(fields) for fields in lines if fields and is_valid(fields[0]))


def render_list(versions: Iterable[str]) -> str:
    """The list of these versions: sorted, each once, without pseudo-versions; empty text when none is left."""
    return "".join(f"{version}\n" for version in sorted(set(versions), key=sort_key) if not is_pseudo(version))


def latest_of(listed: Iterable[Listed]) -> str | None:
    """The version to answer ``@latest`` with, or ``None``.

    The highest release, else the highest pre-release, else the pseudo-version with the newest time: the listed one,
    or where there is none the one in its name.
    """
    everything = list(listed)
    tagged = _highest(line.version for line in everything if not is_pseudo(line.version))
    return tagged or _newest(line for line in everything if is_pseudo(line.version))


def is_prefix_query(query: str) -> bool:
    """Whether the query is ``v1`` or ``v1.2``: a valid version that is cut off after a whole component."""
    return is_valid(query) and query.count(".") < 2


def match_prefix(query: str, versions: Iterable[str]) -> str | None:
    """The highest release, else the highest pre-release, that a prefix query stands for; ``None`` when there is none.

    ``v1.2`` stands for no version below ``v1.2.0``, so not for its pre-releases, and never for a pseudo-version.
    """
    if not is_prefix_query(query):
        return None
    return _highest(
        version
        for version in versions
        if version.startswith(f"{query}.") and not is_pseudo(version) and compare(version, query) >= 0
    )


def _listed(fields: list[str]) -> Listed:
    if len(fields) == 1:
        return Listed(fields[0])
    try:
        return Listed(fields[0], parse_time(fields[1]))
    except ValueError:
        return Listed(fields[0])


def _highest(versions: Iterable[str]) -> str | None:
    """The highest of these tagged versions, any release before any pre-release."""
    return max(versions, key=lambda version: (not is_prerelease(version), sort_key(version)), default=None)


def _newest(listed: Iterable[Listed]) -> str | None:
    """The pseudo-version with the newest time; the first of them where several have it."""
    newest = max(listed, key=_time, default=None)
    return newest.version if newest and _time(newest) > _NO_TIME else None


def _time(line: Listed) -> datetime:
    if line.time:
        return line.time
    try:
        return pseudo_time(line.version)
    except ValueError:
        return _NO_TIME
