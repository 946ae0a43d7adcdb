"""The pages for people: home, search, a module."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from athensd.doors.door import Doorkeeper, Keys
from athensd.doors.rules import parse_rules
from athensd.errors import InvalidPath, StorageFailed
from athensd.gomod.escape import escape_path
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import h1_of_mod
from athensd.index.memory import MemoryIndex
from athensd.interfaces import ICatalog, IStorage, Page
from athensd.policy.revoked import parse_revoked
from athensd.web.html import health as health_room
from athensd.web.html import known as knowing
from athensd.web.html import search as searching
from athensd.web.html.health import StoreHealth
from athensd.web.html.known import FRESH, PATIENCE, KnownPaths
from athensd.web.html.module import ROWS, size
from athensd.web.html.own_home import OwnHome, Template
from athensd.web.html.retracted import MOST, Retraction, retractions
from athensd.web.html.search import Found, search
from athensd.web.html.times import LINES, Newest, StoredTimes
from athensd.web.paths import route_of
from tests.fakes import result_of
from tests.web.fakes import ESCAPED, MOD, PATH, VERSION, Daemon, Response, at_once, check_refusal

WEIGHT = 60_000
VOID = {"meta", "link", "input"}


class Read(HTMLParser):
    """A page as it is read; it fails for a tag that is not closed."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(answer.body.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [value for name, attrs in self.tags if name == tag and (value := attrs.get(attribute)) is not None]


def store(daemon: Daemon, path: str, version: str = "v1.0.0", go_mod: str = "", when: bool = True) -> None:
    """Put a version into the store and the index."""
    folder = daemon.root / "store" / escape_path(path) / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{version}.info").write_text(f'{{"Version":"{version}","Time":"2024-01-02T03:04:05Z"}}')
    (folder / f"{version}.mod").write_text(go_mod or f"module {path}\n")
    (folder / f"{version}.zip").write_bytes(b"x" * 1234)
    (folder / f"{version}.ziphash").write_text(f"h1:{version}=")
    if when:
        result_of(daemon.index.add(ModuleVersion(path, version)))


def page(daemon: Daemon, target: str, status: int = 200, **headers: str) -> Read:
    """A page that is there, and is as all of ours are."""
    answer = daemon.ask(target, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.body) == int(answer.headers["content-length"]) <= WEIGHT
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    assert "unsafe" not in policy
    read = Read(answer)
    names = [name for name, _ in read.tags]
    assert not {"script", "style", "img", "iframe"} & set(names)
    assert not [attrs for _, attrs in read.tags for name in attrs if name == "style" or name.startswith("on")]
    assert read.all("html", "lang") == ["en"]
    # A way for each kind of reader: landmarks, one heading of the first rank, a name for each field.
    assert {"header", "main", "nav", "footer"} <= set(names)
    assert names.count("h1") == 1
    assert read.all("label", "for") == read.all("input", "id")
    assert all("aria-label" in attrs for name, attrs in read.tags if name in {"pre", "nav"})
    assert len(read.all("th", "scope")) == names.count("th")
    return read


def resolved(target: str, link: str) -> str:
    """Where a relative link of a page leads to."""
    parts = target.partition("?")[0].split("/")[:-1]
    while link.startswith("../"):
        parts, link = parts[:-1], link[3:]
    return "/".join([*parts, link.removeprefix("./")])


def test_home(daemon: Daemon) -> None:
    """The lines to copy, a field to search in, the newest versions first, and how the store is."""
    for number in range(12):
        store(daemon, f"example.test/m{number}")
    home = page(daemon, "/")
    assert "go env -w GOPROXY=http://proxy.test\n" in home.text
    assert "go env -w GOPRIVATE=" in home.text
    assert "Storecan be read and written" in home.text
    assert home.all("input", "name") == ["q"]
    links = [link for link in home.all("a", "href") if link.startswith("./mod/")]
    assert links == [f"./mod/example.test/m{number}@v1.0.0" for number in range(11, 1, -1)]


def test_home_of_patterns(daemon: Daemon) -> None:
    """Where no checksum database is asked about some modules, clients are told to ask none either."""
    daemon.pages._no_sums = "corp.test,*.corp.test"
    assert "GOPROXY=http://proxy.test\ngo env -w GONOSUMDB=corp.test,*.corp.test" in page(daemon, "/").text


