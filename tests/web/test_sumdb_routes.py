"""The checksum databases as clients see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from athensd.checksums.database import UnprovenDatabase
from athensd.checksums.verifier import Exempt
from athensd.doors.door import Doorkeeper, Keys
from athensd.doors.rules import parse_rules
from athensd.errors import UpstreamFailed
from athensd.sumdb.record import parse_lookup
from athensd.web.download import DownloadRoutes
from athensd.web.request import AthensSite
from athensd.web.routes import site_resource
from athensd.web.sumdb import SumDBRoutes
from tests.checksums.fakes import FakeSource, House, filled, flipped
from tests.fakes import Steps
from tests.rig.sumdb import Database, Signer
from tests.web.fakes import Daemon, Response, at_once, check_refusal

NAME = "/sumdb/sum.example.test"
LOOKUP = f"{NAME}/lookup/example.test/!big@v1.0.0"
FOR_EVER = "public, max-age=31536000, immutable"
A_MINUTE = "public, max-age=60"


class Served:
    """An athensd with a database whose key it knows, and one at a longer name whose key it does not know."""

    def __init__(self, root: Path, exempt: Exempt) -> None:
        self.house = House(root, filled())
        self.other = FakeSource(Database(Signer("sum.example.test/other")))
        self.other.database.fill(10)
        databases = {
            "sum.example.test": self.house.database,
            "sum.example.test/other": UnprovenDatabase("sum.example.test/other", self.other),
        }
        daemon = Daemon(root / "daemon")
        routes = SumDBRoutes(databases, exempt)
        daemon.site = AthensSite(site_resource(DownloadRoutes(daemon.proxy, ""), daemon.pages, routes), timeout=None)
        self.daemon = daemon
        self.ask = daemon.ask

    @property
    def asked(self) -> list[str]:
        return self.house.source.asked

    def answer(self, path: str) -> bytes:
        """What the database itself says."""
        return self.house.source.database.answer(path) or b""


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path, Exempt(no_sum="example.test/Private,*.secret.test"))


def about(answer: Response) -> tuple[int, str, str, str]:
    return answer.status, *(answer.headers[name] for name in ("content-type", "cache-control", "x-cache"))


def test_it_is_said_to_be_there(served: Served) -> None:
    """``supported`` is a 200 without a body, and nobody is asked for it."""
    answer = served.ask(f"{NAME}/supported")
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"", A_MINUTE)
    assert served.asked == []


def test_a_lookup(served: Served) -> None:
    """It holds for ever, as a record does; the second client costs nothing."""
    answer = served.ask(LOOKUP)
    assert about(answer) == (200, "text/plain; charset=utf-8", FOR_EVER, "miss")
    assert answer.body == served.answer("lookup/example.test/!big@v1.0.0")
    served.asked.clear()
    again = served.ask(LOOKUP.replace("!", "%21"))
    assert (again.body, again.headers["x-cache"]) == (answer.body, "hit")
    assert served.asked == []


def test_a_lookup_of_what_one_may_not_have(served: Served) -> None:
    """The database is not asked about it; who may have it gets an answer that is for himself."""
    rules = parse_rules("group ours go\nallow ours example.test\nhide * example.test\nallow anonymous *", "rules")
    keys = Keys(closed=True, user="go", password="x", access=rules)
    served.daemon.site.door = Doorkeeper(keys, served.daemon.clock.seconds, at_once)
    hidden = served.ask(LOOKUP)
    assert (hidden.status, hidden.lines[0], served.asked) == (404, "example.test/Big: not found", [])
    answer = served.daemon.ask(LOOKUP, headers={"Authorization": "Basic Z286eA=="})
    assert (answer.status, answer.headers["cache-control"]) == (200, FOR_EVER.replace("public", "private"))


def test_a_tile(served: Served) -> None:
    """It holds for ever; narrower ones are cut from it."""
    answer = served.ask(f"{NAME}/tile/8/0/001")
    assert about(answer) == (200, "application/octet-stream", FOR_EVER, "miss")
    assert answer.body == served.answer("tile/8/0/001")
    served.asked.clear()
    assert served.ask(f"{NAME}/tile/8/0/001.p/9").body == answer.body[: 9 * 32]
    assert served.asked == []


def test_the_newest_head(served: Served) -> None:
    """It holds for a minute at most, and says how old it is."""
    assert about(served.ask(f"{NAME}/latest")) == (200, "text/plain; charset=utf-8", A_MINUTE, "miss")
    served.house.clock.advance(200)
    served.house.source.database.fill(1100)
    answer = served.ask(f"{NAME}/latest")
    assert (answer.headers["x-cache"], answer.headers["age"]) == ("hit", "200")
    served.house.source.failure = UpstreamFailed("away")
    served.house.clock.advance(200)
    answer = served.ask(f"{NAME}/latest")
    assert (answer.status, answer.headers["x-cache"], answer.headers["age"]) == (200, "stale", "400")


def test_what_is_not_proven_does_not_hold_long(served: Served) -> None:
    """Records in tiles, and all of a database without a key, are passed on for a minute."""
    assert about(served.ask(f"{NAME}/tile/8/data/001")) == (200, "application/octet-stream", A_MINUTE, "miss")
    for path in ("latest", "lookup/filler.example.test/m3@v1.0.0", "tile/8/0/000.p/10"):
        answer = served.ask(f"{NAME}/other/{path}")
        assert (answer.status, answer.headers["cache-control"]) == (200, A_MINUTE)
        assert answer.body == served.other.database.answer(path)
    assert served.ask(f"{NAME}/other/supported").status == 200


@pytest.mark.parametrize("path", ["supported", "latest", "lookup/example.test/!big@v1.0.0", "tile/8/0/001"])
def test_head(served: Served, path: str) -> None:
    """HEAD is GET without the body; other methods are refused."""
    got, head = served.ask(f"{NAME}/{path}"), served.ask(f"{NAME}/{path}", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(got.body))
    assert served.ask(f"{NAME}/{path}", "POST").status == 405


@pytest.mark.parametrize(
    "module",
    ["example.test/!private", "example.test/!private/deeper", "x.secret.test", "x.secret.test/!y"],
)
def test_private_modules(served: Served, module: str) -> None:
    """Patterns are held against the module path with its capitals: 403 in words, and nobody is asked."""
    answer = served.ask(f"{NAME}/lookup/{module}@v1.0.0")
    assert answer.status == 403
    check_refusal(answer)
    assert "asks no checksum database about it; put it into your GONOSUMDB" in answer.lines[0]
    assert served.ask(f"{NAME}/other/lookup/{module.replace('!', '%21')}@v1.0.0").status == 403
    assert (served.asked, served.other.asked) == ([], [])


def test_patterns_are_not_held_against_escaped_paths(served: Served) -> None:
    """``example.test/private`` is another module than ``example.test/Private``, and a version is no part of a path."""
    assert served.ask(f"{NAME}/lookup/example.test/private@v1.0.0").status == 404
    assert served.asked == ["lookup/example.test/private@v1.0.0"]


@pytest.mark.parametrize(
    "path",
    [
        "/sumdb/sum.example.org/supported",
        "/sumdb/sum.example.org/latest",
        "/sumdb/example.test/latest",
        f"{NAME}/lookup/example.test/m",
        f"{NAME}/lookup/example.test/m@v1",
        f"{NAME}/lookup/example.test/m@main",
        f"{NAME}/lookup/example.test/m@v2.0.0",
        f"{NAME}/lookup/example.test/m@v1.0.0@v1.0.0",
        f"{NAME}/lookup/example.test/Big@v1.0.0",
        f"{NAME}/lookup/m@v1.0.0",
        f"{NAME}/tile/8/0/1",
        f"{NAME}/tile/8/0/001.p/256",
        f"{NAME}/tile/8/0/001.p/0",
        f"{NAME}/tile/8/-1/001",
        f"{NAME}/tile/8/0/001/",
        f"{NAME}/tile/99/0/001",
        "/sumdb/sum.example.test/x/@v/list",
    ],
)
def test_what_is_nothing(served: Served, path: str) -> None:
    """Unknown databases, and what can be no lookup and no tile, are "not there", and nobody is asked."""
    answer = served.ask(path)
    assert answer.status == 404
    check_refusal(answer)
    assert served.asked == []


def test_what_the_database_does_not_know(served: Served) -> None:
    """A version that is not in it is 404, so that the go command can say so."""
    answer = served.ask(f"{NAME}/lookup/example.test/new@v1.0.0")
    assert answer.status == 404
    check_refusal(answer)


@pytest.mark.parametrize("where", ["lookup", "tile"])
def test_a_wrong_bit(served: Served, where: str) -> None:
    """It is refused in words that name the database, and kept by nobody."""
    served.house.source.altered[where] = flipped
    answer = served.ask(LOOKUP)
    assert (answer.status, answer.headers["cache-control"]) == (502, "no-store")
    check_refusal(answer)
    assert answer.lines[0].startswith("sum.example.test: ")
    served.house.source.altered = {}
    assert served.ask(LOOKUP).status == 200


def test_a_fork(served: Served) -> None:
    """The client is told that the database is not to be trusted."""
    served.ask(LOOKUP)
    served.house.source.database = served.house.source.database.fork(1, "example.test/evil v1.0.0 h1:evil=\n")
    answer = served.ask(f"{NAME}/lookup/filler.example.test/m700@v1.0.0")
    assert answer.status == 502
    check_refusal(answer)
    assert answer.lines[:2] == ["SECURITY ERROR", "go.sum database server misbehavior detected!"]


def test_nobody_can_be_asked(served: Served) -> None:
    """What is here is served, the rest is a failure and no "not there"."""
    served.ask(LOOKUP)
    served.house.source.failure = UpstreamFailed("no answer from sum.example.test")
    assert served.ask(LOOKUP).status == 200
    answer = served.ask(f"{NAME}/lookup/filler.example.test/m700@v1.0.0")
    assert answer.status == 502
    check_refusal(answer)


def test_the_step_of_a_request(served: Served, steps: Steps) -> None:
    """A request is known as one to a checksum database, with its module, and with what was at hand."""
    served.ask(LOOKUP)
    record, _ = parse_lookup(served.ask(LOOKUP).body)
    facts = [step.facts for step in steps.named("request")]
    assert [(each["route"], each["module"], each["version"], each["cache"]) for each in facts] == [
        ("sumdb", "example.test/Big", "v1.0.0", "miss"),
        ("sumdb", "example.test/Big", "v1.0.0", "hit"),
    ]
    assert record.number == 500
