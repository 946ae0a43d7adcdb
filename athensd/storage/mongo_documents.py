"""The documents of MongoDB: ours, one a file, and those of Athens, one a version.

Ours is ``{_id: "<path>@<version>.<kind>", module, version, kind}`` with ``data``, or for a zip with ``file``,
``length`` and ``chunkSize``, which say where it is in GridFS.  MongoDB itself lets in one document of an ``_id``: so an
insert is the publishing of a file, and the first writer wins.  (Conditional updates of one document by several would do
as well in MongoDB, but not in all that speaks as it does: FerretDB 1 loses some of them.)

They are in a collection of their own.  Athens' documents are read, and deleted, but never changed.

Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from bson.int64 import Int64
from pymongo.errors import DuplicateKeyError

from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import WHOLE, Kind
from athensd.storage.mongo_files import MongoFiles, StoredZip
from athensd.storage.mongo_server import Documents

Stored = bytes | StoredZip
"""What is stored of a file: all its bytes, or where they are."""

SWEPT_AT_ONCE = 100

# Whoever sees a zip can see its hash; so it is the first to go.
_DELETE_ORDER = (Kind.ZIP, Kind.ZIPHASH, Kind.MOD, Kind.INFO)
_ORDER = [("module", 1), ("version", 1), ("kind", 1)]
_BATCH = 1000


class MongoDocuments:
    """The files of versions; ``collection`` is the name of Athens'."""

    def __init__(self, database: Documents, collection: str, files: MongoFiles) -> None:
        self._athens = database[collection]
        self._ours = database[f"{collection}.athensd"]
        self._files = files

    def prepare(self) -> None:
        """Make the indexes, which make it quick, unless they are there."""
        self._ours.create_index(_ORDER)
        self._athens.create_index(_ORDER[:2])
        self._files.prepare()

    def ping(self) -> None:
        """Raise the library's error when there is nothing to be read."""
        self._ours.find_one({"_id": ""})

    def find(self, version: ModuleVersion, kind: Kind) -> Stored | None:
        """What is stored; nothing when it is certain that there is nothing."""
        document = self._ours.find_one({"_id": f"{version}.{kind.value}"})
        return _value(document) if document else self._of_athens(version, kind)

    def insert(self, version: ModuleVersion, kind: Kind, value: Stored) -> Stored | None:
        """What is stored now: this, or what was there before.  Nothing, if that has been deleted in the meantime."""
        name = f"{version}.{kind.value}"
        document: dict[str, Any] = {"_id": name, "module": version.path, "version": version.version, "kind": kind.value}
        if isinstance(value, StoredZip):
            document |= {"file": value.file, "length": Int64(value.length), "chunkSize": value.part}
        else:
            document["data"] = value
        try:
            self._ours.insert_one(document)
        except DuplicateKeyError:
            there = self._ours.find_one({"_id": name})
            return _value(there) if there else None
        return value

    def put(self, version: ModuleVersion, kind: Kind, value: Stored) -> Stored | None:
        """The same where Athens may have stored something, too."""
        found = self._of_athens(version, kind)
        return self.insert(version, kind, value) if found is None else found

    def has_any(self, version: ModuleVersion) -> bool:
        """Whether anything of a version is there."""
        names = [f"{version}.{kind.value}" for kind in Kind]
        return bool(self._ours.find_one({"_id": {"$in": names}}, {"_id": 1}) or self._document(version, "_id"))

    def remove(self, version: ModuleVersion) -> None:
        """Remove all files of a version; no error when there is none."""
        zip_ = self.find(version, Kind.ZIP)
        if isinstance(zip_, StoredZip):
            self._files.set_aside(zip_, version)
        for kind in _DELETE_ORDER:
            self._ours.delete_one({"_id": f"{version}.{kind.value}"})
        self._athens.delete_many({"module": version.path, "version": version.version})
        if isinstance(zip_, StoredZip):
            self._files.remove(zip_)

    def complete(self, path: str) -> list[str]:
        """The complete versions of a path."""
        return [version.version for version in self._complete({"module": path, "version": {"$gt": ""}})]

    def page(self, path: str, version: str, size: int) -> list[ModuleVersion]:
        """So many complete versions that follow this one, in the order of paths and then of versions."""
        behind = [
            {"module": {"$gt": path}, "version": {"$gt": ""}},
            {"module": path, "version": {"$gt": version}},
        ]
        return list(islice(self._complete({"$or": behind}), size))

    def sweep(self, before: datetime) -> int:
        """Remove some of what uploads that were begun before then have left behind; how many files that were."""
        removed = 0
        for version, zip_ in self._files.leftovers(before, SWEPT_AT_ONCE):
            if self.find(version, Kind.ZIP) == zip_:
                self._files.name(zip_, version)
            else:
                self._files.remove(zip_)
                removed += 1
        return removed

    def _of_athens(self, version: ModuleVersion, kind: Kind) -> Stored | None:
        if kind is Kind.ZIPHASH:
            return None
        document = self._document(version, kind.value)
        if document is None:
            return None
        if kind is not Kind.ZIP:
            value = document.get(kind.value)
            return value if isinstance(value, bytes) else None
        zip_ = self._files.of_athens(version)
        # It is looked for once, and then known.
        return self.insert(version, kind, zip_) if zip_ else None

    def _document(self, version: ModuleVersion, field: str) -> dict[str, Any] | None:
        return self._athens.find_one({"module": version.path, "version": version.version}, {field: 1})

    def _complete(self, where: dict[str, Any]) -> Iterator[ModuleVersion]:
        """The complete ones among some versions, in order.

        Athens wrote its document when the zip was there; so it stands for all three.  Should the zip turn out not to be
        one, it is fetched anew when it is asked for.
        """
        names = {"_id": 0, "module": 1, "version": 1}
        whole = {"info": {"$type": "binData"}, "mod": {"$type": "binData"}}
        ours = self._ours.find(where, {**names, "kind": 1}).sort(_ORDER).batch_size(_BATCH)
        theirs = self._athens.find({**where, **whole}, names).sort(_ORDER[:2]).batch_size(_BATCH)
        rows = merge(
            ((row["module"], row["version"], {Kind(row["kind"])}) for row in ours),
            ((row["module"], row["version"], WHOLE) for row in theirs),
            key=itemgetter(0, 1),
        )
        for (path, version), parts in groupby(rows, itemgetter(0, 1)):
            kinds = set().union(*(kinds for _, _, kinds in parts))
            if kinds >= WHOLE and is_canonical_for(path, version):
                yield ModuleVersion(path, version)


def _value(document: dict[str, Any]) -> Stored:
    if "file" in document:
        return StoredZip(document["file"], int(document["length"]), int(document["chunkSize"]))
    return bytes(document["data"])