def test_every_link_leads_somewhere(daemon: Daemon) -> None:
    """From each page to all that it names: relative, so that it holds under any prefix."""
    store(daemon, PATH, "v1.0.0")
    store(daemon, PATH, "v1.2.0+incompatible")
    seen: set[str] = set()
    ahead = ["/", "/?q=BIG", "/mod/no.test/m"]
    while ahead:
        target = ahead.pop()
        if target in seen or target.startswith("#"):
            continue
        seen.add(target)
        answer = daemon.ask(target)
        assert answer.status == (404 if "no.test" in target else 200), target
        if answer.headers["content-type"].startswith("text/html"):
            read = Read(answer)
            links = [*read.all("a", "href"), *read.all("link", "href")]
            ahead += [resolved(target, link.partition("#")[0]) for link in links if not link.startswith("#")]
    assert {
        f"/mod{ESCAPED}",
        f"/mod{ESCAPED}@v1.0.0",
        f"/mod{ESCAPED}@v1.2.0+incompatible",
        "/style.css",
        "/now",
    } <= seen


def test_the_prefix_stays(daemon: Daemon) -> None:
    """Below a prefix the page says it in the line to copy, and its links, which are relative, stay below it."""
    daemon.site.prefix = b"/go"
    home = page(daemon, "/go/")
    assert "GOPROXY=http://proxy.test/go\n" in home.text
    assert not [link for link in [*home.all("a", "href"), *home.all("link", "href")] if link.startswith("/")]
    store(daemon, PATH)
    module = page(daemon, f"/go/mod{ESCAPED}")
    assert resolved(f"/go/mod{ESCAPED}", module.all("link", "href")[0]) == "/go/style.css"


