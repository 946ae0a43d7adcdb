"""Zips in GridFS, MongoDB's way to keep large files: a document in ``fs.files`` and its parts in ``fs.chunks``.

The document of a file is written before its parts, under a name that says so.  So whatever a crash leaves behind is
found by that name, and whoever looks for files by their right names never sees half of one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, BinaryIO, cast

from attrs import frozen
from bson.int64 import Int64
from bson.objectid import ObjectId
from gridfs.errors import CorruptGridFile
from gridfs.grid_file import GridOut
from pymongo.cursor import Cursor
from pymongo.errors import BulkWriteError

from athensd.errors import VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.gomod.zipread import read_directory
from athensd.storage.mongo_server import Documents

PART = 255 * 1024
"""The size of a part, as every driver has it."""
_UNFINISHED = "athensd: unfinished"
_ALREADY_THERE = 11000
_CANDIDATES = 20


@frozen
class StoredZip:
    """A whole file: the name that MongoDB gave it, its length and that of its parts, in bytes."""

    file: Any
    length: int
    part: int

    def size(self, number: int) -> int:
        """The length of one of its parts."""
        return min(self.part, self.length - number * self.part)


class MongoFiles:
    """The files of a database, in GridFS' default bucket, where Athens has its own too.  Everything here blocks."""

    def __init__(self, database: Documents) -> None:
        self._bucket = database["fs"]
        self._files = self._bucket["files"]
        self._parts = self._bucket["chunks"]

    def prepare(self) -> None:
        """Make the indexes that GridFS wants, unless they are there."""
        self._files.create_index([("filename", 1), ("uploadDate", 1)])
        self._parts.create_index([("files_id", 1), ("n", 1)], unique=True)

    def new(self, length: int) -> StoredZip:
        """A file that is to be begun."""
        return StoredZip(ObjectId(), length, PART)

    def begin(self, zip_: StoredZip, version: ModuleVersion, now: datetime) -> None:
        """Make a file that has no parts yet; it may be there already."""
        document = {
            "length": Int64(zip_.length),
            "chunkSize": zip_.part,
            "uploadDate": now,
            "filename": _UNFINISHED,
            "metadata": {"module": version.path, "version": version.version},
        }
        self._files.update_one({"_id": zip_.file}, {"$set": document}, upsert=True)

    def add(self, zip_: StoredZip, first: int, data: bytes) -> None:
        """Write some of its parts, the first of which has this number."""
        pieces = (data[at : at + zip_.part] for at in range(0, len(data), zip_.part))
        parts = [{"files_id": zip_.file, "n": first + at, "data": piece} for at, piece in enumerate(pieces)]
        try:
            self._parts.insert_many(parts, ordered=False)
        except BulkWriteError as error:
            faults = error.details or {}
            codes = {fault["code"] for fault in faults.get("writeErrors", ())}
            # What is there already was sent before, over a connection that broke off.
            if codes != {_ALREADY_THERE} or faults.get("writeConcernErrors"):
                raise

    def name(self, zip_: StoredZip, version: ModuleVersion) -> None:
        """Give a whole file a name that no other version's has."""
        self._files.update_one({"_id": zip_.file}, {"$set": {"filename": f"{version}.zip"}})

    def set_aside(self, zip_: StoredZip, version: ModuleVersion) -> None:
        """Mark a file as one that is to be swept unless it is stored under ``version``."""
        metadata = {"module": version.path, "version": version.version}
        self._files.update_one({"_id": zip_.file}, {"$set": {"filename": _UNFINISHED, "metadata": metadata}})

    def empty(self, zip_: StoredZip) -> None:
        """Remove the parts of a file that were written so far."""
        self._parts.delete_many({"files_id": zip_.file})

    def remove(self, zip_: StoredZip) -> None:
        """Remove a file, the mark by which it can be found last."""
        self.empty(zip_)
        self._files.delete_one({"_id": zip_.file})

    def leftovers(self, before: datetime, most: int) -> list[tuple[ModuleVersion, StoredZip]]:
        """Files that were begun before then and are not named, with the version for which they were meant."""
        found = self._files.find({"filename": _UNFINISHED, "uploadDate": {"$lt": before}}).limit(most)
        return [
            (ModuleVersion(file["metadata"]["module"], file["metadata"]["version"]), _stored(file)) for file in found
        ]

    def read(self, zip_: StoredZip, first: int, end: int, batch: int) -> Cursor[dict[str, Any]]:
        """The parts from ``first`` up to, and without, ``end``, in order; so many are asked for at a time."""
        wanted = {"files_id": zip_.file, "n": {"$gte": first, "$lt": end}}
        return self._parts.find(wanted, {"_id": 0, "n": 1, "data": 1}).sort("n", 1).batch_size(batch)

    def of_athens(self, version: ModuleVersion) -> StoredZip | None:
        """The file that Athens wrote for a version, if it is whole.

        Athens' names are alike for a.io/b_c and a.io/b/c, and a failed upload left a file of the right name too.  But a
        zip says of which version it is, in the name of each member, and has the list of them at its end.
        """
        name = f"{version.path.replace('/', '_')}_{version.version}.zip"
        found = self._files.find({"filename": name}).sort("uploadDate", -1).limit(_CANDIDATES)
        return next((_stored(file) for file in found if self._is_zip_of(version, file)), None)

    def _is_zip_of(self, version: ModuleVersion, file: dict[str, Any]) -> bool:
        reader = cast(BinaryIO, GridOut(self._bucket, file_document=file))
        try:
            members = read_directory(reader, file["length"])
        except (VerificationFailed, CorruptGridFile):
            return False
        return bool(members) and all(member.name.startswith(f"{version}/") for member in members)


def _stored(file: dict[str, Any]) -> StoredZip:
    return StoredZip(file["_id"], int(file["length"]), int(file["chunkSize"]))
