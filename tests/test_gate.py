"""The operator's rules in front of the five verbs."""

from __future__ import annotations

import json

import pytest

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, Redirected, UpstreamFailed
from athensd.flight.memory import MemoryFlight
from athensd.freshness import Freshness
from athensd.gate import Gate, allow
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.passing import Passing
from athensd.policy.filter import parse_filter
from athensd.policy.revoked import parse_revoked
from athensd.proxy import Proxy
from athensd.storage.nothing import NoStorage
from tests.fakes import module_files, result_of, start
from tests.proxy_room import PATH, Room

OTHER = "example.com/other"
VERBS = {"info": Kind.INFO, "mod": Kind.MOD, "zip": Kind.ZIP}


class Guarded(Room):
    """A room whose door is a gate with the rules of a filter file."""

    def __init__(self, tmp_path, rules="", elsewhere="", validate=allow):
        super().__init__(tmp_path)
        flight = MemoryFlight()
        passing = Proxy(
            storage=NoStorage(),
            origin=self.origin,
            stash=Passing(self.origin, flight, self.spool, self.clock, 300),
            freshness=Freshness(flight, self.clock.seconds),
            clock=self.clock,
            timeout=20,
        )
        self.gate = Gate(self.proxy, parse_filter(rules, "filter.conf"), passing, elsewhere, validate)
        self.publish("v1.0.0", "v1.1.0", "v1.2.0", latest="v1.2.0")
        self.origin.queries[PATH, "main"] = "v1.1.0"

    def ask(self, verb, *arguments, **options):
        answer = result_of(getattr(self.gate, verb)(*arguments, **options))
        return answer, result_of(read_all(answer.blob))

    def refuses(self, verb, *arguments, word=Forbidden):
        """The text of the refusal."""
        with pytest.raises(word) as caught:
            self.ask(verb, PATH, *arguments)
        return str(caught.value)


@pytest.mark.parametrize("rules", ["", "+ example.com\n- example.com/other\n", "- example.com/m v2\n"])
def test_what_no_rule_speaks_of(tmp_path, rules):
    """It is served as if there were no filter."""
    room = Guarded(tmp_path, rules)
    assert room.list() == ["v1.0.0", "v1.1.0", "v1.2.0"]
    assert (room.latest(), room.info("main"), room.info("v1.0.0")) == ("v1.2.0", "v1.1.0", "v1.0.0")
    for verb, kind in VERBS.items():
        assert room.ask(verb, PATH, "v1.0.0")[1] == module_files(ModuleVersion(PATH, "v1.0.0"))[kind]


@pytest.mark.parametrize("rules", ["- example.com/m\n", "-\n+ example.com/other\n"])
def test_an_excluded_module(tmp_path, rules):
    """All of it is refused, with the rule that says so, and nobody is asked; stored files are no exception."""
    room = Guarded(tmp_path, rules)
    room.store("v1.0.0")
    for arguments in (("list",), ("latest",), ("info", "main"), *((verb, "v1.0.0") for verb in VERBS)):
        assert "excluded by this proxy's filter, rule -" in room.refuses(*arguments)
    assert room.origin.asked == []


def test_an_excluded_version(tmp_path):
    """It is in no list, it is not the latest, no branch leads to it, and asked for by name it is refused."""
    room = Guarded(tmp_path, "- example.com/m v1.1,v1.2\n")
    assert room.list() == ["v1.0.0"]
    assert room.latest() == "v1.0.0"
    for verb in VERBS:
        assert "v1.1.0: excluded" in room.refuses(verb, "main")
        assert "v1.2.0: excluded" in room.refuses(verb, "v1.2.0")
        room.ask(verb, PATH, "v1.0.0")


def test_a_revoked_version(tmp_path):
    """It is treated like one that is excluded, in the words of its reason; what is stored of it is no exception."""
    room = Guarded(tmp_path)
    room.store("v1.2.0")
    room.gate.revoked = parse_revoked("revoked example.com/m@v1.2.0 2026-11-24 it is bad\n", "revoked")
    assert (room.list(), room.latest()) == (["v1.0.0", "v1.1.0"], "v1.1.0")
    room.origin.queries[PATH, "main"] = "v1.2.0"
    for verb in VERBS:
        for query in ("v1.2.0", "main", "v1"):
            assert "v1.2.0: revoked on this proxy since 2026-11-24: it is bad" in room.refuses(verb, query)
        room.ask(verb, PATH, "v1.1.0")
    assert not room.gate.keeps(ModuleVersion(PATH, "v1.2.0"))
    assert room.gate.keeps(ModuleVersion(PATH, "v1.1.0"))


