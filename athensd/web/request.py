"""One request of ours: it has an id, is refused early where it can be, and leaves one line in the log."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, AnyStr
from urllib.parse import quote

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from athensd import __version__
from athensd.blob import BytesBlob
from athensd.doors.door import Doorkeeper
from athensd.doors.rules import ANONYMOUS
from athensd.errors import AthensError, InvalidRequest, Redirected
from athensd.interfaces import Blob
from athensd.steps import Step
from athensd.web.access import Write, line, new_id, write_event
from athensd.web.forwarded import UNIX, Client, Proxies
from athensd.web.hot_channel import MATTERS, HotChannel, address_of
from athensd.web.paths import HEALTH, LONGEST, below, route_of
from athensd.web.rendered import Rendered, RenderedAnswers, as_asked, render_body, render_head
from athensd.web.reply import NEVER, refuse, refuse_with
from athensd.whose import on_behalf_of

SERVER = f"athensd/{__version__}".encode()
METHODS = (b"GET", b"HEAD")
NOBODY_WAITED = 499
"""What the log has for a status when the client left before there was one, as nginx has it."""
log = structlog.get_logger()
_AS_THEY_ARE = "/%:=&?~#+!$,;'@()*[]"
_USERINFO = re.compile(r"//[^/]*@")
MOST_NAMED = 100
"""So many clients are named in the log at a time when connections are refused."""
LARGEST = 1 << 20
"""A file of more bytes is not for the fast lane, which sends all at once."""
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class AthensRequest(Request):
    """A request as ``AthensSite`` makes it.

    Its ``route`` is what it asks for, in a word, and its ``path`` has no prefix.  ``client`` is who asks, as far as
    trusted proxies tell.  Routes fill in ``module``, ``version``, ``cache``, the ``age`` of a
    changeable answer in seconds, and whether the module is ``private``.
    """

    site: AthensSite

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request_id = ""
        self.client = Client("", False)
        self.asker = ANONYMOUS
        self.route = "none"
        self.module = ""
        self.version = ""
        self.cache = ""
        self.age: float | None = None
        self.private = False
        self._step: Step | None = None
        self._again: tuple[Blob, float] | None = None
        self._changes = 0

    def process(self) -> None:
        """Answer what needs no router, and give the rest to it."""
        given = self.getHeader("athens-request-id") or ""
        self.request_id = given if _GOOD_ID.fullmatch(given) else new_id()
        self.setHeader("Athens-Request-ID", self.request_id)
        channel: Any = self.channel
        self.site = channel.site
        self.client = self.site.proxies.client(
            channel.peer(), lambda name: self.requestHeaders.getRawHeaders(name) or ()
        )
        self.site.busy.add(self)
        self._changes = self.site.rendered.changes if self.site.rendered else 0
        if self.site.draining:
            channel.persistent = False
            self.setHeader("Connection", "close")
        self._step = Step("request", self._known(), apart=True, caller=self._caller()).open()
        logged = structlog.contextvars.bound_contextvars(**{"request-id": self.request_id})
        with self._step.inside(), logged, on_behalf_of(self.client.address):
            refusal = self._refusal()
            if refusal is not None:
                self._end(refusal)
            elif self.site.door is None or self.site.door.stands_open(self.route):
                super().process()
            else:
                Deferred.fromCoroutine(self._come_in(self.site.door))

    async def _come_in(self, door: Doorkeeper) -> None:
        """Go on when it is known who asks."""
        self.setHeader("Vary", "Authorization")
        refusal = b""
        try:
            self.asker = await door.asker(self.getHeader("authorization"), self.client.address)
        except AthensError as error:
            refusal = refuse(self, error, self.request_id)
        except Exception:
            log.exception("unexpected error")
            refusal = refuse_with(self, 500, NEVER, "athensd failed; its log says why", self.request_id)
        if self._disconnected:
            return
        if refusal:
            self._end(refusal)
            return
        self.private = bool(self.asker.name)
        with on_behalf_of(self.asker.name or self.client.address):
            super().process()

    def _end(self, body: bytes) -> None:
        """Answer without the router."""
        self.setHeader("Server", SERVER)
        self.setHeader("Date", datetimeToString())
        self.write(body)
        self.finish()

    def admit(self, path: str) -> None:
        """Raise the reason why the asker may not have this module, if there is one."""
        if self.site.door is not None:
            self.site.door.admit(self.asker, path)

    def sees(self, path: str) -> bool:
        """Whether the asker may know that there is this module."""
        return self.site.door is None or self.site.door.sees(self.asker, path)

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
        self._keep()
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

    def again(self, body: Blob, seconds: float) -> None:
        """Whoever asks just the same within so many seconds is to be given the same answer, which has this body."""
        self._again = (body, seconds)

    def _keep(self) -> None:
        """Leave the answer to the fast lane, if this was a request as the lane takes them."""
        answers = self.site.rendered
        if answers is None or self._again is None or self._changes != answers.changes:
            return
        if b"?" in self.uri or self.method != b"GET":
            return
        headers = {name.decode("latin-1").lower() for name, _ in self.requestHeaders.getAllRawHeaders()}
        if self.clientproto != b"HTTP/1.1" or any(map(MATTERS.fullmatch, headers - {"authorization"})):
            return
        body, seconds = self._again
        try:
            file = None if isinstance(body, BytesBlob) or body.length > LARGEST else body.file()
        except OSError:  # deleted meanwhile, or no descriptor is left
            return
        if file is None and not isinstance(body, BytesBlob):
            return
        data = body.data if isinstance(body, BytesBlob) else b""
        request_id = self.request_id.encode()
        names = request_id in data
        now = answers.now()
        answers.keep(
            as_asked(self.uri, self.getHeader(b"authorization")),
            Rendered(
                head=render_head(b"%d %b" % (self.code, self.code_message), self.responseHeaders.getAllRawHeaders()),
                body=render_body(data, request_id) if names else data,
                facts={**self._known(), **self._said(), "status": self.code, "bytes": body.length},
                until=now + seconds,
                since=None if self.age is None else now - self.age,
                names=names,
                file=file,
                length=body.length,
            ),
        )

    def _refusal(self) -> bytes | None:
        try:
            self.path = below(self.path, self.site.prefix)
            self.route = route_of(self.path)
            self._force_ssl()
        except AthensError as error:
            return refuse(self, error, self.request_id)
        if self.method not in METHODS:
            self.setHeader("Allow", "GET, HEAD")
            text = f"{self.method.decode('ascii', 'replace')} is not of this protocol; GET and HEAD are"
            return refuse_with(self, 405, NEVER, text, self.request_id)
        return None

    def _force_ssl(self) -> None:
        """Send whoever has no secure connection to where there is one; 301, as in Athens.  Probes stay."""
        if self.site.force_ssl and not self.client.secure and self.route not in HEALTH:
            raise Redirected(f"https://{self.asked_host()}{quote(self.uri, safe=_AS_THEY_ARE)}", 301)

    def asked_host(self) -> str:
        """The host, perhaps with a port, under which the client knows us.  Raises ``InvalidRequest``."""
        host = self.client.host or self.getHeader("host") or "localhost"
        if not _HOST.fullmatch(host):
            raise InvalidRequest("the Host of this request is no host")
        return host

    def _known(self) -> dict[str, object]:
        """What is known from the start."""
        return {
            "method": self.method.decode() if self.method in METHODS else "other",
            "path": self._shown_path(),
            "client": self.client.address,
            "request_id": self.request_id,
        }

    def _shown_path(self) -> str:
        """The path as it was sent; one that names a module is whole, for the record of who was given what."""
        path = self.uri.partition(b"?")[0].decode("ascii", "replace")
        # Who asks for a whole URL, as of a forwarding proxy, may have put a password into it.
        return _USERINFO.sub("//", path)[: LONGEST + len(self.site.prefix)]

    def _said(self) -> dict[str, object]:
        """What the routes have found out."""
        return {
            "route": self.route,
            "module": self.module,
            "version": self.version,
            "cache": self.cache,
            "age": self.age,
            **({"user": self.asker.name} if self.asker.name else {}),
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
            **self._said(),
            status=NOBODY_WAITED if lost and not self.startedWriting else self.code,
            bytes=self.sentLength,
        )
        this.close()
        event = line(this, self.method.decode("ascii", "replace"))
        if lost:
            event["client-left"] = True
        with this.inside():
            self.site.access(event)


class AthensSite(Site):
    """Knows which requests are under way, so that it can wait for them at the end."""

    displayTracebacks = False
    protocol = HotChannel  # type: ignore[assignment]  # without HTTP/2 there is nothing to choose between

    def __init__(
        self,
        resource: IResource,
        rendered: RenderedAnswers | None = None,
        access: Write = write_event,
        *,
        most: int = 0,
        most_of_one: int = 0,
        prefix: str = "",
        force_ssl: bool = False,
        proxies: Proxies = Proxies(),  # noqa: B008 - it never changes
        door: Doorkeeper | None = None,
        **kwargs: Any,
    ) -> None:
        """``rendered``: the answers of the fast lane, if it is to be used.  ``access`` writes the lines of requests.

        There are at most ``most`` connections at a time, ``most_of_one`` from one address that is no proxy of ours; 0
        is no limit.  All paths begin with ``prefix``.  ``force_ssl`` serves clients with a secure connection alone.
        """
        super().__init__(resource, requestFactory=AthensRequest, **kwargs)
        self.rendered = rendered
        self.access = access
        self.busy: set[AthensRequest] = set()
        self.draining = False
        self.prefix = prefix.encode()
        self.force_ssl = force_ssl
        self.proxies = proxies
        self.door = door
        self._most, self._most_of_one = most, most_of_one
        self._channels: dict[Any, str] = {}
        self._of_one: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._idle: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Any:
        """A channel; or ``None``, which closes the connection, when there are enough of them."""
        host = address_of(addr)
        if 0 < self._most <= len(self._channels):
            self._refuse("MaxConnections", host)
            return None
        if 0 < self._most_of_one <= self._of_one[host] and host != UNIX and host not in self.proxies:
            self._refuse("MaxConnectionsPerClient", host)
            return None
        channel = super().buildProtocol(addr)
        self._channels[channel] = host
        self._of_one[host] += 1
        return channel

    def gone(self, channel: object) -> None:
        """This connection is lost."""
        host = self._channels.pop(channel, None)
        if host is not None:
            self._of_one[host] -= 1
            if not self._of_one[host]:
                del self._of_one[host]
                self._refused.discard(host)

    def _refuse(self, bound: str, host: str) -> None:
        """Say it once for each client, until it has left altogether."""
        if host not in self._refused and len(self._refused) < MOST_NAMED:
            self._refused.add(host)
            log.warning("connections refused", bound=bound, client=host)

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers to a client: our channel has no HTTP/2."""
        return [b"http/1.1"]

    @property
    def connections(self) -> int:
        """How many connections are open; a thread may ask too."""
        return len(self._channels)

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
