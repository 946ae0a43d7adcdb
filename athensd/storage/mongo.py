"""A datastore in MongoDB: small files in documents, zips in GridFS.

A zip is uploaded whole, and only then a document says where it is: that insert publishes it.  What Athens stored is
served as it is (see ``mongo_documents`` and ``mongo_files``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.blob import BytesBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, ICatalog, IStorage, Kind, Page
from athensd.storage.layout import parse_token

if TYPE_CHECKING:
    from athensd.storage.mongo_files import StoredZip

LEFT_BEHIND = timedelta(days=1)
"""How old an upload is when nobody can be at work on it any more."""


@implementer(IStorage, ICatalog)
class MongoStorage:
    """The documents and files of a database; the library's calls are made by ``in_thread(function, *arguments)``.

    Raises ``ImportError`` without pymongo, ``ValueError`` when the settings make no sense.
    """

    def __init__(
        self,
        url: str,
        in_thread: Callable[..., Awaitable[Any]],
        *,
        database: str = "athens",
        collection: str = "modules",
        cert_path: str = "",
        insecure: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        from athensd.storage.mongo_documents import MongoDocuments
        from athensd.storage.mongo_files import MongoFiles
        from athensd.storage.mongo_server import MongoServer

        self._server = MongoServer(url, cert_path=cert_path, insecure=insecure)
        there = self._server.database(database)
        self._files = MongoFiles(there)
        self._documents = MongoDocuments(there, collection, self._files)
        self._in_thread = in_thread
        self._now = now
        self._prepared = False
