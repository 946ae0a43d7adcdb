"""The page of a module: what is stored of it, and one version in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen
from twisted.web.template import Tag, tags

from athensd.blob import read_all
from athensd.errors import NotFound, StorageFailed, VerificationFailed
from athensd.gomod.info import Info, parse_info, parse_time
from athensd.gomod.listing import Listed, latest_of
from athensd.gomod.version import ModuleVersion, sort_key
from athensd.gomod.ziphash import h1_of_mod
from athensd.interfaces import IStorage, Kind
from athensd.policy.revoked import Revoked
from athensd.web.html.page import copyable, facts, frame, module_link, moment
from athensd.web.html.retracted import Retraction, retractions
from athensd.web.html.times import StoredTimes

ROWS = 100
"""Of so many versions, the highest, there is a row."""
LARGEST_MOD = 16_000
"""So many characters of a go.mod are shown."""


@frozen
class Module:
    """A module and one version of it; ``versions`` are all that are stored, the highest first."""

    this: ModuleVersion
    latest: str
    versions: Sequence[str]
    stored: dict[str, datetime]
    retracted: Sequence[Retraction]
    revoked: Revoked
    info: Info
    go_mod: bytes
    zip_bytes: int | None
    zip_hash: str


async def look_at(storage: IStorage, times: StoredTimes, path: str, version: str, revoked: Revoked) -> Module:
    """What the store has of a module and of a version, or else of that which ``latest`` would be of what is stored.

    What is ``revoked`` is said so.  Raises ``NotFound``, and ``StorageFailed``.
    """
    versions = sorted(await storage.versions(path), key=sort_key, reverse=True)
    # Of a module that has nothing else, what is revoked is shown too.
    left = [each for each in versions if not revoked.of(path, each)]
    latest = latest_of(map(Listed, left or versions))
    if latest is None:
        raise NotFound(f"{path}: not found")
    this = ModuleVersion(path, version or latest)
    if this.version not in versions:
        raise NotFound(f"{this}: not found")
    go_mod = await read_all(await storage.open(this, Kind.MOD))
    # The latest one says which versions are retracted.
    newest = await read_all(await storage.open(ModuleVersion(path, latest), Kind.MOD))
    return Module(
        this,
        latest,
        versions,
        await _stored(times, path, versions[:ROWS]),
        retractions(newest.decode(errors="replace")),
        revoked,
        _info(await read_all(await storage.open(this, Kind.INFO)), this.version),
        go_mod,
        await _zip_bytes(storage, this),
        await _zip_hash(storage, this),
    )


async def _stored(times: StoredTimes, path: str, versions: Sequence[str]) -> dict[str, datetime]:
    try:
        return await times.of(path, versions)
    except StorageFailed:  # the index; all else is there
        return {}


def _info(data: bytes, version: str) -> Info:
    try:
        return parse_info(data)
    except VerificationFailed:  # somebody else has put it there
        return Info(version)


async def _zip_bytes(storage: IStorage, this: ModuleVersion) -> int | None:
    """Its length; ``None`` when it was evicted."""
    # One zip alone is opened: a store that keeps copies of a remote one gets it for that.
    try:
        return (await storage.open(this, Kind.ZIP)).length
    except NotFound:
        return None


async def _zip_hash(storage: IStorage, this: ModuleVersion) -> str:
    try:
        return (await read_all(await storage.open(this, Kind.ZIPHASH))).decode(errors="replace").strip()
    except NotFound:
        return ""


def module_page(module: Module, root: str) -> Tag:
    """The whole page."""
    this = module.this
    return frame(
        f"{this} - athensd",
        root,
        tags.h1(this.path, " ", tags.span(f"@{this.version}", class_="less")),
        *_warning(module),
        copyable(f"go get {this}", "Command to get this version"),
        tags.div(
            tags.div(tags.section(*_facts(module)), tags.section(*_go_mod(module))),
            tags.section(*_versions(module, root)),
            class_="columns",
        ),
    )


def _reason(module: Module, version: str) -> str | None:
    """Why a version is retracted (perhaps nothing is said), or ``None``."""
    return next((each.why for each in module.retracted if each.holds(version)), None)


def _warning(module: Module) -> Iterator[Any]:
    stone = module.revoked.of(module.this.path, module.this.version)
    if stone is not None:
        yield tags.p(f"This proxy has revoked this version: {stone.reason}", class_="bad")
    why = _reason(module, module.this.version)
    if why is not None:
        yield tags.p(f"Its author has retracted this version{f': {why}' if why else ''}", class_="bad")


def _facts(module: Module) -> Iterator[Any]:
    rows: list[tuple[str, Any]] = []
    if module.info.time:
        rows.append(("Published", moment(parse_time(module.info.time))))
    if when := module.stored.get(module.this.version):
        rows.append(("Stored here", moment(when)))
    origin = module.info.origin or {}
    for name, field in (("Repository", "URL"), ("Directory", "Subdir"), ("Reference", "Ref"), ("Commit", "Hash")):
        if origin.get(field):
            rows.append((name, tags.code(str(origin[field]))))
    evicted = "not here now; it is fetched again when somebody asks"
    rows.append(("Size of the zip", evicted if module.zip_bytes is None else size(module.zip_bytes)))
    rows.append(("Size of the go.mod", size(len(module.go_mod))))
    yield tags.h2("This version")
    yield facts(rows)
    this = module.this
    sums = [f"{this.path} {this.version} {module.zip_hash}"] if module.zip_hash else []
    sums.append(f"{this.path} {this.version}/go.mod {h1_of_mod(module.go_mod)}")
    yield tags.h2("Its lines in go.sum")
    yield copyable("\n".join(sums), "Lines of go.sum")


def _versions(module: Module, root: str) -> Iterator[Any]:
    yield tags.h2("Versions stored here")
    rows = module.versions[:ROWS]
    more = len(module.versions) - len(rows)
    yield tags.p(f"The highest {len(rows)}; {more} more are not shown" if more else f"All {len(rows)}", class_="less")
    yield tags.ul(*(tags.li(*_version(module, version, root)) for version in rows), class_="plain rows")


def _version(module: Module, version: str, root: str) -> Iterator[Any]:
    link = tags.a(version, href=module_link(root, module.this.path, version))
    yield link(**{"aria-current": "page"}) if version == module.this.version else link
    if version == module.latest:
        yield " "
        yield tags.span("latest", class_="tag")
    if when := module.stored.get(version):
        yield tags.p("stored ", moment(when), class_="less")
    stone = module.revoked.of(module.this.path, version)
    if stone is not None:
        yield tags.p(f"revoked: {stone.reason}", class_="bad")
    why = _reason(module, version)
    if why is not None:
        yield tags.p(f"retracted{f': {why}' if why else ''}", class_="bad")


def _go_mod(module: Module) -> Iterator[Any]:
    text = module.go_mod.decode(errors="replace")
    yield tags.h2("Its go.mod")
    yield tags.pre(
        tags.code(text[:LARGEST_MOD]), tabindex="0", role="group", class_="file", **{"aria-label": "Text of the go.mod"}
    )
    if len(text) > LARGEST_MOD:
        yield tags.p("It goes on; the rest is not shown.", class_="less")


def size(count: int) -> str:
    """Bytes, as people read them."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["GB", "MB", "kB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.3g} {units[-1]}"
