"""The real go command asks our small database; our functions ask the real, public one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from attrs import define

from athensd.errors import VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.sumdb.head import NO_HEAD, Head, check_timeline, open_head, timeline_indexes
from athensd.sumdb.names import Database as Known
from athensd.sumdb.names import parse_gosumdb
from athensd.sumdb.record import check_included, check_sum, inclusion_indexes, lookup_path, parse_lookup
from athensd.sumdb.tile import Tile, tiles_needed, verify
from athensd.sumdb.tlog import Tree
from tests.integration.go import GO, needs_go
from tests.integration.goproxy_tree import add_version
from tests.rig.sumdb import Database, Server

VERSION = ModuleVersion("example.com/Mod", "v1.2.3")
OTHER = ModuleVersion("example.com/Mod", "v1.3.0")
RECORD = 300


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A file tree that has two versions, as the go command reads it."""
    root = tmp_path / "modules"
    for version in (VERSION, OTHER):
        files = {"go.mod": b"module example.com/Mod\n", "m.go": b"package m\n"}
        add_version(root, version.path, version.version, files)
    return root


def sums(root: Path, version: ModuleVersion) -> tuple[str, str]:
    """The ``h1:`` of the version's zip and of its go.mod."""
    folder = root / "example.com/!mod/@v"
    zip_h1 = check_zip(io.BytesIO((folder / f"{version.version}.zip").read_bytes()), version).h1
    return zip_h1, h1_of_mod((folder / f"{version.version}.mod").read_bytes())


@pytest.fixture
def server(modules: Path) -> Iterator[Server]:
    """A database of some hundred records, with the sums of both versions."""
    database = Database()
    database.fill(RECORD)
    for version in (VERSION, OTHER):
        database.add(version.path, version.version, *sums(modules, version))
        database.fill(len(database.records) + 70)
    with Server(database) as server:
        yield server


@define
class Go:
    """A user's machine."""

    home: Path
    goproxy: str
    gosumdb: str

    def download(self, version: ModuleVersion) -> tuple[bool, str]:
        """Whether ``go mod download`` had the version, and what it said."""
        self.home.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GOPROXY": self.goproxy,
            "GOSUMDB": self.gosumdb,
            "GOFLAGS": "-modcacherw",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }
        command = [GO, "mod", "download", "-json", str(version)]
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=60)
        said = json.loads(done.stdout)["Error"] if "Error" in done.stdout else done.stdout
        return done.returncode == 0, done.stderr + said


@pytest.fixture
def go(tmp_path: Path, modules: Path, server: Server) -> Go:
    """A machine that has modules from the file tree, and sums straight from the database."""
    return Go(tmp_path / "home", f"file://{modules}", server.gosumdb)


@needs_go
def test_go_asks_the_database_at_its_url(go: Go, server: Server) -> None:
    """A URL in GOSUMDB, over plain http, is enough: go asks there and is content."""
    ok, said = go.download(VERSION)
    assert ok, said
    asked = [path for path in server.asked if "/tile/" not in path]
    assert asked == ["/lookup/example.com/!mod@v1.2.3"]
    assert any(path.startswith("/tile/8/0/001") for path in server.asked)
    assert go.download(OTHER)[0]


@needs_go
def test_go_asks_the_database_through_a_proxy(go: Go, server: Server) -> None:
    """Without a URL go asks the first proxy whether it has the database, and then only there."""
    go.goproxy, go.gosumdb = f"{server.url},{go.goproxy}", server.database.signer.verifier_key
    ok, said = go.download(VERSION)
    assert ok, said
    asked = [path for path in server.asked if path.startswith("/sumdb/")]
    assert asked[:2] == ["/sumdb/sum.example.test/supported", "/sumdb/sum.example.test/lookup/example.com/!mod@v1.2.3"]
    assert any(path.startswith("/sumdb/sum.example.test/tile/8/0/001") for path in asked)


@needs_go
def test_go_takes_complete_tiles_for_partial_ones(go: Go, server: Server) -> None:
    """A database may drop a partial tile when the complete one is there."""
    server.database.published = 400
    server.database.fill(600)
    server.faults["tile/8/0/001.p/"] = 404
    ok, said = go.download(VERSION)
    assert ok, said
    assert {"/tile/8/0/001.p/144", "/tile/8/0/001"} <= set(server.asked)


