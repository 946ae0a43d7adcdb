"""A server of Athens' HTTP contract for external storage, over any of our datastores.

What is saved comes as a form; its files are written to the spool as they come, and checked before they are stored.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any, AnyStr, BinaryIO
from urllib.parse import unquote_to_bytes
from uuid import uuid4

import structlog
from attrs import frozen
from multipart import (  # type: ignore[import-untyped]  # it has types and does not say so
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from athensd.blob import BytesBlob, FileBlob, read_all
from athensd.errors import AthensError, InvalidPath, InvalidRequest, StorageFailed, VerificationFailed
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.path import quoted
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.gomod.ziphash import MAX_GO_MOD, MAX_ZIP, CheckedZip, check_zip
from athensd.interfaces import Blob, IStorage, Kind
from athensd.spool import Spool
from athensd.web.download import JSON, TEXT, ZIP
from athensd.web.reply import NEVER, Content, refuse_with, send, status_of

log = structlog.get_logger()

PARTS = {"mod.info": (Kind.INFO, MAX_GO_MOD), "mod.mod": (Kind.MOD, MAX_GO_MOD), "mod.zip": (Kind.ZIP, MAX_ZIP)}
"""The files of a form, and how many bytes each may have: Go's own limits."""
_METHOD = {"save": b"POST", "delete": b"DELETE"}
_TYPE = {"info": JSON, "mod": TEXT, "zip": ZIP}
_TARGET = re.compile(r"/(.+)/@v/(?:(list)|([^/]+)\.(info|mod|zip|save|delete))")
# To clients of the contract a version is there when its .info is; so that comes last, and the hash before its zip.
_ORDER = (Kind.MOD, Kind.ZIPHASH, Kind.ZIP, Kind.INFO)

Check = Callable[[BinaryIO, ModuleVersion], CheckedZip]


@frozen
class Target:
    """What a request is about: a verb of the contract, a module, and a version of it (empty for a list)."""

    verb: str
    path: str
    version: str = ""


def target_of(raw: bytes) -> Target:
    """What a path (percent-encoded) means.  Raises ``InvalidRequest`` or ``InvalidPath`` when it means nothing."""
    match = _TARGET.fullmatch(unquote_to_bytes(raw).decode("ascii", "replace"))
    if match is None:
        raise InvalidRequest("this is no path of an external storage, as /<module>/@v/list and /<module>/@v/<v>.info")
    path = unescape_path(match[1])
    if match[2]:
        return Target("list", path)
    # Athens does not escape versions.
    version = unescape_version(match[3]) if match[3].islower() else match[3]
    if not is_canonical_for(path, version):
        raise InvalidPath(f"{quoted(version)} is no canonical version of {path}")
    return Target(match[4], path, version)


class Upload:
    """The files of a form, in any order; they are in the spool until ``discard``."""

    def __init__(self, boundary: str, spool: Spool) -> None:
        """Raises ``MultipartError`` for what cannot be a boundary."""
        self._parser = PushMultipartParser(boundary, max_segment_count=len(PARTS), max_segment_size=MAX_ZIP)
        self._spool = spool
        self._blobs: dict[Kind, FileBlob] = {}
        self._part: _Part | None = None
        self._error: AthensError | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._error is not None:
            return
        try:
            for event in self._parser.parse(data):
                self._take(event)
        except MultipartError as error:
            self._error = InvalidRequest(f"this is no form of mod.info, mod.mod and mod.zip: {error}")
        except AthensError as error:
            self._error = error
        except OSError as error:
            self._error = StorageFailed(f"what was sent could not be written: {error.strerror}")

    def finish(self) -> dict[Kind, FileBlob]:
        """The files, after the last byte.  Raises ``InvalidRequest``, or ``StorageFailed`` for what is our fault."""
        self.feed(b"")
        if self._error is not None:
            raise self._error
        missing = [name for name, (kind, _) in PARTS.items() if kind not in self._blobs]
        if missing:
            raise InvalidRequest(f"the form has no file {', '.join(missing)}")
        return self._blobs

    def discard(self) -> None:
        """Remove what is in the spool."""
        if self._part is not None:
            self._part.file.close()
            self._part.path.unlink(missing_ok=True)
        for blob in self._blobs.values():
            blob.path.unlink(missing_ok=True)

    def _take(self, event: Any) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event.name)
            return
        assert self._part is not None, "bytes follow the head of a part"
        if event is None:
            self._end(self._part)
            return
        self._part.length += len(event)
        if self._part.length > self._part.limit:
            raise InvalidRequest(f"the {self._part.kind.value} is larger than {self._part.limit} bytes")
        self._part.file.write(event)

    def _begin(self, name: str) -> None:
        if name not in PARTS or PARTS[name][0] in self._blobs:
            raise InvalidRequest(f"the form has a part {quoted(name)} too much")
        self._part = _Part(*PARTS[name], self._spool.new_path())

    def _end(self, part: _Part) -> None:
        part.file.close()
        self._blobs[part.kind] = FileBlob(part.path, part.length)
        self._part = None


class _Part:
    """A file that comes."""

    def __init__(self, kind: Kind, limit: int, path: Any) -> None:
        self.kind = kind
        self.limit = limit
        self.path = path
        self.file = path.open("wb")
        self.length = 0


