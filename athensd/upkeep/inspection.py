"""Is this version what it says it is?  Every file of it is read, and held against the others."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from athensd.blob import BytesBlob, FileBlob, read_all
from athensd.errors import NotFound, StorageFailed, VerificationFailed
from athensd.gomod.info import parse_info
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import MAX_GO_MOD, MAX_ZIP, CheckedZip, check_zip, h1_of_mod
from athensd.interfaces import Blob, Kind
from athensd.upkeep.source import Source
from athensd.upkeep.sums import Sums


@frozen
class Inspected:
    """What was found: the kinds of files that are there, those of them that could be read whole, what is wrong.

    ``h1`` and ``go_mod`` are those of the zip, if it is a legal one; ``recorded`` is the hash that lies beside it.
    """

    there: frozenset[Kind]
    files: Mapping[Kind, Blob]
    faults: Sequence[str]
    h1: str = ""
    go_mod: bytes | None = None
    recorded: str = ""


class Inspector:
    """Reads versions by ``in_thread`` and holds them against ``sums``.

    With ``copying`` a zip is copied before it is read, so that what was verified is what is at hand afterwards.
    """

    def __init__(self, in_thread: Callable[..., Awaitable[Any]], sums: Sums, *, copying: bool = False) -> None:
        self._in_thread = in_thread
        self._sums = sums
        self._copying = copying

    async def inspect(self, source: Source, into: Path) -> Inspected:
        """What is to be said of a version; a zip that is not on this machine is copied into the directory ``into``.

        Raises ``StorageFailed`` when a file cannot be read, and what ``sums`` raises.
        """
        version = source.version
        blobs = await _opened(source)
        faults: list[str] = []
        files: dict[Kind, Blob] = {}
        for kind, blob in blobs.items():
            limit = MAX_ZIP if kind is Kind.ZIP else MAX_GO_MOD
            if blob.length > limit:
                faults.append(f"the {kind.value} file is larger than {limit} bytes")
            else:
                files[kind] = await self._local(blob, kind, version, into)
        if Kind.INFO in files:
            faults += _info_faults(_bytes(files, Kind.INFO), version)
        recorded = _bytes(files, Kind.ZIPHASH).decode("ascii", "replace").strip()
        checked = None
        if Kind.ZIP in files:
            try:
                checked = await self._in_thread(_check, files[Kind.ZIP], version)
            except VerificationFailed as error:
                faults.append(str(error))
            except OSError as error:
                raise _unreadable(version, Kind.ZIP, error) from error
        if checked:
            faults += _zip_faults(checked, files, recorded)
        faults += await self._sum_faults(version, files, checked)
        return Inspected(
            frozenset(blobs),
            files,
            faults,
            checked.h1 if checked else "",
            checked.go_mod if checked else None,
            recorded,
        )

    async def _local(self, blob: Blob, kind: Kind, version: ModuleVersion, into: Path) -> Blob:
        try:
            if kind is not Kind.ZIP:
                return BytesBlob(await read_all(blob))
            file = blob.file()
            if file is not None and not self._copying:
                file.close()
                return blob
            path = into / kind.value
            with path.open("wb") as copy:
                if file is None:
                    async for piece in blob.chunks():
                        copy.write(piece)
                else:
                    with file:
                        await self._in_thread(shutil.copyfileobj, file, copy, 1 << 20)
            return FileBlob(path, path.stat().st_size)
        except OSError as error:
            raise _unreadable(version, kind, error) from error

    async def _sum_faults(
        self, version: ModuleVersion, files: Mapping[Kind, Blob], checked: CheckedZip | None
    ) -> list[str]:
        if checked is None and Kind.MOD not in files:
            return []
        said = await self._sums.said(version)
        if said is None:
            return []
        faults = [said.fault(checked.h1)] if checked else []
        if Kind.MOD in files:
            faults.append(said.fault(h1_of_mod(_bytes(files, Kind.MOD)), go_mod=True))
        return [fault for fault in faults if fault]


async def _opened(source: Source) -> dict[Kind, Blob]:
    found = {}
    for kind in Kind:
        try:
            found[kind] = await source.open(kind)
        except NotFound:
            continue
    return found


def _check(blob: Blob, version: ModuleVersion) -> CheckedZip:
    file = blob.file()
    assert file is not None, "it is on this machine"
    with file:
        return check_zip(file, version)


def _info_faults(data: bytes, version: ModuleVersion) -> list[str]:
    try:
        said = parse_info(data).version
    except VerificationFailed as error:
        return [str(error)]
    return [] if said == version.version else [f"its .info speaks of {said}"]


def _zip_faults(checked: CheckedZip, files: Mapping[Kind, Blob], recorded: str) -> list[str]:
    faults = []
    if Kind.ZIPHASH in files and checked.h1 != recorded:
        faults.append(f"the zip has the hash {checked.h1}, and recorded is {recorded or 'nothing'}")
    if Kind.MOD in files and checked.go_mod is not None and checked.go_mod != _bytes(files, Kind.MOD):
        faults.append("the go.mod in the zip differs from the one beside it")
    return faults


def _bytes(files: Mapping[Kind, Blob], kind: Kind) -> bytes:
    blob = files.get(kind)
    return blob.data if isinstance(blob, BytesBlob) else b""


def _unreadable(version: ModuleVersion, kind: Kind, error: OSError) -> StorageFailed:
    return StorageFailed(f"{version} {kind.value} could not be read: {error.strerror}")
