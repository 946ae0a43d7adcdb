"""What all pages have in common: the frame around them, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from twisted.web.template import Tag, flattenString, tags

from athensd import __version__
from athensd.gomod.escape import escape_path, escape_version

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""Our pages load their own stylesheet and nothing else (Content-Security-Policy)."""


def frame(title: str, root: str, *content: Any) -> Tag:
    """A whole page; ``root`` leads from it to the home page."""
    return tags.html(
        tags.head(
            tags.meta(charset="utf-8"),
            tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
            tags.title(title),
            tags.link(rel="stylesheet", href=f"{root}style.css"),
        ),
        tags.body(
            tags.a("To the content", href="#content", class_="skip"),
            tags.header(tags.a("athensd", href=root), " a Go module proxy"),
            Tag("main")(*content, id="content"),
            tags.footer(
                tags.nav(
                    *(
                        tags.a(name, href=f"{root}{name}")
                        for name in ("catalog", "index", "healthz", "readyz", "version")
                    ),
                    **{"aria-label": "For programs"},
                ),
                tags.p(f"athensd {__version__}"),
            ),
        ),
        lang="en",
    )


async def render(page: Tag) -> bytes:
    """The page as it is sent."""
    return b"<!doctype html>\n" + await flattenString(None, page)


def refusal(title: str, root: str, text: str, request_id: str) -> Tag:
    """Why there is no page."""
    return frame(
        f"{title} - athensd", root, tags.h1(title), tags.p(text), tags.p(f"request id: {request_id}", class_="less")
    )


def copyable(text: str, label: str) -> Tag:
    """Text that a click selects as a whole, and that the keyboard can reach and scroll."""
    return tags.pre(tags.code(text), tabindex="0", role="group", class_="copy", **{"aria-label": label})


def module_link(root: str, path: str, version: str = "") -> str:
    """Where the page of a module is, or that of a version of it."""
    at = f"@{escape_version(version)}" if version else ""
    return f"{root}mod/{quote(escape_path(path) + at, safe='/!@+~')}"


def moment(when: datetime) -> Tag:
    """A time to the minute."""
    utc = when.astimezone(UTC)
    return tags.time(f"{utc:%Y-%m-%d %H:%M} UTC", datetime=f"{utc:%Y-%m-%dT%H:%M:%SZ}")


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Tag:
    """Rows under their heads; the first cell of each row is its name."""
    return tags.table(
        tags.caption(caption),
        tags.thead(tags.tr(*(tags.th(head, scope="col") for head in heads))),
        tags.tbody(*(tags.tr(tags.th(row[0], scope="row"), *(tags.td(cell) for cell in row[1:])) for row in rows)),
    )