def test_the_stylesheet(daemon: Daemon) -> None:
    """It is there, for a dark room too, and light enough with any page."""
    answer = daemon.ask("/style.css")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert b"prefers-color-scheme: dark" in answer.body
    assert len(answer.body) < 8000
    assert daemon.ask("/style.css", headers={"If-None-Match": answer.headers["etag"]}).status == 304


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast(daemon: Daemon) -> None:
    """All text stands out from what is behind it, 4.5 to 1 at least, in light and in dark (WCAG 2, 1.4.3)."""
    sets = re.findall(r":root \{(.*?)\}", daemon.ask("/style.css").body.decode(), re.DOTALL)
    assert len(sets) == 2
    for one in sets:
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): (#\w+);", one)}
        for text in ("text", "less", "link", "bad", "well"):
            for ground in ("ground", "raised"):
                low, high = sorted((colours[text], colours[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_search(daemon: Daemon) -> None:
    """Modules with the words in their path, whatever their case, each once; and nothing where there is none."""
    for path, version in ((PATH, "v1.0.0"), (PATH, "v1.1.0"), ("other.test/x", "v1.0.0")):
        store(daemon, path, version)
    found = page(daemon, "/?q=bIg/")
    assert [link for link in found.all("a", "href") if "mod/" in link and "@" not in link] == [f"./mod{ESCAPED}"]
    assert found.all("input", "value") == ["bIg/"]
    assert "None is stored here." in page(daemon, "/?q=nothing").text
    assert "cut off" not in found.text


def test_markup_is_text(daemon: Daemon) -> None:
    """Whatever is looked for, it is shown as text."""
    evil = "\"><script>alert(1)</script>'"
    home = page(daemon, "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E'")
    assert home.all("input", "value") == [evil]
    store(daemon, PATH, "v1.0.0", f"module {PATH}\n// </code><script>alert(1)</script>\n")
    assert "</code><script>alert(1)</script>" in page(daemon, f"/mod{ESCAPED}").text


def test_a_long_search_goes_on(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """When enough is found the page says so; following it shows each module once."""
    monkeypatch.setattr(searching, "MOST", 3)
    names = [f"example.test/m{number:02}" for number in range(20)]
    for name in names:
        store(daemon, name, when=False)
    seen: list[str] = []
    target = "/?q=test"
    for _ in range(20):
        read = page(daemon, target)
        seen += [link.removeprefix("./mod/") for link in read.all("a", "href") if link.startswith("./mod/")]
        more = [link for link in read.all("a", "href") if "after=" in link]
        if not more:
            break
        assert "There are more." in read.text
        target = more[0].removeprefix(".")
    assert seen == names
    assert links_of_modules(page(daemon, "/?q=example.test/m19")) == ["./mod/example.test/m19"]


def links_of_modules(read: Read) -> list[str]:
    return [link for link in read.all("a", "href") if link.startswith("./mod/")]


def test_what_is_stored_and_deleted_is_followed(daemon: Daemon) -> None:
    """A module is found as soon as a whole version of it is there, and no longer when none is."""
    assert "None is stored here." in page(daemon, "/?q=new").text
    daemon.pages.changed("example.test/new")
    assert "None is stored here." in page(daemon, "/?q=new").text
    store(daemon, "example.test/new")
    daemon.pages.changed("example.test/new")
    assert links_of_modules(page(daemon, "/?q=new")) == ["./mod/example.test/new"]
    result_of(daemon.disk.delete(ModuleVersion("example.test/new", "v1.0.0")))
    daemon.pages.changed("example.test/new")
    assert "None is stored here." in page(daemon, "/?q=new").text


def test_what_others_store_is_found_later(daemon: Daemon) -> None:
    """Of what comes into the store behind our back, and goes, we know after five minutes; a whole path is asked for."""
    store(daemon, "example.test/old")
    page(daemon, "/")
    store(daemon, "example.test/new")
    result_of(daemon.disk.delete(ModuleVersion("example.test/old", "v1.0.0")))
    assert links_of_modules(page(daemon, "/?q=example.test")) == ["./mod/example.test/old"]
    assert links_of_modules(page(daemon, "/?q=example.test/new")) == ["./mod/example.test/new"]
    daemon.clock.advance(FRESH)
    assert links_of_modules(page(daemon, "/?q=example.test")) == ["./mod/example.test/new"]


@implementer(IStorage, ICatalog)
class Catalogued:
    """A store of many modules whose catalog gives its pages when the test says so."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.pages: list[Deferred[None]] = []

    async def versions(self, path: str) -> list[str]:
        return []

    async def page(self, token: str, size: int) -> Page:
        self.pages.append(Deferred())
        await self.pages[-1]
        start = int(token or 0)
        end = min(start + size, len(self.paths))
        found = [ModuleVersion(path, "v1.0.0") for path in self.paths[start:end]]
        return Page(found, str(end) if end < len(self.paths) else "")


def searched(catalog: Catalogued, paths: KnownPaths, query: str) -> Deferred[Found]:
    """A search for all that may be seen, which is what has no "secret" in it."""
    return Deferred.fromCoroutine(search(catalog, paths, lambda path: "secret" not in path, query))  # type: ignore[arg-type]


def test_a_search_waits_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the catalog is read for the first time a search waits a second, and then shows what has come."""
    monkeypatch.setattr(knowing, "PAGE_SIZE", 2)
    catalog, clock = Catalogued([f"a.test/{name}" for name in ("b", "secret", "a", "c")]), Clock()
    paths = KnownPaths(catalog, clock)  # type: ignore[arg-type]
    one, other = searched(catalog, paths, "A.TEST"), searched(catalog, paths, "test/a")
    catalog.pages[0].callback(None)
    assert not one.called
    clock.advance(PATIENCE)
    assert result_of(one) == Found(["a.test/b"], whole=False)
    assert result_of(other) == Found([], whole=False)
    late = searched(catalog, paths, "a.test")
    catalog.pages[1].callback(None)
    whole = Found(["a.test/a", "a.test/b", "a.test/c"])
    assert result_of(late) == whole
    assert result_of(searched(catalog, paths, "a.test")) == whole
    assert len(catalog.pages) == 2


def test_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the catalog, so much of it is kept, and what comes later is not."""
    monkeypatch.setattr(knowing, "PAGE_SIZE", 2)
    monkeypatch.setattr(knowing, "MOST", 4)
    catalog = Catalogued([f"a.test/{number}" for number in range(10)])
    paths = KnownPaths(catalog, Clock())  # type: ignore[arg-type]
    paths.look()
    for number in range(2):
        catalog.pages[number].callback(None)
    paths.changed("a.test/99")
    assert result_of(searched(catalog, paths, "a.test")) == Found(
        [f"a.test/{number}" for number in range(4)], whole=False
    )
    assert len(catalog.pages) == 2


def test_a_change_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted after its page was read is not shown for that."""
    monkeypatch.setattr(knowing, "PAGE_SIZE", 1)
    catalog = Catalogued(["a.test/a", "a.test/b"])
    paths = KnownPaths(catalog, Clock())  # type: ignore[arg-type]
    paths.look()
    catalog.pages[0].callback(None)
    paths.changed("a.test/a")
    catalog.pages[1].callback(None)
    assert result_of(searched(catalog, paths, "a.test")) == Found(["a.test/b"])


def test_a_catalog_that_fails() -> None:
    """It is read again for the next who looks; what is known stays."""
    catalog, clock = Catalogued(["a.test/a"]), Clock()
    paths = KnownPaths(catalog, clock)  # type: ignore[arg-type]
    first = searched(catalog, paths, "a.test")
    catalog.pages[0].errback(StorageFailed("it is away"))
    with pytest.raises(StorageFailed, match="it is away"):
        result_of(first)
    second = searched(catalog, paths, "a.test")
    catalog.pages[1].callback(None)
    assert result_of(second) == Found(["a.test/a"])
    clock.advance(FRESH)
    assert result_of(searched(catalog, paths, "a.test")) == Found(["a.test/a"])
    catalog.pages[2].errback(StorageFailed("it is away"))
    assert result_of(searched(catalog, paths, "a.test")) == Found(["a.test/a"])


def test_a_module(daemon: Daemon) -> None:
    """What is known of its latest version, its lines for go.sum, and all versions, the highest first."""
    for version in ("v1.0.0", "v1.10.0", "v1.9.0", "v1.11.0-rc.1"):
        store(daemon, PATH, version)
    read = page(daemon, f"/mod{ESCAPED}")
    assert f"go get {PATH}@v1.10.0" in read.text
    assert "2024-01-02 03:04 UTC" in read.text
    assert "1.23 kB" in read.text
    assert f"{PATH} v1.10.0 h1:v1.10.0=\n{PATH} v1.10.0/go.mod {h1_of_mod(MOD)}" in read.text
    assert MOD.decode() in read.text
    versions = [link.rpartition("@")[2] for link in read.all("a", "href") if "@" in link]
    assert versions == ["v1.11.0-rc.1", "v1.10.0", "v1.9.0", "v1.0.0"]
    year = str(datetime.now(UTC).year)
    assert len([time for time in read.all("time", "datetime") if time.startswith(year)]) == 5


def test_a_version(daemon: Daemon) -> None:
    """The page of one version is about that one."""
    store(daemon, PATH, "v1.0.0", f"module {PATH}\n\ngo 1.20\n")
    store(daemon, PATH, "v1.1.0", f"module {PATH}\n\nretract v1.0.0 // It eats <files>.\n")
    read = page(daemon, f"/mod{ESCAPED}@v1.0.0")
    assert f"go get {PATH}@v1.0.0" in read.text
    assert "go 1.20" in read.text
    assert "Its author has retracted this version: It eats <files>." in read.text
    assert "Its author" not in page(daemon, f"/mod{ESCAPED}").text


def test_a_revoked_version(daemon: Daemon) -> None:
    """It is said so, with the reason, and the page of the module is about another one."""
    for version in ("v1.0.0", "v1.1.0"):
        store(daemon, PATH, version)
    daemon.pages._revoked = lambda: parse_revoked(f"revoked {PATH}@v1.1.0 2026-11-24 It <eats> files.", "f")
    assert "This proxy has revoked this version: It <eats> files." in page(daemon, f"/mod{ESCAPED}@v1.1.0").text
    read = page(daemon, f"/mod{ESCAPED}").text
    assert f"go get {PATH}@v1.0.0" in read
    assert "This proxy has revoked" not in read
    assert "revoked: It <eats> files." in read


def test_an_evicted_zip(daemon: Daemon) -> None:
    """The page of a version whose zip is gone says so, and has all else."""
    store(daemon, PATH, VERSION)
    result_of(daemon.disk.evict(ModuleVersion(PATH, VERSION)))
    read = page(daemon, f"/mod{ESCAPED}@{VERSION}")
    assert "it is fetched again when somebody asks" in read.text
    assert f"{PATH} {VERSION}/go.mod h1:" in read.text


def test_a_bare_version(daemon: Daemon) -> None:
    """What somebody else has put there, without a hash and with an .info that is none, is shown as far as it goes."""
    store(daemon, PATH, when=False)
    folder = daemon.root / "store" / ESCAPED[1:] / "@v"
    (folder / "v1.0.0.ziphash").unlink()
    (folder / "v1.0.0.info").write_bytes(b"x")
    read = page(daemon, f"/mod{ESCAPED}")
    assert "Published" not in read.text
    assert f"{PATH} v1.0.0/go.mod h1:" in read.text
    assert f"{PATH} v1.0.0 h1:" not in read.text


def test_many_versions(daemon: Daemon) -> None:
    """A module with more versions than anybody reads, and a go.mod as long, makes a page that is light still."""
    for number in range(300):
        store(daemon, PATH, f"v1.{number}.0", when=False)
    store(daemon, PATH, "v1.300.0", "// long\n" * 10_000, when=False)
    read = page(daemon, f"/mod{ESCAPED}")
    assert f"The highest {ROWS}; 201 more are not shown" in read.text
    assert "the rest is not shown" in read.text


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"/mod{ESCAPED}", 404),
        (f"/mod{ESCAPED}@v9.9.9", 404),
        ("/mod/example.test/Big", 404),
        ("/mod/nodot", 404),
        ("/mod/example.test/m/", 404),
    ],
)
def test_what_is_not_there(daemon: Daemon, target: str, status: int) -> None:
    """Is said on a page of its own, and nobody is asked for it."""
    read = page(daemon, target, status)
    assert "request id: " in read.text
    assert daemon.origin.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "/mod",
        "/mod/",
        "/mod//x",
        "/mod/../x",
        "/mod/a/../b",
        "/mod/a@b@c",
        "/mod/x@v1/y",
        "/mod/x@",
        "/mod/@v1",
        "/mod/a b",
    ],
)
def test_other_paths_are_no_pages(target: str) -> None:
    """What can name no module does not reach the router."""
    with pytest.raises(InvalidPath):
        route_of(target.encode())


