"""Stores that can be damaged, and databases that say what they are told to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from attrs import define, field

from athensd.blob import BytesBlob
from athensd.errors import NotFound
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.interfaces import Blob, Kind
from athensd.sumdb.record import Record
from tests.fakes import module_files, result_of

M = ModuleVersion("example.com/m", "v1.2.3")
OTHER = "h1:" + "A" * 43 + "="


def whole(version: ModuleVersion = M) -> dict[Kind, bytes]:
    """The files of a version as a store has them, the same ones each time."""
    return dict(_whole(version))


@lru_cache
def _whole(version: ModuleVersion) -> Mapping[Kind, bytes]:
    files = module_files(version)
    return {**files, Kind.ZIPHASH: h1_of(files, version).encode()}


def h1_of(files: Mapping[Kind, bytes], version: ModuleVersion = M) -> str:
    """The hash of a zip."""
    return check_zip(io.BytesIO(files[Kind.ZIP]), version).h1


def flipped(data: bytes, at: int = -1) -> bytes:
    """The same with one bit changed; where nothing is said, in the content of a zip's first file."""
    if at < 0:
        at = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little") + 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def put(storage: Any, files: Mapping[Kind, bytes], version: ModuleVersion = M) -> None:
    """Store these files."""
    for kind, data in files.items():
        result_of(storage.put(version, kind, BytesBlob(data)))


def files_in(storage: Any, version: ModuleVersion = M) -> dict[Kind, bytes]:
    """What is stored of a version."""
    found = {}
    for kind in Kind:
        try:
            blob = result_of(storage.open(version, kind))
        except NotFound:
            continue
        found[kind] = b"".join(result_of(_pieces(blob)))
    return found


async def _pieces(blob: Blob) -> list[bytes]:
    return [piece async for piece in blob.chunks()]


@define
class FakeDatabase:
    """Knows the versions in ``records``; ``failure`` is raised while it is set."""

    records: dict[ModuleVersion, str] = field(factory=dict)
    failure: Exception | None = None
    asked: list[ModuleVersion] = field(factory=list)
    name: str = "sum.example.test"

    def knows(self, files: Mapping[Kind, bytes], version: ModuleVersion = M) -> None:
        """From now on it says that everybody was given these."""
        path, number = version.path, version.version
        mod = h1_of_mod(files[Kind.MOD])
        self.records[version] = f"{path} {number} {h1_of(files, version)}\n{path} {number}/go.mod {mod}\n"

    async def record(self, version: ModuleVersion) -> Record:
        self.asked.append(version)
        if self.failure is not None:
            raise self.failure
        if version not in self.records:
            raise NotFound(f"{version}: not found")
        return Record(0, self.records[version])