def wrong_sum(server: Server) -> None:
    text = server.database.records[RECORD].replace("h1:", "h1:A", 1)
    server.database = server.database.fork(RECORD, text)


def other_text(server: Server) -> None:
    server.altered["lookup/"] = lambda body: body.replace(b"h1:", b"h1:A", 1)


def wrong_tile(server: Server) -> None:
    server.altered["tile/8/0/001"] = lambda body: bytes([body[0] ^ 1]) + body[1:]


def wrong_signature(server: Server) -> None:
    server.altered["lookup/"] = lambda body: body.replace(b"tree\n", b"tree\n1", 1)


def too_old_a_head(server: Server) -> None:
    server.database.published = RECORD


def out_of_order(server: Server) -> None:
    server.faults["lookup/"] = 500


def not_known(server: Server) -> None:
    server.faults["lookup/"] = 404


FAULTS = [
    (wrong_sum, "verifying module: checksum mismatch"),
    (other_text, "cannot authenticate record data in server response"),
    (wrong_tile, "downloaded inconsistent tile"),
    (wrong_signature, "invalid signature for key sum.example.test"),
    (too_old_a_head, f"cannot validate record {RECORD} in tree of size {RECORD}"),
    (out_of_order, "500 Internal Server Error"),
    (not_known, "404 Not Found"),
]


@needs_go
@pytest.mark.parametrize(("break_it", "reason"), FAULTS)
def test_go_refuses_a_faulty_database(go: Go, server: Server, break_it: Callable[[Server], None], reason: str) -> None:
    """Each fault of the small database is one that the go command notices."""
    break_it(server)
    ok, said = go.download(VERSION)
    assert not ok
    assert reason in said


@needs_go
def test_go_reports_a_fork(go: Go, server: Server) -> None:
    """A database that changes what it has said before is reported."""
    server.database.published = 400
    assert go.download(VERSION)[0]
    server.database = server.database.fork(10, "another text\n")
    server.database.fill(600)  # go kept the tiles of the head that it saw; these are others
    ok, said = go.download(OTHER)
    assert not ok
    assert "SECURITY ERROR\ngo.sum database server misbehavior detected!" in said


def test_the_small_database_has_what_a_database_has(server: Server) -> None:
    """The newest head, the records themselves as tiles, and 404 for the rest; every request is counted."""

    def answer(path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"{server.url}/{path}", timeout=10) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, b""

    records = server.database.records
    assert answer("latest") == (200, server.database.head())
    assert answer("tile/8/data/001.p/50") == (200, "".join(f"{text}\n" for text in records[256:306]).encode())
    missing = [
        "",
        "lookup/example.com/none@v1.0.0",
        "lookup/x",
        "tile/8/0/009",
        "tile/8/data/009",
        "tile/x",
        "supported",
    ]
    assert [answer(path)[0] for path in missing] == [404] * len(missing)
    server.faults["latest"], server.delays["latest"] = 503, 0.2
    began = time.monotonic()
    assert answer("latest") == (503, b"")
    assert time.monotonic() - began >= 0.2
    assert server.asked == ["/latest", "/tile/8/data/001.p/50", *(f"/{path}" for path in missing), "/latest"]


# ------------------------------------------------------------------------------------------------- our own functions


@define
class Asker:
    """A client as small as can be: it asks ``url``, and remembers the newest head."""

    url: str
    known: Known
    seen: Head = NO_HEAD

    def check(self, version: ModuleVersion, h1: str, *, go_mod: bool = False) -> int:
        """Raise unless the database vouches for this sum; returns the number of the record."""
        record, message = parse_lookup(self._fetch(lookup_path(version)))
        heads = [open_head(message, self.known.verifier), self.seen]
        older, newer = sorted(heads, key=lambda head: head.tree.size)
        check_timeline(older, newer, self._proven(newer.tree, timeline_indexes(older, newer)))
        self.seen = newer
        check_included(record, newer.tree, self._proven(newer.tree, inclusion_indexes(record, newer.tree)))
        check_sum(record, version, h1, self.known.name, go_mod=go_mod)
        return record.number

    def _proven(self, tree: Tree, indexes: Iterable[int]) -> dict[int, bytes]:
        indexes = list(indexes)
        return verify(tree, indexes, {tile: self._tile(tile) for tile in tiles_needed(tree.size, indexes)})

    def _tile(self, tile: Tile) -> bytes:
        try:
            return self._fetch(tile.path)
        except urllib.error.HTTPError:
            return self._fetch(tile.complete.path)[: tile.size]

    def _fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=20) as answer:
            return bytes(answer.read())


