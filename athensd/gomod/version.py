"""Versions: Go's dialect of semantic versioning, pseudo-versions, and which version belongs to which path.

The rules are those of ``golang.org/x/mod/semver`` and ``golang.org/x/mod/module``: a leading ``v`` is required, ``v1``
and ``v1.2`` stand for ``v1.0.0`` and ``v1.2.0``, and build metadata says nothing about order.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path, quoted, split_path_version

_INCOMPATIBLE = "+incompatible"
_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = r"[0-9A-Za-z-]+"
_PRE_WORD = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"v(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER})(?:\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_PRE_WORD}(?:\.{_PRE_WORD})*))?(?P<build>\+{_WORD}(?:\.{_WORD})*)?)?)?"
)
_PSEUDO = re.compile(
    r"v[0-9]+\.(?:0\.0-|[0-9]+\.[0-9]+-(?:[^+]*\.)?0\.)(?P<time>[0-9]{14})-[A-Za-z0-9]+"
    rf"(?:\+{_WORD}(?:\.{_WORD})*)?"
)
_STAMP_FIELDS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))


@frozen
class ModuleVersion:
    """A module path and a version of it, both as people write them (unescaped) and both checked."""

    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.path}@{self.version}"


def is_valid(version: str) -> bool:
    """Whether this is a semantic version as Go writes them (``semver.IsValid``)."""
    return _SEMVER.fullmatch(version) is not None


def canonical(version: str) -> str:
    """The version in full, without build metadata other than ``+incompatible``; empty when it is not valid.

    This is ``module.CanonicalVersion``.
    """
    parts = _SEMVER.fullmatch(version)
    if not parts:
        return ""
    build = parts["build"] or ""
    missing = ".0.0" if parts["minor"] is None else ".0" if parts["patch"] is None else ""
    return version.removesuffix(build) + missing + (_INCOMPATIBLE if build == _INCOMPATIBLE else "")


def is_canonical_for(path: str, version: str) -> bool:
    """Whether this version of this path has files of its own that never change: canonical, and ``module.Check``."""
    if version != canonical(version):
        return False
    try:
        check_path(path)
        check_version_for(path, version)
    except InvalidPath:
        return False
    return True


def check_version_for(path: str, version: str) -> None:
    """Raise ``InvalidPath`` in Go's words unless the version is valid and its major version is that of the path."""
    if not is_valid(version):
        raise InvalidPath(f"version {quoted(version)} of {path} is not a semantic version")
    split = split_path_version(path)
    wanted = split[1][1:].removesuffix("-unstable") if split else ""
    major = version.partition(".")[0]
    if wanted == major or (wanted == "v1" and path.startswith("gopkg.in/") and version.startswith("v0.0.0-")):
        return
    if not wanted and (major in {"v0", "v1"} or version.endswith(_INCOMPATIBLE)):
        return
    raise InvalidPath(f"version {version} of {path} should be {wanted or 'v0 or v1'}, not {major}")


def is_prerelease(version: str) -> bool:
    """Whether this is a valid version with a pre-release part; pseudo-versions are."""
    parts = _SEMVER.fullmatch(version)
    return bool(parts and parts["prerelease"])


def is_pseudo(version: str) -> bool:
    """Whether the version names a commit by its time and hash (``module.IsPseudoVersion``)."""
    return _pseudo_stamp(version) is not None


def pseudo_time(version: str) -> datetime:
    """The commit time (UTC) in a pseudo-version.  Raises ``ValueError`` when it is none or its time is no date."""
    stamp = _pseudo_stamp(version)
    if stamp is None:
        raise ValueError(f"{quoted(version)} is not a pseudo-version")
    year, month, day, hour, minute, second = (int(stamp[at:end]) for at, end in _STAMP_FIELDS)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def compare(a: str, b: str) -> int:
    """-1, 0 or 1: how two versions stand in precedence (``semver.Compare``); an invalid one is below every other."""
    left, right = _precedence(a), _precedence(b)
    return (left > right) - (left < right)


def sort_key(version: str) -> tuple[Any, ...]:
    """A key that sorts like ``semver.Sort``: by precedence, and by text where that is equal."""
    return _precedence(version), version


def _pseudo_stamp(version: str) -> str | None:
    pseudo = _PSEUDO.fullmatch(version) if version.count("-") >= 2 and is_valid(version) else None
    return pseudo["time"] if pseudo else None


def _precedence(version: str) -> tuple[Any, ...]:
    parts = _SEMVER.fullmatch(version)
    if not parts:
        return ()
    numbers = (_number_key(parts[name] or "0") for name in ("major", "minor", "patch"))
    return *numbers, _prerelease_key(parts["prerelease"])


def _number_key(digits: str) -> tuple[int, str]:
    """Numbers in order without making integers of them: their length is a stranger's choice."""
    return len(digits), digits


def _prerelease_key(prerelease: str | None) -> tuple[Any, ...]:
    if prerelease is None:
        return (1,)
    return 0, *((0, *_number_key(word)) if word.isdigit() else (1, word) for word in prerelease.split("."))
