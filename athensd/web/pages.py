"""Everything beside the download protocol: home, health, version, robots, catalog and index, in Athens' shapes."""

from __future__ import annotations

import html
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from klein import Klein

from athensd import __version__
from athensd.blob import BytesBlob
from athensd.errors import InvalidRequest, NotFound, Unsupported
from athensd.interfaces import ICatalog, IIndex, IndexLine, IStorage, Page
from athensd.web.download import JSON, TEXT
from athensd.web.reply import NEVER, Content, send
from athensd.web.request import AthensRequest

PAGE_SIZE = 1000
LARGEST_PAGE = 10_000
INDEX_LIMIT = 2000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

HOME = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>athensd, a Go module proxy</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }}
  pre {{ background: #f3f3f3; color: #111; padding: 1rem; overflow-x: auto }}
</style>
<h1>athensd</h1>
<p>This is a Go module proxy. It fetches each module version once, keeps it, and serves the same bytes for ever.</p>
<p>To use it:</p>
<pre>go env -w GOPROXY={base}
go mod download</pre>
<p>See what is here: <a href="catalog">catalog</a>, <a href="index">index</a>.
   How it is: <a href="healthz">alive</a>, <a href="readyz">ready</a>, <a href="version">version {version}</a>.</p>
</html>
"""


Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an ``Accept`` header to the metrics as text and their content type."""


class PageRoutes:
    """``robots`` is the text of ``/robots.txt``; without ``metrics`` there is no ``/metrics``."""

    def __init__(self, storage: IStorage, index: IIndex, robots: bytes, metrics: Exposition | None = None) -> None:
        self._storage = storage
        self._index = index
        self._robots = robots
        self._metrics = metrics

    def mount(self, app: Klein) -> None:
        """Add the routes to an application."""
        for path, handler in (
            ("/", self._home),
            ("/healthz", self._healthz),
            ("/readyz", self._readyz),
            ("/version", self._version),
            ("/robots.txt", self._robots_txt),
            ("/catalog", self._catalog),
            ("/index", self._index_lines),
            ("/metrics", self._exposition),
        ):
            app.route(path, methods=["GET"])(handler)

    async def _home(self, request: AthensRequest) -> None:
        host = request.client.host or request.getHeader("host") or "localhost"
        prefix = request.site.prefix.decode()
        base = html.escape(f"{'https' if request.client.secure else 'http'}://{host}{prefix}")
        page = HOME.format(base=base, version=__version__)
        await _send(request, page.encode(), "text/html; charset=utf-8")

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
