"""The home page: how to use this proxy, what is in it, how it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode

from attrs import frozen
from twisted.web.template import Tag, tags

from athensd.interfaces import IndexLine
from athensd.web.html.page import copyable, frame, module_link, moment
from athensd.web.html.search import Found

ROOT = "./"


class Exporter(Protocol):
    """Where traces or metrics are sent to."""

    @property
    def name(self) -> str:
        """What is sent where, in words."""

    @property
    def tried(self) -> bool:
        """Whether anything was sent until now, or should have been."""

    @property
    def away(self) -> datetime | None:
        """Since when nothing arrives; ``None`` while all is well."""


@frozen
class Home:
    """What is on it.

    ``base`` is the GOPROXY that leads here, and ``no_sums`` the patterns of modules about which no checksum database
    is asked.  ``fetches`` are so many under way, ``trouble`` is what ails the store, ``index_trouble`` the index, and
    ``found`` what a search for ``query`` gave.
    """

    base: str
    no_sums: str
    login: bool
    searchable: bool
    exporters: Sequence[Exporter]
    fetches: int
    trouble: str = ""
    index_trouble: str = ""
    newest: Sequence[IndexLine] = ()
    query: str = ""
    found: Found | None = None
    failed: str = ""


def home_page(home: Home) -> Tag:
    """The whole page; with a query it is about what was found."""
    if home.query:
        title = f"Modules with “{home.query}” in their path"
        return frame(f"{home.query} - athensd", ROOT, tags.h1(title), _field(home), *_found(home))
    return frame(
        "athensd, a Go module proxy",
        ROOT,
        tags.h1("A Go module proxy"),
        tags.p("It fetches each module version once, keeps it, and serves the same bytes for ever."),
        *_trouble(home),
        _field(home),
        tags.div(
            tags.div(tags.section(*_use(home)), tags.section(*_newest(home))),
            tags.section(*_health(home)),
            class_="columns",
        ),
        here="",
    )


def _trouble(home: Home) -> Iterator[Any]:
    if home.trouble:
        yield tags.p(f"The store cannot be used: {home.trouble}", class_="bad", role="alert")


def _use(home: Home) -> Iterator[Any]:
    yield tags.h2("Use it")
    sums = f"go env -w GONOSUMDB={home.no_sums}\n" if home.no_sums else ""
    yield copyable(f"go env -w GOPROXY={home.base}\n{sums}", "Commands to use this proxy")
    if sums:
        yield tags.p("The second line is for modules that no public checksum database may hear of.", class_="less")
    yield tags.p("If there are modules that go is to get past this proxy, say where they are:", class_="less")
    yield copyable("go env -w GOPRIVATE=corp.example", "Command for modules past this proxy")
    if home.login:
        yield tags.p("This proxy wants a login from go too: put it into ", tags.code("~/.netrc"), ".", class_="less")


def _field(home: Home) -> Tag:
    what = "Search for a module" if home.searchable else "Whole path of a module"
    return tags.form(
        tags.label(what, for_="q"),
        tags.input(
            type="search", id="q", name="q", value=home.query, maxlength="200", autocomplete="off", spellcheck="false"
        ),
        tags.button("Search", type="submit"),
        action=ROOT,
        method="get",
        role="search",
    )


def _found(home: Home) -> Iterator[Any]:
    if home.found is None:
        yield tags.p(f"The store could not be searched: {home.failed}", class_="bad", role="alert")
        return
    found = home.found
    if found.paths:
        links = (tags.li(tags.a(path, href=module_link(ROOT, path))) for path in found.paths)
        yield tags.ul(*links, class_="plain rows", id="found")
    else:
        yield tags.p("None is stored here.", class_="empty")
    if found.next:
        more = urlencode({"q": home.query, "after": found.next})
        yield tags.p("There are more. ", tags.a("Show those that follow", href=f"{ROOT}?{more}"))
    elif not found.whole and home.searchable:
        yield tags.p(
            "There may be more: not all of the catalog is known yet, or it is too large. "
            "The whole path of a module finds it in any case.",
            class_="less",
        )


def _newest(home: Home) -> Iterator[Any]:
    if home.newest:
        yield tags.h2("Newest here")
        yield tags.ul(
            *(
                tags.li(
                    tags.a(str(line.version), href=module_link(ROOT, line.version.path, line.version.version)),
                    " ",
                    moment(line.when),
                )
                for line in home.newest
            ),
            class_="plain rows dated",
        )


def _health(home: Home) -> Iterator[Any]:
    yield tags.h2("Health")
    store = ("cannot be used", "bad") if home.trouble else ("can be read and written", "well")
    rows = [_row("Store", store[0], state=store[1])]
    if home.index_trouble:
        rows.append(_row("Index", f"cannot be read: {home.index_trouble}", state="bad"))
    rows += [_delivery(exporter) for exporter in home.exporters]
    rows.append(_row("Fetches", tags.a(f"{home.fetches or 'none'} under way", href=f"{ROOT}now")))
    yield tags.dl(*rows, class_="health")


def _delivery(exporter: Exporter) -> Tag:
    name = f"{exporter.name[0].upper()}{exporter.name[1:]}"
    if exporter.away:
        return _row(name, "not delivered since ", moment(exporter.away), "; the log says why", state="bad")
    return _row(name, "delivered", state="well") if exporter.tried else _row(name, "nothing was sent yet")


def _row(name: str, *what: Any, state: str = "") -> Tag:
    return tags.div(tags.dt(name), tags.dd(*what, class_=state))