@pytest.mark.parametrize("end", ["/@v/list", "/@latest", "/@v/v1.0.0.info", "/@v/v1.0.0.mod", "/@v/v1.0.0.zip"])
def test_the_protocol_goes_first(daemon: Daemon, end: str) -> None:
    """A path of the protocol is one of it, whatever it begins with; and no module can begin so."""
    assert route_of(f"/mod/example.test/m{end}".encode()) != "module"
    check_refusal(daemon.ask(f"/mod/example.test/m{end}"))
    check_refusal(daemon.ask(f"/mod{end}"))


HIDING = "allow pay secret.test\nhide * secret.test\ndeny * denied.test\nallow anonymous *"


@pytest.fixture
def closed(daemon: Daemon) -> Daemon:
    """One with a module for all, one that is hidden and one that is denied."""
    for path in ("open.test/m", "secret.test/m", "denied.test/m"):
        store(daemon, path)
    keys = Keys(closed=True, access=parse_rules(f"group pay alice\n{HIDING}", "rules"))
    daemon.site.door = Doorkeeper(keys, daemon.clock.seconds, at_once)
    return daemon


def test_pages_show_what_may_be_had(closed: Daemon) -> None:
    """Neither the newest nor a search nor a page of its own tells of a module that is hidden."""
    home = page(closed, "/").text
    assert "open.test/m@v1.0.0" in home
    assert "~/.netrc" in home
    for target in ("/", "/?q=test", "/?q=secret", "/?q=secret.test/m"):
        read = page(closed, target)
        assert not [link for link in read.all("a", "href") if "secret" in link or "denied" in link]

    def seen(path: str) -> str:
        return re.sub("[0-9a-f]{32}", "", page(closed, f"/mod/{path}", 404).text.replace(path, ""))

    assert seen("secret.test/m") == seen("open.test/n")
    assert closed.ask("/mod/denied.test/m").headers["www-authenticate"]