class ExternalRequest(Request):
    """Its body is a form or is dropped; Twisted's own would be read into memory."""

    site: ExternalSite
    upload: Upload | None = None

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)
        channel: Any = self.channel
        self.site = channel.site
        type, options = parse_options_header(self.getHeader("content-type") or "")
        if type == "multipart/form-data" and self.site.admits(self):
            try:
                self.upload = Upload(options.get("boundary", ""), self.site.spool)
            except MultipartError:
                return

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """The last header of this name; as text it is Latin-1, which can stand for any bytes."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode())
        return None if value is None else value.decode("latin-1")

    def handleContentChunk(self, data: bytes) -> None:
        if self.upload is not None:
            self.upload.feed(data)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self.upload is not None:
            self.upload.discard()


class ExternalSite(Site):
    """A site for ``storage``, and with ``user`` and ``password`` for those alone who have them.

    Slow work is done by ``in_thread``; ``check`` raises ``VerificationFailed`` for a zip that is not to be stored.
    """

    displayTracebacks = False

    def __init__(
        self,
        storage: IStorage,
        spool: Spool,
        in_thread: Callable[..., Awaitable[Any]],
        *,
        user: str = "",
        password: str = "",
        check: Check = check_zip,
        **kwargs: Any,
    ) -> None:
        super().__init__(_Root(storage, in_thread, check), requestFactory=ExternalRequest, **kwargs)
        self.spool = spool
        login = b64encode(f"{user}:{password}".encode()).decode()
        self._authorization = f"Basic {login}" if user or password else ""

    def admits(self, request: Request) -> bool:
        """Whether who asks may."""
        given = request.getHeader("authorization") or ""
        return not self._authorization or hmac.compare_digest(given.encode(), self._authorization.encode())

    def log(self, request: Any) -> None:
        """One line for each request."""
        method, path = (text.decode("ascii", "replace") for text in (request.method, request.path))
        log.info("storage request", **{"http-method": method, "http-path": path, "http-status": request.code})


class _Root(Resource):
    """All paths; one coroutine answers each request."""

    isLeaf = True

    def __init__(self, storage: IStorage, in_thread: Callable[..., Awaitable[Any]], check: Check) -> None:
        super().__init__()
        self._storage = storage
        self._in_thread = in_thread
        self._check = check

    def render(self, request: Any) -> int:
        work = Deferred.fromCoroutine(self._whole(request))
        request.notifyFinish().addErrback(lambda left: work.cancel())
        work.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def _whole(self, request: ExternalRequest) -> None:
        try:
            await self._answer(request)
        except AthensError as error:
            bad = isinstance(error, InvalidPath | VerificationFailed)
            await self._refuse(request, 400 if bad else status_of(error)[0], str(error))
        except Exception:
            log.exception("unexpected error")
            await self._refuse(request, 500, "the server failed; its log says why")
        finally:
            if request.upload is not None:
                request.upload.discard()
        request.finish()

    async def _refuse(self, request: ExternalRequest, status: int, text: str) -> None:
        if request.startedWriting:
            # The head has promised a body that cannot be had any more: when the connection is lost, we are cancelled.
            transport: Any = request.transport
            transport.abortConnection()
            await Deferred()
        request.write(refuse_with(request, status, NEVER, text, uuid4().hex))

    async def _answer(self, request: ExternalRequest) -> None:
        if not request.site.admits(request):
            request.setHeader("WWW-Authenticate", 'Basic realm="storage"')
            await self._refuse(request, 401, "this storage wants a user and a password")
            return
        target = target_of(request.path)
        allowed = _METHOD.get(target.verb)
        if request.method not in ({allowed} if allowed else {b"GET", b"HEAD"}):
            await self._refuse(request, 405, f"{target.verb} is not asked for so")
        elif target.verb == "list":
            versions = sorted(await self._storage.versions(target.path))
            await send(request, Content(BytesBlob("".join(f"{each}\n" for each in versions).encode()), TEXT, NEVER))
        elif target.verb == "save":
            await self._save(ModuleVersion(target.path, target.version), request.upload)
        elif target.verb == "delete":
            await self._storage.delete(ModuleVersion(target.path, target.version))
        else:
            blob = await self._storage.open(ModuleVersion(target.path, target.version), Kind(target.verb))
            await send(request, Content(blob, _TYPE[target.verb], NEVER))

    async def _save(self, version: ModuleVersion, upload: Upload | None) -> None:
        if upload is None:
            raise InvalidRequest("a version is saved by a form, multipart/form-data")
        files: dict[Kind, Blob] = {**upload.finish()}
        checked = await self._in_thread(self._checked, files[Kind.ZIP], version)
        if checked.go_mod is not None and checked.go_mod != await read_all(files[Kind.MOD]):
            raise VerificationFailed(f"{version}: the go.mod in the zip differs from mod.mod")
        files[Kind.ZIPHASH] = BytesBlob(checked.h1.encode())
        for kind in _ORDER:
            await self._storage.put(version, kind, files[kind])

    def _checked(self, blob: FileBlob, version: ModuleVersion) -> CheckedZip:
        with blob.path.open("rb", buffering=0) as file:
            return self._check(file, version)
