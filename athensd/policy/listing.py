"""What a filter leaves of a list, and which of that is the latest."""

from __future__ import annotations

from collections.abc import Iterable

from athensd.gomod.listing import Listed, latest_of
from athensd.policy.filter import Action, Filter


def allowed_versions(rules: Filter, path: str, versions: Iterable[str]) -> list[str]:
    """The versions of a module that are not excluded, in their order."""
    return [version for version in versions if _allows(rules, path, version)]


def latest_allowed(rules: Filter, path: str, listed: Iterable[Listed]) -> str | None:
    """The version to answer ``@latest`` with when some are excluded: ``latest_of`` the others, ``None`` without any."""
    return latest_of(line for line in listed if _allows(rules, path, line.version))


def _allows(rules: Filter, path: str, version: str) -> bool:
    return rules.verdict(path, version).action is not Action.EXCLUDE
