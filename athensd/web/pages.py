"""Everything beside the download protocol, in Athens' shapes: pages, health, version, robots, catalog and index."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from klein import Klein
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import Tag

from athensd import __version__
from athensd.blob import BytesBlob
from athensd.errors import AthensError, InvalidPath, InvalidRequest, NotFound, NotLoggedIn, StorageFailed, Unsupported
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.interfaces import ICatalog, IIndex, IndexLine, IStorage, Page
from athensd.policy.revoked import Revoked
from athensd.steps import Step
from athensd.waiting import within
from athensd.web.download import JSON, TEXT
from athensd.web.html.health import PATIENCE, StoreHealth
from athensd.web.html.home import Exporter, Home, home_page
from athensd.web.html.known import KnownPaths
from athensd.web.html.module import Module, look_at, module_page
from athensd.web.html.now import Fetch, Now, fetches, now_page
from athensd.web.html.own_home import OwnHome
from athensd.web.html.page import CSS, HTML, POLICY, refusal, render
from athensd.web.html.search import search
from athensd.web.html.times import Newest, StoredTimes
from athensd.web.reply import A_MINUTE, NEVER, Content, kept_by, send, status_of
from athensd.web.request import AthensRequest

T = TypeVar("T")
PAGE_SIZE = 1000
LARGEST_PAGE = 10_000
INDEX_LIMIT = 2000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
NEWEST = 10
TITLES = {404: "Not found", 403: "Not for you", 400: "This makes no sense", 500: "The store cannot be used"}
HINTS = {404: "There are pages of what is stored here; what is not is fetched when go asks for it. "}
LONGEST_QUERY = 200
STYLE = Path(__file__).with_name("html").joinpath("style.css")


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an ``Accept`` header to the metrics as text and their content type."""