@implementer(IStorage)
@frozen
class Broken:
    """A store that can do nothing."""

    disk: Any

    async def open(self, *arguments: Any) -> Any:
        raise StorageFailed("the store cannot be read: Input/output error")

    put = versions = delete = check = open


@implementer(ICatalog)
class BrokenCatalog(Broken):
    """One that had a catalog."""

    page = Broken.open


@implementer(IStorage)
class Hanging:
    """A store that answers when the test says so, and not even then when it was given up."""

    def __init__(self) -> None:
        self.checks: list[Deferred[None]] = []

    async def check(self) -> None:
        self.checks.append(Deferred())
        await self.checks[-1]


def test_a_store_that_hangs() -> None:
    """It is waited for two seconds by one, and asked again five later; what is fresh costs no question."""
    hanging, clock = Hanging(), Clock()
    health = StoreHealth(hanging, clock)  # type: ignore[arg-type]
    first = Deferred.fromCoroutine(health.trouble())
    assert result_of(health.trouble()) == ""
    clock.advance(health_room.PATIENCE)
    assert "longer than 2 seconds" in result_of(first)
    assert "longer than 2 seconds" in result_of(health.trouble())
    clock.advance(health_room.FRESH)
    second = Deferred.fromCoroutine(health.trouble())
    hanging.checks[1].callback(None)
    assert (result_of(second), result_of(health.trouble())) == ("", "")
    assert len(hanging.checks) == 2


