"""Every import in the package, held against the picture of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "athensd"

# A room is a module or a package right under athensd.  These are the rooms that each may import, besides itself.
SEAMS = {"interfaces", "blob", "gomod", "errors", "steps"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "steps": set(),
    "gomod": {"errors"},
    "sumdb": {"gomod", "errors"},
    "policy": {"gomod", "errors"},
    "interfaces": {"gomod", "errors"},
    "blob": {"interfaces"},
    "spool": set(),
    "waiting": {"errors"},
    "heavy": set(),
    "storage": SEAMS | {"spool", "streams", "waiting"},
    "whose": set(),
    "origin": SEAMS | {"spool", "waiting", "whose"},
    "index": SEAMS,
    "flight": SEAMS | {"streams", "waiting"},
    "stash": SEAMS | {"policy", "spool", "waiting"},
    "freshness": SEAMS | {"policy", "waiting"},
    "proxy": SEAMS | {"policy", "stash", "freshness", "waiting"},
    "misses": SEAMS | {"policy", "stash"},
    "ahead": SEAMS | {"stash"},
    "audit": {"errors", "gomod", "steps"},
    "tombstones": {"policy", "steps"},
    "passing": SEAMS | {"spool", "waiting"},
    "gate": SEAMS | {"policy", "proxy"},
    "validator": SEAMS | {"waiting"},
    "checksums": SEAMS | {"sumdb", "spool", "waiting"},
    "doors": {"errors", "gomod"},
    "web": SEAMS | {"checksums", "doors", "policy", "proxy", "spool", "sumdb", "waiting", "whose"},
    "listening": {"config", "startup"},
    "service": {"errors", "listening", "waiting", "web"},
    "config": {"sumdb"},
    "startup": {"config", "doors", "policy", "spool"},
    "observe": {"errors", "steps"},
    "streams": SEAMS,
    "bucket": SEAMS | {"spool", "streams", "waiting"},
    "outbound": {"errors"},
    "upkeep": SEAMS | {"checksums", "retention", "spool", "sumdb", "waiting"},
    "bundle": SEAMS | {"checksums", "spool", "sumdb", "upkeep"},
    "fetching": SEAMS | {"checksums", "config", "origin", "outbound", "spool", "startup"},
    "stores": SEAMS | {"audit", "bucket", "config", "flight", "index", "spool", "startup", "storage", "streams"},
}
MAY_IMPORT["retention"] = SEAMS | {"waiting"}
MAY_IMPORT["retaining"] = SEAMS | {"checksums", "config", "policy", "retention", "startup", "stores"}
MAY_IMPORT["answering"] = SEAMS | {
    *("ahead", "checksums", "config", "flight", "freshness", "gate", "misses", "passing", "proxy", "startup", "stash"),
    *("policy", "storage", "stores", "tombstones", "validator"),
}
MAY_IMPORT["workers"] = {"gomod", "listening"}
MAY_IMPORT["supervising"] = {"config", "listening", "observe", "origin", "service", "startup", "workers"}
MAY_IMPORT["sharing"] = {"observe", "web", "workers"}
MAY_IMPORT["tap"] = set(MAY_IMPORT) - {"bundle", "upkeep"}
MAY_IMPORT["cli"] = {
    *("blob", "bundle", "checksums", "config", "errors", "fetching", "flight", "gomod", "interfaces", "listening"),
    *("audit", "doors", "origin", "policy", "retaining", "spool", "startup", "stores", "streams", "sumdb"),
    *("tombstones", "upkeep"),
}

PURE = {"errors", "gomod", "policy", "sumdb", "config"}
WORLD = {
    "asyncio",
    "klein",
    "os",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "ssl",
    "structlog",
    "subprocess",
    "tempfile",
}
WORLD |= {"threading", "time", "treq", "twisted"}

# Module name -> its text; a package stands under its own name with the text of its __init__.
House = Mapping[str, str]


def read_house() -> House:
    names = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path.read_text() for path, parts in names.items()}


def is_package(module: str, house: House) -> bool:
    return any(other.startswith(f"{module}.") for other in house)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imports(module: str, house: House) -> Iterator[tuple[str, str]]:
    """What a module imports, wherever it does so: pairs of a module and the name taken from it (or nothing)."""
    for node in ast.walk(ast.parse(house[module])):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node, house)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (inner, "") if inner in house else (source, alias.name)


def absolute(module: str, node: ast.ImportFrom, house: House) -> str:
    if not node.level:
        return node.module or ""
    parts = [*module.split("."), "__init__"] if is_package(module, house) else module.split(".")
    return ".".join([*parts[: -node.level], *([node.module] if node.module else [])])


def faults(house: House) -> list[str]:
    """One sentence for each import that the picture does not show."""
    found = [
        fault
        for module in house
        for imported, name in imports(module, house)
        if (fault := fault_of(module, imported, name, house))
    ]
    return sorted({*found, *unknown_rooms(house), *cycles(house)})


def fault_of(module: str, imported: str, name: str, house: House) -> str | None:
    room, other = room_of(module), room_of(imported)
    library, _, _ = imported.partition(".")
    if library != "athensd":
        impure = room in PURE and library in WORLD
        return f"{module} imports {imported}, but {room} is pure" if impure else None
    if (imported, name) == ("athensd", "__version__"):
        return None
    if is_package(imported, house):
        return f"{module} imports from the package {imported}, not from a module of it"
    if other != room and other not in MAY_IMPORT.get(room, ()):
        return f"{module} imports {imported}, but {room} may not import {other}"
    return None


def unknown_rooms(house: House) -> Iterator[str]:
    for room in {room_of(module) for module in house} - {"athensd"} - set(MAY_IMPORT):
        yield f"the room {room} is not in the picture: say in MAY_IMPORT what it may import"


def cycles(house: House) -> Iterator[str]:
    graph = {module: {imported for imported, _ in imports(module, house) if imported in house} for module in house}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"modules import each other in a circle: {' -> '.join(reversed(error.args[1]))}"


def test_the_house_is_as_it_is_drawn() -> None:
    """No import in the package goes where the picture has no arrow."""
    assert faults(read_house()) == []


def test_no_arrow_points_back() -> None:
    """The picture itself has no circle, and no arrow between the rooms that each hold a part of the world."""
    TopologicalSorter(MAY_IMPORT).prepare()
    world = {"storage", "bucket", "origin", "index", "flight"}
    assert not [room for room in world if MAY_IMPORT[room] & world]


def test_only_tap_sees_the_settings() -> None:
    """Nothing imports tap; the settings and the observers are seen by nothing but wiring, and what it reads with."""
    importers = {other: {room for room, may in MAY_IMPORT.items() if other in may} for other in MAY_IMPORT}
    assert (importers["tap"], importers["observe"]) == (set(), {"tap", "sharing", "supervising"})
    wiring = {"tap", "cli", "startup", "fetching", "stores", "answering", "listening", "retaining", "supervising"}
    assert importers["config"] == wiring


def test_a_package_holds_a_docstring() -> None:
    """An __init__ holds its docstring and nothing that could be imported, except for the version of the whole."""
    house = read_house()
    packages = [module for module in house if is_package(module, house) and module != "athensd"]
    assert [module for module in packages if len(ast.parse(house[module]).body) != 1] == []


@pytest.mark.parametrize(
    ("house", "fault"),
    [
        ({"athensd.errors": "import attrs"}, None),
        ({"athensd.web.pages": "from athensd import __version__", "athensd": ""}, None),
        ({"athensd.storage.disk": "from athensd.storage.layout import folder", "athensd.storage.layout": ""}, None),
        (
            {"athensd.storage.disk": "from athensd.origin.direct import DirectOrigin"},
            "athensd.storage.disk imports athensd.origin.direct, but storage may not import origin",
        ),
        (
            {"athensd.web.pages": "def page():\n    import athensd.config", "athensd.config": ""},
            "athensd.web.pages imports athensd.config, but web may not import config",
        ),
        (
            {"athensd.proxy": "from . import tap", "athensd.tap": ""},
            "athensd.proxy imports athensd.tap, but proxy may not import tap",
        ),
        (
            {"athensd.gomod.info": "from ..proxy import Proxy"},
            "athensd.gomod.info imports athensd.proxy, but gomod may not import proxy",
        ),
        (
            {"athensd.gomod.info": "from twisted.internet import reactor"},
            "athensd.gomod.info imports twisted.internet, but gomod is pure",
        ),
        (
            {"athensd.stash": "from athensd.gomod import Info", "athensd.gomod": "", "athensd.gomod.info": ""},
            "athensd.stash imports from the package athensd.gomod, not from a module of it",
        ),
        (
            {"athensd.helpers": ""},
            "the room helpers is not in the picture: say in MAY_IMPORT what it may import",
        ),
        (
            {"athensd.web.a": "from athensd.web import b", "athensd.web.b": "import athensd.web.a", "athensd.web": ""},
            "modules import each other in a circle: athensd.web.a -> athensd.web.b -> athensd.web.a",
        ),
    ],
)
def test_a_fault_is_named(house: House, fault: str | None) -> None:
    """An import that is not in the picture is told in a sentence that names both ends; others are not."""
    assert faults(house) == ([] if fault is None else [fault])
