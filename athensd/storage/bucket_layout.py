"""The names of objects: Athens', so that a bucket which it filled can be taken over as it is, and given back.

Athens has no object for the hash of a zip; ours lies beside the others.  Paths and versions are as people write them,
since buckets tell upper case from lower.

Each layout has one name of a version that follows the other two in the order of names.  Its place is the version's
place in a catalog.  The names of one version may lie around those of others, though.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Protocol

from athensd.gomod.version import ModuleVersion, canonical, is_canonical_for
from athensd.interfaces import Kind

CONTENT_TYPE = {
    Kind.INFO: "application/json",
    Kind.MOD: "text/plain",
    Kind.ZIP: "application/octet-stream",
    Kind.ZIPHASH: "text/plain",
}
"""The types that Athens gives its objects."""


class Layout(Protocol):
    """How the files of versions are named in a bucket."""

    def name(self, version: ModuleVersion, kind: Kind) -> str:
        """The name of one file."""

    def parse(self, name: str) -> tuple[ModuleVersion, Kind] | None:
        """What is named so; ``None`` when it is nothing of ours."""

    def prefix(self, path: str) -> str:
        """How the names of all versions of a path begin, and perhaps some others."""

    def last(self, version: ModuleVersion) -> str:
        """The greatest name among those of the files that make a version complete."""

    def resume(self, version: ModuleVersion) -> str:
        """What is less than every name of every version whose last name is greater than that of ``version``."""


class DownloadLayout:
    """``<path>/@v/<version>.info``, ``.mod``, ``.zip``: Athens' names on S3, GCS and Azure."""

    def name(self, version: ModuleVersion, kind: Kind) -> str:
        return f"{version.path}/@v/{version.version}.{kind.value}"

    def parse(self, name: str) -> tuple[ModuleVersion, Kind] | None:
        path, _, file = name.rpartition("/@v/")
        version, _, suffix = file.rpartition(".")
        return _checked(path, version, _KINDS.get(suffix))

    def prefix(self, path: str) -> str:
        return f"{path}/@v/"

    def last(self, version: ModuleVersion) -> str:
        return self.name(version, Kind.ZIP)

    def resume(self, version: ModuleVersion) -> str:
        # v1.0.0-a.info ... v1.0.0-a.info.zip ... v1.0.0-a.zip: only a version that begins as this one does, up to
        # a dot, can have been begun before this one's end and be ended after it.
        last = self.last(version)
        for start in _beginnings(version.version, "."):
            around = ModuleVersion(version.path, start)
            if start == canonical(start) and self.name(around, Kind.INFO) < last:
                return f"{version.path}/@v/{start}"
        return last


class FolderLayout:
    """``<path>/<version>/go.mod``, ``source.zip``, ``<version>.info``: Athens' names on MinIO."""

    def name(self, version: ModuleVersion, kind: Kind) -> str:
        file = {Kind.MOD: "go.mod", Kind.ZIP: "source.zip"}.get(kind) or f"{version.version}.{kind.value}"
        return f"{version.path}/{version.version}/{file}"

    def parse(self, name: str) -> tuple[ModuleVersion, Kind] | None:
        folder, _, file = name.rpartition("/")
        path, _, version = folder.rpartition("/")
        files = {
            "go.mod": Kind.MOD,
            "source.zip": Kind.ZIP,
            f"{version}.info": Kind.INFO,
            f"{version}.ziphash": Kind.ZIPHASH,
        }
        return _checked(path, version, files.get(file))

    def prefix(self, path: str) -> str:
        return f"{path}/v"

    def last(self, version: ModuleVersion) -> str:
        return self.name(version, Kind.INFO)

    def resume(self, version: ModuleVersion) -> str:
        # A module may be nested in what looks like the version of another: a.io/m/v1.0.0/n.
        for start in _beginnings(f"{version.path}/", "/"):
            path, _, around = start.rpartition("/")
            if is_canonical_for(path, around) and f"{start}/go.mod" < self.last(version):
                return f"{start}/"
        return self.last(version)


_KINDS = {kind.value: kind for kind in Kind}


def _checked(path: str, version: str, kind: Kind | None) -> tuple[ModuleVersion, Kind] | None:
    return (ModuleVersion(path, version), kind) if kind and is_canonical_for(path, version) else None


def _beginnings(text: str, mark: str) -> Iterator[str]:
    """The parts of a text that end at a mark, the shortest first, without the whole."""
    *parts, _ = text.split(mark)
    return accumulate(parts, lambda start, part: f"{start}{mark}{part}")
