"""One request of ours: it has an id, is refused early where it can be, and leaves one line in the log."""

from __future__ import annotations

import re
import uuid
from typing import Any, AnyStr
from weakref import WeakValueDictionary

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from athensd import __version__
from athensd.errors import InvalidPath
from athensd.steps import Step
from athensd.web.paths import route_of
from athensd.web.reply import NEVER, refuse, refuse_with

log = structlog.get_logger("athensd.access")
SERVER = f"athensd/{__version__}".encode()
METHODS = (b"GET", b"HEAD")
NOBODY_WAITED = 499
"""What the log has for a status when the client left before there was one, as nginx has it."""
_USERINFO = re.compile(r"//[^/]*@")
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class AthensRequest(Request):
    """A request as ``AthensSite`` makes it.

    Its ``route`` is what it asks for, in a word.  Routes fill in ``module``, ``version``, ``cache``, the ``age`` of a
    changeable answer in seconds, and whether the module is ``private``.
    """

    site: AthensSite

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request_id = ""
        self.route = "none"
        self.module = ""
        self.version = ""
        self.cache = ""
        self.age: float | None = None
        self.private = False
        self._step: Step | None = None

    def process(self) -> None:
        """Answer what needs no router, and give the rest to it."""
        given = self.getHeader("athens-request-id") or ""
        self.request_id = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        self.setHeader("Athens-Request-ID", self.request_id)
        channel: Any = self.channel
        self.site = channel.site
        self.site.busy.add(self)
        if self.site.draining:
            channel.persistent = False
            self.setHeader("Connection", "close")
        self._step = Step("request", self._known(), apart=True, caller=self._caller()).open()
        with self._step.inside(), structlog.contextvars.bound_contextvars(**{"request-id": self.request_id}):
            refusal = self._refusal()
            if refusal is None:
                super().process()
                return
        self.setHeader("Server", SERVER)
        self.setHeader("Date", datetimeToString())
        self.write(refusal)
        self.finish()

    def handleContentChunk(self, data: bytes) -> None:
        """No request of ours has a body; what is sent all the same is not kept."""

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """The last header of this name; as text it is Latin-1, which can stand for any bytes."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode())
        return None if value is None else value.decode("latin-1")

    def render(self, resrc: IResource) -> None:
        self.setHeader("Server", SERVER)
        super().render(resrc)

    def finish(self) -> None:
        channel: Any = self.channel
        super().finish()
        # Twisted stops reading from a client that does not take its answers, but not while a request is handled, and
        # many of ours are answered at once: such a client could have us keep answers without end.
        if getattr(channel, "_waitingForTransport", False):
            channel._networkProducer.pauseProducing()
        self._leave()

    def connectionLost(self, reason: Failure) -> None:
        # First whoever still works for this request is told, and counts what it has sent.
        super().connectionLost(reason)
        if self.request_id:  # else it had not arrived whole
            self._leave(lost=True)

    def _refusal(self) -> bytes | None:
        try:
            self.route = route_of(self.path)
        except InvalidPath as error:
            return refuse(self, error, self.request_id)
        if self.method not in METHODS:
            self.setHeader("Allow", "GET, HEAD")
            text = f"{self.method.decode('ascii', 'replace')} is not of this protocol; GET and HEAD are"
            return refuse_with(self, 405, NEVER, text, self.request_id)
        return None

    def _known(self) -> dict[str, object]:
        """What is known from the start."""
        return {
            "method": self.method.decode() if self.method in METHODS else "other",
            # Who asks for a whole URL, as of a forwarding proxy, may have put a password into it.
            "path": _USERINFO.sub("//", self.path.decode("ascii", "replace"))[:512],
            "client": getattr(self.getClientAddress(), "host", ""),
            "request_id": self.request_id,
        }

    def _caller(self) -> dict[str, str]:
        """What the client says that this request is part of (W3C Trace Context)."""
        traceparent = self.getHeader("traceparent")
        return {"traceparent": traceparent, "tracestate": self.getHeader("tracestate") or ""} if traceparent else {}

    def _leave(self, lost: bool = False) -> None:
        self.site.left(self)
        this = self._step
        assert this is not None, "it was opened when the request had come"
        this.note(
            route=self.route,
            module=self.module,
            version=self.version,
            cache=self.cache,
            age=self.age,
            status=NOBODY_WAITED if lost and not self.startedWriting else self.code,
            bytes=self.sentLength,
        )
        this.close()
        with this.inside():
            log.info(
                "incoming request",
                **{
                    "http-method": self.method.decode("ascii", "replace"),
                    "http-path": this.facts["path"],
                    "http-status": this.facts["status"],
                    "module": self.module,
                    "version": self.version,
                    "bytes": self.sentLength,
                    "ms": round(this.seconds * 1000, 2),
                    "cache": self.cache,
                    "client": this.facts["client"],
                    "request-id": self.request_id,
                    **({"client-left": True} if lost else {}),
                },
            )


class AthensSite(Site):
    """Knows which requests are under way, so that it can wait for them at the end."""

    displayTracebacks = False

    def __init__(self, resource: IResource, **kwargs: Any) -> None:
        super().__init__(resource, requestFactory=AthensRequest, **kwargs)
        self.busy: set[AthensRequest] = set()
        self.draining = False
        self._shells: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._idle: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Any:
        shell = super().buildProtocol(addr)
        self._shells[id(shell)] = shell
        return shell

    @property
    def connections(self) -> int:
        """How many connections are open; a thread may ask too."""
        shells = [shell for reference in self._shells.valuerefs() if (shell := reference()) is not None]
        # What Twisted builds is a shell around the channel for the version of HTTP that is spoken.
        channels = [getattr(shell, "_channel", shell) for shell in shells]
        return sum(1 for channel in channels if getattr(channel.transport, "connected", False))

    def log(self, request: Any) -> None:
        """Requests write their own line."""

    def left(self, request: AthensRequest) -> None:
        """This request is over."""
        self.busy.discard(request)
        if not self.busy:
            waiting, self._idle = self._idle, []
            for deferred in waiting:
                deferred.callback(None)

    async def drained(self) -> None:
        """From now on keep no connection open; return when no request is under way."""
        self.draining = True
        if self.busy:
            deferred: Deferred[None] = Deferred()
            self._idle.append(deferred)
            await deferred