@pytest.fixture
def asker(server: Server) -> Asker:
    known = parse_gosumdb(server.gosumdb)
    assert known is not None
    assert known.url == server.url
    return Asker(server.url, known)


def test_we_ask_the_small_database(asker: Asker, server: Server, modules: Path) -> None:
    """Both sums of both versions are found right, while the log grows and partial tiles become complete."""
    for number, version in enumerate((VERSION, OTHER)):
        zip_h1, mod_h1 = sums(modules, version)
        assert asker.check(version, zip_h1) == RECORD + 71 * number
        server.database.fill(len(server.database.records) + 150)
        asker.check(version, mod_h1, go_mod=True)
    assert asker.seen.message == server.database.head()


@pytest.mark.parametrize(("break_it", "reason"), FAULTS[:5])
def test_we_refuse_what_go_refuses(
    asker: Asker, server: Server, modules: Path, break_it: Callable[[Server], None], reason: str
) -> None:
    """Each fault of the answers is refused with the words that the go command has for it."""
    break_it(server)
    with pytest.raises(VerificationFailed) as caught:
        asker.check(VERSION, sums(modules, VERSION)[0])
    assert reason in str(caught.value)


def test_we_report_a_fork(asker: Asker, server: Server, modules: Path) -> None:
    """A database that changes what it has said before is reported, and its head is not believed."""
    server.database.published = 400
    asker.check(VERSION, sums(modules, VERSION)[0])
    seen = asker.seen
    server.database = server.database.fork(10, "another text\n")
    with pytest.raises(VerificationFailed, match=r"^SECURITY ERROR\ngo\.sum database server misbehavior detected!"):
        asker.check(OTHER, sums(modules, OTHER)[0])
    assert asker.seen == seen


@needs_go
def test_a_mismatch_is_told_as_go_tells_it(go: Go, asker: Asker, server: Server, modules: Path) -> None:
    """The text of a mismatch is the go command's own, but for its empty lines."""
    wrong_sum(server)
    with pytest.raises(VerificationFailed) as caught:
        asker.check(VERSION, sums(modules, VERSION)[0])
    said = go.download(VERSION)[1]
    assert str(caught.value) in "\n".join(line for line in said.split("\n") if line)


REAL = [
    (
        ModuleVersion("github.com/BurntSushi/toml", "v1.4.0"),
        "h1:kuoIxZQy2WRRk1pttg9asf+WVv6tWQuBNVmK8+nqPr0=",
        "h1:ukJfTF/6rtPPRCnwkur4qwRxa8vTRFBF0uk2lLoLwho=",
    ),
    (
        ModuleVersion("github.com/pkg/errors", "v0.9.1"),
        "h1:FEBLx1zS214owpjy7qsBeixbURkuhQAwrK5UwLGTwt4=",
        "h1:bwawxfHBFNV+L2hUp1rHADufV3IMtnDRdf1r5NINEl0=",
    ),
]


@needs_go
@pytest.mark.network
def test_we_ask_the_public_database() -> None:
    """Real sums are proven by the public database, asked through the upstream; a wrong one is refused."""
    settings = json.loads(subprocess.run([GO, "env", "-json"], capture_output=True, check=True).stdout)
    upstream = str(settings["GOPROXY"]).split(",")[0].split("|")[0]
    known = parse_gosumdb("")
    assert known is not None
    asker = Asker(f"{upstream}/sumdb/{known.name}", known)
    try:
        urllib.request.urlopen(f"{asker.url}/supported", timeout=10).close()
    except (OSError, ValueError) as error:
        pytest.skip(f"the upstream of `go env GOPROXY` has no checksum database: {error}")
    for version, zip_h1, mod_h1 in REAL:
        asker.check(version, zip_h1)
        asker.check(version, mod_h1, go_mod=True)
        with pytest.raises(VerificationFailed, match="checksum mismatch"):
            asker.check(version, mod_h1)
    assert asker.seen.tree.size > 50_000_000