def test_an_index_that_hangs(daemon: Daemon) -> None:
    """The home page comes without it."""

    class Index:
        async def since(self, *arguments: Any) -> Any:
            await Deferred()

    daemon.pages._newest = Newest(Index())  # type: ignore[arg-type]
    connection = daemon.connect()
    assert connection.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n") == b""
    daemon.clock.advance(health_room.PATIENCE)
    assert b"cannot be read: reading it took longer than 2 seconds" in connection.transport.value()


@pytest.mark.parametrize("store", [Broken, BrokenCatalog])
def test_a_broken_store(tmp_path: Path, store: Callable[[Any], Any]) -> None:
    """The home page says so and is there all the same; a module's page says why there is none."""
    daemon = Daemon(tmp_path, storage=store)
    home = page(daemon, "/")
    assert "The store cannot be used: the store cannot be read: Input/output error" in home.text
    assert "Storecannot be used" in home.text
    assert "GOPROXY=" in home.text
    assert "The store could not be searched: " in page(daemon, "/?q=example.test/m").text
    assert "Input/output error" in page(daemon, f"/mod{ESCAPED}", 500).text


def test_a_store_without_a_catalog(tmp_path: Path) -> None:
    """Where a store cannot say what it holds, the whole path is wanted."""

    @implementer(IStorage)
    class Plain:
        def __init__(self, disk: Any) -> None:
            self.open, self.versions, self.check = disk.open, disk.versions, disk.check

    daemon = Daemon(tmp_path, storage=Plain)
    store(daemon, PATH)
    assert "Whole path of a module" in page(daemon, "/").text
    assert f"./mod{ESCAPED}" in page(daemon, f"/?q={PATH}").all("a", "href")
    assert "None is stored here." in page(daemon, "/?q=Big").text


@frozen
class Exporter:
    """One that is as the test says."""

    name: str
    tried: bool = True
    away: datetime | None = None


def test_exporters(daemon: Daemon) -> None:
    """The home page says which of them deliver, and since when one does not."""
    daemon.pages._exporters = [
        Exporter("traces to jaeger", away=datetime(2026, 1, 31, 12, 5, tzinfo=UTC)),
        Exporter("metrics to datadog"),
        Exporter("traces to otlp", tried=False),
    ]
    home = page(daemon, "/").text
    assert "Traces to jaegernot delivered since 2026-01-31 12:05 UTC; the log says why" in home
    assert "Metrics to datadogdelivered" in home
    assert "Traces to otlpnothing was sent yet" in home


class BrokenIndex:
    """One that fails."""

    async def since(self, *arguments: Any) -> Any:
        raise StorageFailed("the index cannot be used")


def test_a_broken_index(daemon: Daemon) -> None:
    """Without it no page says when; all else is there."""
    store(daemon, PATH)
    daemon.pages._newest = Newest(BrokenIndex())  # type: ignore[arg-type]
    daemon.pages._times = StoredTimes(BrokenIndex())  # type: ignore[arg-type]
    home = page(daemon, "/").text
    assert "Newest" not in home
    assert "Indexcannot be read: the index cannot be used" in home
    assert f"go get {PATH}@{VERSION}" in page(daemon, f"/mod{ESCAPED}").text


NOW = datetime(2026, 1, 31, tzinfo=UTC)