class PageRoutes:
    """``robots`` is the text of ``/robots.txt``; without ``metrics`` there is no ``/metrics``.

    ``own_home`` stands in the place of our home page.  ``no_sums`` are the patterns of modules about which no checksum
    database is asked, as in ``GONOSUMDB``.  ``exporters`` are those of traces and metrics, and ``under_way`` gives the
    open steps, the oldest first; ``elsewhere`` what other workers fetch.  ``revoked`` says what is.
    """

    def __init__(
        self,
        storage: IStorage,
        index: IIndex,
        robots: bytes,
        metrics: Exposition | None = None,
        *,
        clock: IReactorTime,
        own_home: OwnHome | None = None,
        no_sums: str = "",
        exporters: Sequence[Exporter] = (),
        under_way: Callable[[], Sequence[Step]] = lambda: (),
        revoked: Callable[[], Revoked] = Revoked,
        elsewhere: Callable[[], Awaitable[Sequence[Fetch]]] = lambda: succeed(()),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._storage = storage
        self._index = index
        self._robots = robots
        self._metrics = metrics
        self._own_home = own_home
        self._no_sums = no_sums
        self._exporters = exporters
        self._under_way = under_way
        self._revoked = revoked
        self._elsewhere = elsewhere
        self._now = now
        self._clock = clock
        self._known = KnownPaths(storage, clock)
        self._health = StoreHealth(storage, clock)
        self._newest = Newest(index)
        self._times = StoredTimes(index)
        self._style = STYLE.read_bytes()

    def mount(self, app: Klein) -> None:
        """Add the routes to an application."""
        for path, handler in (
            ("/", self._home),
            ("/now", self._being_fetched),
            ("/style.css", self._style_sheet),
            ("/mod/<path:escaped>", self._module),
            ("/healthz", self._healthz),
            ("/readyz", self._readyz),
            ("/version", self._version),
            ("/robots.txt", self._robots_txt),
            ("/catalog", self._catalog),
            ("/index", self._index_lines),
            ("/metrics", self._exposition),
        ):
            app.route(path, methods=["GET"])(handler)

    def changed(self, path: str) -> None:
        """Something of this module was stored or deleted."""
        self._known.changed(path)

    async def _home(self, request: AthensRequest) -> bytes | None:
        scheme = "https" if request.client.secure else "http"
        base = f"{scheme}://{request.asked_host()}{request.site.prefix.decode()}"
        values = {"Host": base, "NoSumPatterns": self._no_sums}
        own = self._own_home.page(values) if self._own_home and not _query(request) else None
        if own is not None:
            # What this page loads is for its author to say.
            await _send(request, own.encode(), HTML)
            return None
        return await _show(request, self._read_home(request, base), home_page)

    async def _read_home(self, request: AthensRequest, base: str) -> Home:
        """What is on the home page; of what ails the store or the index the rest of the page is none the worse."""
        query = _query(request)
        home = Home(
            base=base,
            no_sums=self._no_sums,
            login=request.site.door is not None and request.site.door.closed,
            searchable=ICatalog.providedBy(self._storage),
            exporters=self._exporters,
            fetches=len(await self._fetches(request)),
            query=query,
        )
        if query:
            return await self._search(request, home)
        if home.searchable:
            self._known.look()  # for whoever searches next
        asking = Deferred.fromCoroutine(self._health.trouble())
        index_trouble, lines = await self._newest_lines(request.sees)
        return evolve(home, trouble=await asking, index_trouble=index_trouble, newest=lines)

    async def _newest_lines(self, sees: Callable[[str], bool]) -> tuple[str, Sequence[IndexLine]]:
        """What ails the index, and its newest lines."""
        reading = self._newest.of(self._now(), NEWEST, sees)
        try:
            return "", await within(self._clock, PATIENCE, reading, "reading it")
        except AthensError as error:
            return str(error), ()

    async def _search(self, request: AthensRequest, home: Home) -> Home:
        try:
            found = await search(self._storage, self._known, request.sees, home.query, _argument(request, "after"))
        except StorageFailed as error:
            return evolve(home, failed=str(error))
        return evolve(home, found=found)

    async def _fetches(self, request: AthensRequest) -> list[Fetch]:
        found = [*fetches(self._under_way(), time.perf_counter()), *await self._elsewhere()]
        return [fetch for fetch in found if request.sees(fetch.path)]

    async def _being_fetched(self, request: AthensRequest) -> bytes | None:
        async def look() -> Now:
            return Now(await self._fetches(request), self._now(), bool(_argument(request, "refresh")))

        return await _show(request, look(), now_page)

    async def _style_sheet(self, request: AthensRequest) -> None:
        await send(request, Content(BytesBlob(self._style), CSS, kept_by(A_MINUTE, request.private)))

    async def _module(self, request: AthensRequest, escaped: str) -> bytes | None:
        if request.route != "module":
            raise InvalidPath("the path of no module begins with mod/")
        root = "../" * (request.path.count(b"/") - 1)
        return await _show(request, self._read_module(request, escaped), lambda module: module_page(module, root))

    async def _read_module(self, request: AthensRequest, escaped: str) -> Module:
        path, _, version = escaped.partition("@")
        request.module = unescape_path(path)
        request.version = unescape_version(version) if version else ""
        request.admit(request.module)
        return await look_at(self._storage, self._times, request.module, request.version, self._revoked())

    async def _healthz(self, request: AthensRequest) -> None:
        await _send(request, b"", JSON)

    async def _readyz(self, request: AthensRequest) -> None:
        """Ready when the store can be written; Athens answers 500 otherwise, and so do we, with the reason."""
        await self._storage.check()
        await _send(request, b"", TEXT)

    async def _version(self, request: AthensRequest) -> None:
        await _send(request, _json_line({"version": __version__}), JSON)

    async def _robots_txt(self, request: AthensRequest) -> None:
        await _send(request, self._robots, TEXT)

    async def _catalog(self, request: AthensRequest) -> None:
        if not ICatalog.providedBy(self._storage):
            raise Unsupported("this store cannot list what it holds")
        size = _number(request, "pagesize", PAGE_SIZE)
        page = await _seen_page(
            ICatalog(self._storage), _argument(request, "token"), min(size, LARGEST_PAGE), request.sees
        )
        answer: dict[str, Any] = {
            "modules": [{"module": version.path, "version": version.version} for version in page.versions]
        }
        if page.next:
            answer["next"] = page.next
        await _send(request, _json_line(answer), JSON)

    async def _index_lines(self, request: AthensRequest) -> None:
        since = _time(_argument(request, "since"))
        limit = min(_number(request, "limit", INDEX_LIMIT), INDEX_LIMIT)
        lines = await _seen_lines(self._index, since, limit, request.sees)
        text = b"".join(
            _json_line(
                {
                    "Path": line.version.path,
                    "Version": line.version.version,
                    "Timestamp": line.when.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                }
            )
            for line in lines
        )
        await _send(request, text, JSON)

    async def _exposition(self, request: AthensRequest) -> None:
        if self._metrics is None:
            raise NotFound('there are no metrics to be had here (StatsExporter is not "prometheus")')
        text, type = await self._metrics(request.getHeader("accept") or "")
        await _send(request, text, type)


async def _show(request: AthensRequest, reading: Awaitable[T], page: Callable[[T], Tag]) -> bytes | None:
    """Send the page of what is read; or return one that says why there is none."""
    request.setHeader("Content-Security-Policy", POLICY)
    request.setHeader("X-Content-Type-Options", "nosniff")
    try:
        what = await reading
    except NotLoggedIn:
        raise
    except AthensError as error:
        status, _ = status_of(error)
        root = "../" * (request.path.count(b"/") - 1) or "./"
        title, hint = TITLES.get(status, "This cannot be shown"), HINTS.get(status, "")
        body = await render(refusal(title, root, str(error), hint, request.request_id))
        request.setResponseCode(status)
        request.setHeader("Content-Type", HTML)
        request.setHeader("Cache-Control", NEVER)
        request.setHeader("Content-Length", str(len(body)))
        return body
    await _send(request, await render(page(what)), HTML)
    return None


async def _seen_page(catalog: ICatalog, token: str, size: int, sees: Callable[[str], bool]) -> Page:
    """A page of what may be seen.  It ends with such a version too, for its token may name the last one."""
    while True:
        page = await catalog.page(token, size)
        seen = [version for version in page.versions if sees(version.path)]
        if not page.next or (seen and seen[-1] is page.versions[-1]):
            return Page(seen, page.next)
        if seen:
            size = list(page.versions).index(seen[-1]) + 1
        else:
            token = page.next


async def _seen_lines(index: IIndex, since: datetime, limit: int, sees: Callable[[str], bool]) -> Sequence[IndexLine]:
    """So many lines of what may be seen; fewer are the end."""
    seen: list[IndexLine] = []
    while True:
        lines = await index.since(since, limit)
        seen += (line for line in lines if sees(line.version.path))
        if len(lines) < limit or len(seen) >= limit:
            return seen[:limit]
        since = lines[-1].when + timedelta(microseconds=1)


async def _send(request: AthensRequest, body: bytes, type: str) -> None:
    await send(request, Content(BytesBlob(body), type, NEVER))


def _json_line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _argument(request: AthensRequest, name: str) -> str:
    values: list[bytes] = request.args.get(name.encode(), [b""])
    return values[-1].decode("utf-8", "replace").strip()


def _query(request: AthensRequest) -> str:
    """What is searched for."""
    return _argument(request, "q")[:LONGEST_QUERY]


def _number(request: AthensRequest, name: str, default: int) -> int:
    text = _argument(request, name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0):
        raise InvalidRequest(f"{name}={text!r} must be a number from 1")
    return int(text[:10])


def _time(text: str) -> datetime:
    if not text:
        return BEGINNING
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = datetime.max
    if when.tzinfo is None:
        raise InvalidRequest(f"since={text!r} must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
    return when
