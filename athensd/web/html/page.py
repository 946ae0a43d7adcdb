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

PAGES = {"": "Home", "now": "Being fetched"}
"""The pages that each page leads to."""


def frame(title: str, root: str, *content: Any, here: str | None = None, refresh: int = 0) -> Tag:
    """A whole page; ``root`` leads from it to the home page.

    ``here`` is its name, if the page is one of those in the head.  It comes anew every ``refresh`` seconds; 0 is never.
    """
    return tags.html(
        tags.head(
            tags.meta(charset="utf-8"),
            tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
            *([tags.meta(**{"http-equiv": "refresh", "content": str(refresh)})] if refresh else []),
            tags.title(title),
            tags.link(rel="stylesheet", href=f"{root}style.css"),
        ),
        tags.body(
            tags.a("To the content", href="#content", class_="skip"),
            tags.header(
                tags.a("athensd", href=root, class_="name"),
                tags.nav(*(_to(name, root, here) for name in PAGES), **{"aria-label": "Pages"}),
            ),
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


def _to(name: str, root: str, here: str | None) -> Tag:
    """The way to one of the pages."""
    link = tags.a(PAGES[name], href=f"{root}{name}")
    return link(**{"aria-current": "page"}) if name == here else link


async def render(page: Tag) -> bytes:
    """The page as it is sent."""
    return b"<!doctype html>\n" + await flattenString(None, page)


def refusal(title: str, root: str, text: str, hint: str, request_id: str) -> Tag:
    """Why there is no page, and what to make of it."""
    return frame(
        f"{title} - athensd",
        root,
        tags.h1(title),
        tags.p(text, class_="bad", role="alert"),
        tags.p(hint, tags.a("Search for a module", href=f"{root}#q")),
        tags.p(f"request id: {request_id}", class_="less"),
    )


def copyable(text: str, label: str) -> Tag:
    """Text that a click selects as a whole, and that the keyboard can reach and scroll."""
    return tags.pre(tags.code(text), tabindex="0", role="group", class_="copy", **{"aria-label": label})


def module_link(root: str, path: str, version: str = "") -> str:
    """Where the page of a module is, or that of a version of it."""
    at = f"@{escape_version(version)}" if version else ""
    return f"{root}mod/{quote(escape_path(path) + at, safe='/!@+~')}"


def moment(when: datetime, *, seconds: bool = False) -> Tag:
    """A time to the minute; of a time of just now, without its day, to the second."""
    utc = when.astimezone(UTC)
    shown = f"{utc:%H:%M:%S} UTC" if seconds else f"{utc:%Y-%m-%d %H:%M} UTC"
    return tags.time(shown, datetime=f"{utc:%Y-%m-%dT%H:%M:%SZ}")


def facts(rows: Sequence[tuple[str, Any]]) -> Tag:
    """What is known of something, by name."""
    return tags.dl(*(tags.div(tags.dt(name), tags.dd(what)) for name, what in rows), class_="facts")
