"""The home page: how to use this proxy, what is in it, how it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from twisted.web.template import Tag, tags

from athensd.interfaces import IndexLine
from athensd.web.html.page import copyable, frame, module_link, moment
from athensd.web.html.search import Found

ROOT = "./"


@frozen
class Home:
    """What is on it.

    ``base`` is the GOPROXY that leads here, and ``no_sums`` the patterns of modules about which no checksum database
    is asked.  ``trouble`` is what ails the store, ``found`` what a search for ``query`` gave.
    """

    base: str
    no_sums: str
    login: bool
    trouble: str
    newest: Sequence[IndexLine]
    searchable: bool
    query: str = ""
    found: Found | None = None
    failed: str = ""


def home_page(home: Home) -> Tag:
    """The whole page."""
    title = f"{home.query} - athensd" if home.query else "athensd, a Go module proxy"
    return frame(title, ROOT, tags.h1("A Go module proxy"), *_search(home), *_use(home), *_newest(home), *_health(home))


def _use(home: Home) -> Iterator[Any]:
    yield tags.h2("Use it")
    yield tags.p("It fetches each module version once, keeps it, and serves the same bytes for ever.")
    sums = f"go env -w GONOSUMDB={home.no_sums}\n" if home.no_sums else ""
    yield copyable(f"go env -w GOPROXY={home.base}\n{sums}", "Commands to use this proxy")
    if sums:
        yield tags.p("The second line is for modules that no public checksum database may hear of.", class_="less")
    yield tags.p("If there are modules that go is to get past this proxy, say where they are:", class_="less")
    yield copyable("go env -w GOPRIVATE=corp.example", "Command for modules past this proxy")
    if home.login:
        yield tags.p("This proxy wants a login from go too: put it into ", tags.code("~/.netrc"), ".", class_="less")


def _search(home: Home) -> Iterator[Any]:
    what = "Search for a module" if home.searchable else "Whole path of a module"
    yield tags.form(
        tags.label(what, for_="q"),
        tags.input(
            type="search", id="q", name="q", value=home.query, maxlength="200", autocomplete="off", spellcheck="false"
        ),
        tags.button("Search", type="submit"),
        action=ROOT,
        method="get",
        role="search",
    )
    if not home.query:
        return
    yield tags.h2(f"Modules with “{home.query}” in their path")
    if home.found is None:
        yield tags.p(f"The store could not be searched: {home.failed}", class_="bad", role="alert")
        return
    found = home.found
    if found.paths:
        yield tags.ul(
            *(tags.li(tags.a(path, href=module_link(ROOT, path))) for path in found.paths), class_="plain", id="found"
        )
    else:
        yield tags.p("None is stored here." if found.whole or not home.searchable else "None so far.")
    if found.next:
        more = urlencode({"q": home.query, "token": found.next})
        yield tags.p("The search was cut off here. ", tags.a("Search on", href=f"{ROOT}?{more}"))
    elif not found.whole:
        yield tags.p("The search was cut off here; the whole path of a module finds it in any case.", class_="less")


def _newest(home: Home) -> Iterator[Any]:
    if home.newest:
        yield tags.h2("Newest here")
        yield tags.ul(
            *(
                tags.li(
                    tags.a(str(line.version), href=module_link(ROOT, line.version.path, line.version.version)),
                    " ",
                    tags.span(moment(line.when), class_="less"),
                )
                for line in home.newest
            ),
            class_="plain",
        )


def _health(home: Home) -> Iterator[Any]:
    yield tags.h2("Health")
    if home.trouble:
        yield tags.p(f"The store cannot be used: {home.trouble}", class_="bad", role="alert")
    else:
        yield tags.p("The store can be read and written.")
