"""A whole athensd but for its sockets: real routes, proxy and disk store, over an origin that is a table."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import NotFound
from athensd.flight.memory import MemoryFlight
from athensd.freshness import Freshness
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.index.memory import MemoryIndex
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.proxy import Proxy
from athensd.spool import Spool
from athensd.stash import Stash
from athensd.storage.disk import DiskStorage
from athensd.web.download import DownloadRoutes
from athensd.web.pages import PageRoutes
from athensd.web.rendered import RenderedAnswers
from athensd.web.request import AthensSite
from athensd.web.routes import site_resource
from athensd.whose import whose
from tests.fakes import FakeSums

PATH = "example.test/Big/m"
ESCAPED = "/example.test/!big/m"
VERSION = "v1.0.0"
MOD = f"module {PATH}\n".encode()
INFO = b'{"Version":"v1.0.0","Time":"2024-01-02T03:04:05Z"}'
CLIENT = IPv4Address("TCP", "192.0.2.7", 4711)


def make_zip(path: str, version: str, extra: bytes = b"package m\n") -> bytes:
    """A module zip of a go.mod and one file, stored without compression."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{path}@{version}/go.mod", f"module {path}\n")
        archive.writestr(f"{path}@{version}/m.go", extra)
    return out.getvalue()


@implementer(IOrigin)
class TableOrigin:
    """Knows the versions of ``PATH`` and remembers what it was asked; ``failing`` is raised instead of an answer."""

    def __init__(self, versions: Sequence[str] = (VERSION,)) -> None:
        self.versions = list(versions)
        self.asked: list[str] = []
        self.clients: list[str] = []  # for whom
        self.failing: Exception | None = None
        self.zip = make_zip(PATH, VERSION)
        self.waiting: Deferred[None] | None = None

    async def list(self, path: str) -> Sequence[Listed]:
        await self._ask(f"{path} list", path)
        return [Listed(version) for version in self.versions]

    async def resolve(self, path: str, query: str) -> Info:
        await self._ask(f"{path}@{query}", path)
        if query not in {"latest", "main"}:
            raise NotFound(f"{path}@{query}: unknown revision")
        return Info(self.versions[-1])

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        await self._ask(f"{version}.{kind.value}", version.path)
        if version.version not in self.versions:
            raise NotFound(f"{version}: unknown revision")
        if kind is not Kind.ZIP:
            return {kind: BytesBlob(INFO if kind is Kind.INFO else MOD)}
        into.mkdir(exist_ok=True)
        (into / "zip").write_bytes(self.zip)
        return {kind: FileBlob(into / "zip", len(self.zip))}

    async def _ask(self, question: str, path: str) -> None:
        self.asked.append(question)
        self.clients.append(whose())
        if self.waiting is not None:
            await self.waiting
        if self.failing is not None:
            raise self.failing
        if path != PATH:
            raise NotFound(f"{path}: no such module")


@frozen
class Response:
    """An answer as it came over the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def lines(self) -> list[str]:
        return self.body.decode().split("\n")


@frozen
class Connection:
    """One client's connection, in memory."""

    protocol: Any
    transport: StringTransport = field(factory=lambda: StringTransport(peerAddress=CLIENT))

    def send(self, raw: bytes) -> bytes:
        """Send bytes and return all that has come back until now."""
        self.protocol.dataReceived(raw)
        return self.transport.value()

    def hang_up(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionResetError()))


class Daemon:
    """Everything under ``root``; ``origin`` and ``clock`` are the test's to turn."""

    lane = True

    def __init__(
        self, root: Path, private: str = "", storage: Callable[[DiskStorage], Any] = lambda disk: disk
    ) -> None:
        self.root = root
        self.clock = Clock()
        self.origin = TableOrigin()
        self.rendered = RenderedAnswers(1_000_000, self.clock.seconds)
        self.spool = Spool(root / "spool")
        self.disk = DiskStorage(root / "store", self.spool, at_once)
        self.storage = storage(self.disk)
        self.index = MemoryIndex()
        self.flight = MemoryFlight()
        self.freshness = Freshness(self.flight, self.clock.seconds, changed=self.rendered.forget)
        stash = Stash(
            storage=self.storage,
            origin=self.origin,
            index=self.index,
            flight=self.flight,
            spool=self.spool,
            clock=self.clock,
            in_thread=at_once,
            published=self.published,
            sums=FakeSums(),
            timeout=300,
        )
        self.proxy = Proxy(
            storage=self.storage,
            origin=self.origin,
            stash=stash,
            freshness=self.freshness,
            clock=self.clock,
            timeout=60,
        )
        self.pages = PageRoutes(self.storage, self.index, b"User-agent: *\nDisallow: /\n", clock=self.clock)
        root_resource = site_resource(DownloadRoutes(self.proxy, private), self.pages)
        self.site = AthensSite(root_resource, self.rendered if self.lane else None, timeout=None)

    def published(self, version: ModuleVersion) -> None:
        self.freshness.learn(version)
        self.rendered.forget(version.path)

    def connect(self) -> Connection:
        protocol: Any = self.site.buildProtocol(CLIENT)
        connection = Connection(protocol)
        protocol.makeConnection(connection.transport)
        return connection

    def ask(self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
        """The answer to one request; the target goes out as it is, in Latin-1."""
        lines = [f"{method} {target} HTTP/1.1", "Host: proxy.test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        raw = self.connect().send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        assert raw, "nothing was answered"
        return parse(raw)


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a thread would do, done here."""
    return function(*arguments)


def parse(raw: bytes) -> Response:
    """One whole response; what follows the head is its body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
    return Response(int(status.split()[1]), headers, body)


def check_refusal(answer: Response) -> None:
    """Fail unless the go command would show this refusal whole (``cmd/go/internal/web``, ``formatErrorDetail``)."""
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(answer.body) == int(answer.headers["content-length"]) <= 648
    *lines, end = answer.lines
    assert end == ""
    assert 1 <= len(lines) <= 8
    assert all(line.strip() and line.isprintable() for line in lines)
    assert lines[-1] == f"request id: {answer.headers['athens-request-id']}"
