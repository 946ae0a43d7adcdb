"""The way to MongoDB: a client, what is tried again, and the words for what fails.  Everything here blocks."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    CursorNotFound,
    DocumentTooLarge,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)
from pymongo.read_preferences import ReadPreference
from pymongo.server_description import ServerDescription
from pymongo.write_concern import WriteConcern

from athensd.errors import StorageFailed

Documents = Database[dict[str, Any]]
T = TypeVar("T")

PROBE = 1.0
"""How many seconds a server has to refuse or to answer; who does neither is waited for longer.

The library looks anew every half a second.
"""

# They stand above what the address says.
_LIMITS = {
    "connectTimeoutMS": 5_000,
    "serverSelectionTimeoutMS": 5_000,  # a new primary is elected in about that time
    "socketTimeoutMS": 30_000,
    "waitQueueTimeoutMS": 30_000,
}
_CONFIRMATION_MS = 20_000
_AUTHENTICATION_FAILED = {18, 8000}  # the second one is Atlas'
_NOT_ALLOWED = 13


class MongoServer:
    """A server, a replica set or a cluster; it is connected when it is first asked.

    The file at ``cert_path`` holds the authorities that are trusted instead of the host's.  With ``insecure`` any
    certificate is accepted, if there is TLS at all.  Raises ``ValueError`` when the settings make no sense.
    """

    def __init__(self, url: str, *, cert_path: str = "", insecure: bool = False) -> None:
        self._client: pymongo.MongoClient[dict[str, Any]] = _client(url, cert_path, insecure)

    def database(self, name: str) -> Documents:
        """A database of it: the primary is read, and what is written is on the disks of most members."""
        written = WriteConcern(w="majority", j=True, wtimeout=_CONFIRMATION_MS)
        return self._client.get_database(name, write_concern=written, read_preference=ReadPreference.PRIMARY)

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """What ``function`` gives for the arguments; it is called twice when the connection breaks off.

        Raises ``StorageFailed``, which says ``what`` failed and why.
        """
        try:
            self._probe()
            try:
                return function(*arguments)
            except (AutoReconnect, CursorNotFound) as error:
                if error.timeout:
                    raise
                self._probe()
                return function(*arguments)
        except (PyMongoError, BSONError) as error:
            raise StorageFailed(f"{what}: {reason(error)}") from error

    def close(self) -> None:
        """Leave the server."""
        with pymongo.timeout(PROBE):  # it says good-bye
            self._client.close()

    def _probe(self) -> None:
        """See whether anybody is there; else each caller would keep a thread for as long as a new primary may take."""
        if any(member.is_server_type_known for member in self._members()):
            return
        try:
            with pymongo.timeout(PROBE):
                self._client.admin.command("ping")
        except ServerSelectionTimeoutError:
            # Those of whom no error is known are not away but slow.
            if all(member.error for member in self._members()):
                raise
        except (NetworkTimeout, ExecutionTimeout):
            pass

    def _members(self) -> Iterable[ServerDescription]:
        return self._client.topology_description.server_descriptions().values()


def reason(error: Exception) -> str:
    """Why it failed, in a few words of ours: they hold no address, no user and nothing of the server's own text."""
    if isinstance(error, ServerSelectionTimeoutError):
        return _no_connection(str(error))
    if isinstance(error, DocumentTooLarge):
        return "it is larger than a document of MongoDB may be"
    if isinstance(error, WriteConcernError):
        return "too few members of MongoDB confirmed it in time"
    if isinstance(error, OperationFailure):
        return _refusal(error)
    if isinstance(error, NetworkTimeout):
        return "MongoDB did not answer in time"
    if isinstance(error, AutoReconnect):
        return "the connection to MongoDB broke off"
    return f"MongoDB cannot be used ({type(error).__name__})"


def _no_connection(text: str) -> str:
    if "certificate" in text:
        return "the certificate of MongoDB is not trusted; see Storage.Mongo.CertPath"
    return "no TLS connection to MongoDB" if "SSL" in text else "no connection to MongoDB"


def _refusal(error: OperationFailure) -> str:
    if error.code in _AUTHENTICATION_FAILED:
        return "authentication failed; see the user and password in Storage.Mongo.URL"
    if error.code == _NOT_ALLOWED:
        return "its user may not do this in MongoDB"
    if error.timeout:
        return "MongoDB did not answer in time"
    return f"MongoDB refused it (error {error.code})"


def _client(url: str, cert_path: str, insecure: bool) -> pymongo.MongoClient[dict[str, Any]]:
    options: dict[str, Any] = dict(_LIMITS)
    if cert_path:
        try:
            ssl.create_default_context(cafile=cert_path)
        except OSError as error:
            raise ValueError(
                f"Storage.Mongo.CertPath: no certificates can be read from it ({error.strerror})"
            ) from error
        options |= {"tls": True, "tlsCAFile": cert_path}
    if insecure:
        options["tlsAllowInvalidCertificates"] = True  # which does not mean that there must be TLS
    try:
        # It starts threads when it connects, which a process that becomes a daemon afterwards would lose.
        return pymongo.MongoClient(url, connect=False, tz_aware=True, appname="athensd", **options)
    except (PyMongoError, ValueError, TypeError):
        # Its own text may hold a part of the password.
        raise ValueError(
            "Storage.Mongo.URL is no address of MongoDB: mongodb://user:password@host:27017/?option=value, "
            "where : / ? # [ ] @ % in a password are written as %3A and so on"
        ) from None