def filled(ages: list[float]) -> MemoryIndex:
    """An index with a version for each age, in seconds before ``NOW``."""
    times = iter([NOW - timedelta(seconds=age) for age in ages])
    index = MemoryIndex(lambda: next(times))
    for number in range(len(ages)):
        result_of(index.add(ModuleVersion(f"example.test/m{number}", "v1.0.0")))
    return index


def numbers(lines: Any) -> list[int]:
    return [int(line.version.path.removeprefix("example.test/m")) for line in lines]


@pytest.mark.parametrize(
    "ages",
    [
        [],
        [5.0],
        [9e8, 8e8, 3e6, 1e6, 2e5, 1.0],
        [float(age) for age in range(5000, 0, -1)],
        [1e6 - age / 100 for age in range(5000)],
        [age / 1000 for age in range(3000, 0, -1)],
        [-age / 10 for age in range(100)],
    ],
)
def test_newest(ages: list[float]) -> None:
    """The last lines, whether they came today or years ago, one by one or thousands at a time."""
    found = numbers(result_of(Newest(filled(ages)).of(NOW, 5, lambda path: True)))
    assert found == list(range(len(ages)))[::-1][:5]


def test_newest_of_what_may_be_seen() -> None:
    """What may not be seen takes nobody's place."""
    index = filled([float(age) for age in range(500, 0, -1)])
    assert numbers(result_of(Newest(index).of(NOW, 2, lambda path: path.endswith("m3")))) == [3]


class Asked(MemoryIndex):
    """An index that counts how often it is asked."""

    asked = 0

    async def since(self, when: datetime, limit: int) -> Any:
        self.asked += 1
        return await super().since(when, limit)


def test_the_end_of_the_index_is_followed() -> None:
    """Once it is found, it is one question; after many lines, or for who sees few of them, it is found anew."""
    now = NOW + timedelta(seconds=1)
    index = Asked(lambda: NOW)
    follower = Newest(index)

    def add(first: int, last: int) -> None:
        for number in range(first, last):
            result_of(index.add(ModuleVersion(f"example.test/m{number}", "v1.0.0")))

    add(0, 2000)
    assert numbers(result_of(follower.of(now, 3, lambda path: True))) == [1999, 1998, 1997]
    add(2000, 2010)
    index.asked = 0
    assert numbers(result_of(follower.of(now, 3, lambda path: True))) == [2009, 2008, 2007]
    assert index.asked == 1
    add(2010, 3000)
    assert numbers(result_of(follower.of(now, 3, lambda path: True))) == [2999, 2998, 2997]
    assert numbers(result_of(follower.of(now, 1, lambda path: path.endswith("m2700")))) == [2700]
    emptied = follower._index = Asked(lambda: NOW)
    assert result_of(follower.of(now, 3, lambda path: True)) == []
    assert emptied.asked > 1


def test_times_are_followed() -> None:
    """A long index is read in parts, and what was added since is known the next time."""
    index = filled([float(age) for age in range(15 * LINES, 0, -1)])
    times = StoredTimes(index)
    path = f"example.test/m{12 * LINES}"
    assert result_of(times.of(path, ["v1.0.0"])) == {}
    assert result_of(times.of(path, ["v1.0.0", "v2.0.0"])) == {"v1.0.0": NOW - timedelta(seconds=3 * LINES)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("module m\n", []),
        ("retract v1.0.0", [Retraction("v1.0.0", "v1.0.0", "")]),
        ("retract [v1.0.0, v1.2.0] // Bad.", [Retraction("v1.0.0", "v1.2.0", "Bad.")]),
        ("// Oh\n// dear.\nretract [v1.0.0,v1.2.0]", [Retraction("v1.0.0", "v1.2.0", "Oh dear.")]),
        (
            "retract (\n\tv1.0.0 // One.\n\n\t// Two.\n\tv1.1.0\n)\nrequire a.test/b v1.9.0",
            [Retraction("v1.0.0", "v1.0.0", "One."), Retraction("v1.1.0", "v1.1.0", "Two.")],
        ),
        ("// All.\nretract (\n\tv1.0.0\n)\n", [Retraction("v1.0.0", "v1.0.0", "All.")]),
        ("// Not this.\nrequire a.test/b v1.0.0\nretract v1.0.0\n", [Retraction("v1.0.0", "v1.0.0", "")]),
        ("retract\nretract x\nretract [v1.0.0\nretract [v1.0.0, x]\nretract v1.0.0 v1.1.0", []),
    ],
)
def test_retractions(text: str, found: list[Retraction]) -> None:
    """They are read as the go command reads them, with the reasons their author gave."""
    assert retractions(text) == found


