"""Go's own names for the files of a version.

``<escaped path>/@v/<escaped version>.{info,mod,zip,ziphash}``: the download protocol's, and those of the module
cache's ``cache/download`` folder (``go help goproxy``, ``go help modcache``).  An empty file ``.evicted`` is ours: it
stands for a zip that was there once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from athensd.errors import InvalidPath, InvalidRequest
from athensd.gomod.escape import escape_path, escape_version, unescape_version
from athensd.gomod.path import quoted
from athensd.gomod.version import ModuleVersion, canonical, is_canonical_for
from athensd.interfaces import WHOLE, Kind

EVICTED = "evicted"
"""The suffix of the mark of an evicted zip.  It stays when the zip is put again."""
_COMPLETES = {**{kind.value: kind for kind in WHOLE}, EVICTED: Kind.ZIP}


def folder(path: str) -> str:
    """Where the files of a module path are."""
    return f"{escape_path(path)}/@v"


@lru_cache(8192)
def file_name(version: ModuleVersion, kind: Kind) -> str:
    """The name of one file, from the root of the store."""
    return f"{folder(version.path)}/{escape_version(version.version)}.{kind.value}"


def complete_versions(names: Iterable[str]) -> list[str]:
    """The versions of which all files are among the names in a folder; names that are none of ours do not count."""
    found: dict[str, set[Kind]] = defaultdict(set)
    for name in names:
        stem, _, suffix = name.rpartition(".")
        if suffix in _COMPLETES:
            found[stem].add(_COMPLETES[suffix])
    return [version for stem, kinds in found.items() if kinds >= WHOLE and (version := version_of(stem))]


def parse_token(token: str) -> ModuleVersion:
    """The version that a page of a catalog ended with.  Raises ``InvalidRequest`` when none can have ended so."""
    path, _, version = token.rpartition("@")
    if not is_canonical_for(path, version):
        raise InvalidRequest(f"token {quoted(token)} did not come from this catalog")
    return ModuleVersion(path, version)


def version_of(stem: str) -> str | None:
    """The version whose files are named so; ``None`` when that is none."""
    try:
        version = unescape_version(stem)
    except InvalidPath:
        return None
    return version if version == canonical(version) else None