@pytest.mark.parametrize("verb", VERBS)
def test_revoked_while_it_is_fetched(tmp_path, verb):
    """Who waits for it already is refused too."""
    room = Guarded(tmp_path)
    room.origin.hold()
    waiting = start(getattr(room.gate, verb)(PATH, "v1.2.0"))
    room.gate.revoked = parse_revoked("revoked example.com/m@v1.2.0 2026-11-24 it is bad\n", "revoked")
    room.origin.release()
    with pytest.raises(Forbidden, match="it is bad"):
        result_of(waiting)


def test_no_version_is_left(tmp_path):
    """A list of nothing is empty, and there is no latest."""
    room = Guarded(tmp_path, "- example.com/m v1\n")
    assert room.list() == []
    assert "excludes all of its versions" in room.refuses("latest", word=NotFound)


def test_what_is_had_directly(tmp_path):
    """It is served as its origin sends it, asked for again each time, and nothing of it is stored."""
    room = Guarded(tmp_path, "D example.com/m\n")
    assert (room.list()[0], room.latest(), room.info("main")) == ("v1.0.0", "v1.2.0", "v1.1.0")
    for verb, kind in VERBS.items():
        for _ in range(2):
            assert room.ask(verb, PATH, "v1.0.0")[1] == module_files(ModuleVersion(PATH, "v1.0.0"))[kind]
        with pytest.raises(NotFound):
            result_of(room.storage.open(ModuleVersion(PATH, "v1.0.0"), kind))
    assert room.origin.fetched() == [kind for kind in VERBS.values() for _ in range(2)]
    room.origin.failure = UpstreamFailed("it is away")
    room.refuses("zip", "v1.0.0", word=UpstreamFailed)


def test_a_zip_that_passes_leaves_no_file(tmp_path):
    """It can be read to its end, by all who asked at the same time, and has no name any more."""
    room = Guarded(tmp_path, "D example.com/m\n")
    answer = result_of(room.gate.zip(PATH, "v1.0.0"))
    data = module_files(ModuleVersion(PATH, "v1.0.0"))[Kind.ZIP]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert [result_of(read_all(answer.blob)) for _ in range(2)] == [data] * 2
    assert answer.blob.file() is None


def test_what_is_had_elsewhere(tmp_path):
    """The client is sent there, with the path that it asked for."""
    room = Guarded(tmp_path, "D example.com/Big\n", elsewhere="https://up.test/go")
    targets = []
    for verb, *query in (("list",), ("latest",), ("info", "main"), ("zip", "v1.0.0-RC1")):
        with pytest.raises(Redirected) as caught:
            result_of(getattr(room.gate, verb)("example.com/Big", *query))
        targets.append((caught.value.status, caught.value.url))
    base = "https://up.test/go/example.com/!big"
    assert targets == [
        (303, f"{base}/@v/list"),
        (303, f"{base}/@latest"),
        (303, f"{base}/@v/main.info"),
        (303, f"{base}/@v/v1.0.0-!r!c1.zip"),
    ]


def test_rules_are_replaced(tmp_path):
    """From then on the new ones hold."""
    room = Guarded(tmp_path)
    assert room.list() == ["v1.0.0", "v1.1.0", "v1.2.0"]
    room.gate.filter = parse_filter("- example.com/m v1.2\n", "filter.conf")
    assert room.list() == ["v1.0.0", "v1.1.0"]


def test_the_validator(tmp_path):
    """It is asked for files, with the version that a branch stands for, and for stored ones too; not for lists."""
    asked = []

    async def validate(version):
        asked.append(version.version)
        if version.version == "v1.1.0":
            raise Forbidden(f"{version}: refused")

    room = Guarded(tmp_path, validate=validate)
    room.store("v1.0.0")
    assert (room.list(), room.latest(), asked) == (["v1.0.0", "v1.1.0", "v1.2.0"], "v1.2.0", [])
    for verb in VERBS:
        asked.clear()
        room.ask(verb, PATH, "v1.0.0")
        assert asked == ["v1.0.0"]
        room.refuses(verb, "main")
        room.refuses(verb, "v1.1.0")
    assert json.loads(room.ask("info", PATH, "v1.2.0")[1])["Version"] == "v1.2.0"