@pytest.mark.parametrize("line", ["retract v1.0.0 // x\n", "retract [" + "," * 1000 + "\n", "retract (\n"])
def test_retractions_are_bounded(line: str) -> None:
    """A go.mod that holds nothing else is no more work than any."""
    assert len(retractions(line * (2_000_000 // len(line)))) in {0, MOST}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (500 << 20, "524 MB"),
        (5 * 10**12, "5e+03 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    """Three digits are enough."""
    assert size(count) == text


VALUES = {"Host": "http://proxy.test", "NoSumPatterns": "a.test,<b>"}
NO_PATTERNS = {**VALUES, "NoSumPatterns": ""}


@pytest.mark.parametrize(
    ("text", "values", "page"),
    [
        ("<p>{{ .Host }} {{.Host}}</p>", VALUES, "<p>http://proxy.test http://proxy.test</p>"),
        ("{{ .NoSumPatterns }}", VALUES, "a.test,&lt;b&gt;"),
        ("a{{ if .NoSumPatterns }}b{{ .Host }}{{ end }}c", VALUES, "abhttp://proxy.testc"),
        ("a{{ if .NoSumPatterns }}b{{ .Host }}{{ end }}c", NO_PATTERNS, "ac"),
        ("a{{if .NoSumPatterns}}b{{else}}c{{end}}d", NO_PATTERNS, "acd"),
        ("a{{ if .Host }}{{ if .NoSumPatterns }}b{{ end }}c{{ end }}d", NO_PATTERNS, "acd"),
        ("a  {{- .Host -}}  b", VALUES, "ahttp://proxy.testb"),
        ("a{{/* nothing\n */}}b", VALUES, "ab"),
        ("", VALUES, ""),
    ],
)
def test_a_template(text: str, values: dict[str, str], page: str) -> None:
    """What Athens' own page is written in means here what it means there."""
    assert Template(text).filled(values) == page


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n{{ .Version }}", r"line 2: \{\{ .Version \}\} is not known here"),
        ("{{ range .Host }}", "line 1: "),
        ("{{ .Host | html }}", "line 1: "),
        ("{{ end }}", "line 1: "),
        ("{{ else }}", "line 1: "),
        ("{{ if .Host }}a{{ else }}b{{ else }}c{{ end }}", "line 1: "),
        ("{{ if .Host }}a", "has no end"),
        ("a {{ .Host", "has no end"),
    ],
)
def test_other_templates(text: str, problem: str) -> None:
    """What is not known here is refused by its line, rather than shown to everybody."""
    with pytest.raises(ValueError, match=problem):
        Template(text)


def test_a_home_page_of_ones_own(daemon: Daemon, tmp_path: Path) -> None:
    """It stands in the place of ours while it is there, and is read again when it has changed."""
    file = tmp_path / "home.html"
    daemon.pages._own_home = OwnHome(file)
    assert b"A Go module proxy" in daemon.ask("/").body
    file.write_text("<p>GOPROXY={{ .Host }}</p>")
    answer = daemon.ask("/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body == b"<p>GOPROXY=http://proxy.test</p>"
    assert "None is stored here." in page(daemon, "/?q=x").text
    assert daemon.ask("/", headers={"Host": "<script>"}).status == 400
    file.write_text("{{ nonsense }}")
    assert daemon.ask("/").body == b"<p>GOPROXY=http://proxy.test</p>"
    file.write_text("changed")
    assert daemon.ask("/").body == b"changed"
    file.unlink()
    assert b"A Go module proxy" in daemon.ask("/").body


@pytest.mark.parametrize("content", [b"{{ nonsense }}", b"\xff"])
def test_a_home_page_that_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    """At the start it is an error that names the file."""
    file = tmp_path / "home.html"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        OwnHome(file)


def test_a_home_page_that_cannot_be_read(tmp_path: Path) -> None:
    """So is one that cannot be read."""
    with pytest.raises(ValueError, match="Is a directory"):
        OwnHome(tmp_path)
