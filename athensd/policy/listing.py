"""What rules leave of a list, and which of that is the latest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from athensd.gomod.listing import Listed, latest_of

Allows = Callable[[str], bool]
"""Whether a version may be had."""


def allowed_versions(allows: Allows, versions: Iterable[str]) -> list[str]:
    """The versions that may be had, in their order."""
    return [version for version in versions if allows(version)]


def latest_allowed(allows: Allows, listed: Iterable[Listed]) -> str | None:
    """What to answer ``@latest`` with when some may not be had: ``latest_of`` the others, ``None`` without any."""
    return latest_of(line for line in listed if allows(line.version))
