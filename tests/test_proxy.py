"""The five verbs of the download protocol."""

from __future__ import annotations

import json

import pytest

from athensd.blob import read_all
from athensd.errors import Forbidden, Gone, InvalidPath, NotFound, TimedOut, UpstreamFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.proxy import Network
from tests.fakes import module_files, result_of, start
from tests.proxy_room import PATH, Room

M = ModuleVersion(PATH, "v1.2.3")
PSEUDO = "v1.2.4-0.20240102030405-abcdef123456"
STABLE = {"v1.0.0", "v1.2.0", "v1.2.3", "v1.10.0", "v1.11.0-rc.1"}


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


VERBS = {"info": Kind.INFO, "mod": Kind.MOD, "zip": Kind.ZIP}


@pytest.mark.parametrize("verb", VERBS)
def test_file(room, verb):
    """A file of a version is fetched once, and is the same bytes for ever, even when the origin is gone."""
    room.publish(M.version)
    first, data = room.ask(verb, PATH, M.version)
    assert (first.state, first.age) == ("miss", None)
    assert data == room.origin.files[M][VERBS[verb]]
    room.origin.failure = NotFound("the repository was deleted")
    asked = len(room.origin.asked)
    room.clock.advance(1e6)
    second, again = room.ask(verb, PATH, M.version)
    assert (second.state, second.age, again) == ("hit", None, data)
    assert len(room.origin.asked) == asked


def test_etag_of_a_zip(room):
    """A zip's ETag is its hash and its length, the same at the first answer and later; small files have none here."""
    room.publish(M.version)
    first, data = room.ask("zip", PATH, M.version)
    assert first.etag.startswith("h1:")
    assert first.etag.endswith(f"=-{len(data):x}")
    assert room.ask("zip", PATH, M.version)[0].etag == first.etag
    assert room.ask("mod", PATH, M.version)[0].etag == ""


def test_zip_without_recorded_hash(room):
    """A zip that came into the store without its hash is served without an ETag."""
    room.store(M.version)
    assert room.ask("zip", PATH, M.version)[0].etag == ""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("word", [NotFound, Gone])
def test_absent_file(room, verb, word):
    """That a version is not there is asked once for a while, and asked anew later."""
    room.origin.failure = word("example.com/m@v1.2.3: unknown revision")
    for cached in (False, True):
        with pytest.raises(word, match="unknown revision") as caught:
            room.ask(verb, PATH, M.version)
        assert caught.value.cached is cached
    assert len(room.origin.asked) == 1
    room.clock.advance(31)
    room.origin.failure = None
    room.publish(M.version)
    assert room.ask(verb, PATH, M.version)[0].state == "miss"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", [UpstreamFailed("away"), Forbidden("no"), VerificationFailed("bad")])
def test_file_that_cannot_be_had(room, verb, error):
    """A failure is given as it is and not remembered."""
    room.publish(M.version)
    room.origin.failure = error
    with pytest.raises(type(error), match=str(error)):
        room.ask(verb, PATH, M.version)
    room.origin.failure = None
    assert room.ask(verb, PATH, M.version)[0].state == "miss"


def test_list(room):
    """The list is sorted, without pseudo-versions and without versions that cannot be of this path."""
    room.publish(*STABLE, PSEUDO, "v2.0.0", "v2.0.0+incompatible", "v1", "v1.3.0+meta", "main", "v01.0.0")
    answer, text = room.ask("list", PATH)
    assert text == b"v1.0.0\nv1.2.0\nv1.2.3\nv1.10.0\nv1.11.0-rc.1\nv2.0.0+incompatible\n"
    assert (answer.state, answer.age) == ("miss", 0)


def test_list_of_pseudo_versions_only(room):
    """A module without tags has an empty list, which is an answer."""
    room.publish(PSEUDO)
    assert room.ask("list", PATH)[1] == b""


def test_stored_versions_stay_listed(room):
    """The list is that of the origin and the stored versions together: what was retracted or deleted stays."""
    room.store("v1.0.0", "v1.1.0", PSEUDO)
    room.publish("v1.0.0", "v1.2.0")
    assert room.list() == ["v1.0.0", "v1.1.0", "v1.2.0"]


def test_list_ages(room):
    """A list is fresh for a while, then given at once while it is asked for again."""
    room.publish("v1.0.0")
    room.list()
    room.publish("v1.1.0")
    room.clock.advance(59)
    answer, text = room.ask("list", PATH)
    assert (answer.state, answer.age, text) == ("hit", 59, b"v1.0.0\n")
    room.clock.advance(1)
    answer, text = room.ask("list", PATH)
    assert (answer.state, answer.age, text) == ("stale", 60, b"v1.0.0\n")
    answer, text = room.ask("list", PATH)
    assert (answer.state, answer.age, text) == ("hit", 0, b"v1.0.0\nv1.1.0\n")


def test_stale_list_when_the_origin_fails(room):
    """While the origin fails the last list is given, until it is too old; then the failure is."""
    room.publish("v1.0.0")
    room.list()
    room.origin.failure = UpstreamFailed("away")
    room.clock.advance(999)
    assert room.list() == ["v1.0.0"]
    room.clock.advance(1)
    with pytest.raises(UpstreamFailed, match="away"):
        room.list()


def test_version_by_name_is_in_the_next_list(room):
    """A version that somebody got by its name is in the list from then on, without asking the origin."""
    room.publish("v1.0.0")
    assert room.list() == ["v1.0.0"]
    room.publish("v1.1.0")
    room.ask("mod", PATH, "v1.1.0")
    assert room.list() == ["v1.0.0", "v1.1.0"]
    assert room.list(stored_only=True) == ["v1.0.0", "v1.1.0"]
    assert room.info("v1") == "v1.1.0"
    assert [question[0] for question in room.origin.asked].count("list") == 1


def test_absent_module_that_appears(room):
    """A module that was not there is, as soon as a version of it was got by name."""
    with pytest.raises(NotFound):
        room.list()
    room.publish("v1.0.0", latest="v1.0.0")
    with pytest.raises(NotFound):
        room.list()
    room.ask("info", PATH, "v1.0.0")
    assert room.list() == ["v1.0.0"]


def test_latest(room):
    """The latest version is the one that the origin says, which may not be the highest of the list."""
    room.publish(*STABLE, latest="v1.2.3")
    answer, data = room.ask("latest", PATH)
    assert json.loads(data)["Version"] == "v1.2.3"
    assert (answer.state, answer.age) == ("miss", 0)
    assert room.ask("latest", PATH)[0].state == "hit"
    room.clock.advance(60)
    room.publish(latest="v1.10.0")
    room.origin.hold()
    assert (room.latest(), room.ask("latest", PATH)[0].state) == ("v1.2.3", "stale")
    room.origin.release()
    assert room.latest() == "v1.10.0"


def test_latest_pseudo_version(room):
    """A module without tags has a pseudo-version as its latest."""
    room.publish(latest=PSEUDO)
    assert room.latest() == PSEUDO


def test_latest_of_learned_versions(room):
    """A higher version that was got by name is the latest at once; a lower one, or a pre-release, is not."""
    room.publish(*STABLE, latest="v1.2.3")
    assert room.latest() == "v1.2.3"
    for version in ("v1.0.0", "v1.11.0-rc.1"):
        room.info(version)
        assert room.latest() == "v1.2.3"
    room.info("v1.10.0")
    assert room.latest() == "v1.10.0"
    assert room.latest(stored_only=True) == "v1.10.0"


@pytest.mark.parametrize("stored_only", [True, False])
def test_latest_without_its_info(room, stored_only):
    """When the .info of a learned version cannot be had, the latest is still the one that is known."""
    room.publish(*STABLE, latest="v1.2.3")
    room.latest()
    room.ask("mod", PATH, "v1.10.0")
    room.origin.failure = UpstreamFailed("away")
    assert room.latest(stored_only=stored_only) == "v1.2.3"


def test_origin_that_is_gone(room):
    """Of a module that its origin no longer has, the stored versions are the list, and the best of them the latest."""
    room.store("v1.0.0", "v1.1.0", "v1.2.0-rc.1", PSEUDO)
    assert room.list() == ["v1.0.0", "v1.1.0", "v1.2.0-rc.1"]
    assert room.latest() == "v1.1.0"
    room.store("v1.3.0")
    room.clock.advance(1000)
    assert room.latest() == "v1.3.0"


def test_module_that_never_was(room):
    """Where nothing is stored either, "not there" is the answer, in the origin's words, and remembered."""
    for verb, words in (("list", "no such module"), ("latest", "unknown revision latest")):
        for cached in (False, True):
            with pytest.raises(NotFound, match=words) as caught:
                room.ask(verb, PATH)
            assert caught.value.cached is cached
    assert len(room.origin.asked) == 2


@pytest.mark.parametrize("verb", ["list", "latest"])
@pytest.mark.parametrize("stored", [True, False])
def test_origin_that_fails(room, verb, stored):
    """When nobody knows what there is now, the failure is the answer: the stored versions may not be all."""
    if stored:
        room.store("v1.0.0")
    room.origin.failure = UpstreamFailed("away")
    for _ in range(2):
        with pytest.raises(UpstreamFailed, match="away"):
            room.ask(verb, PATH)
    assert len(room.origin.asked) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", PATH), "listing example.com/m took longer than 20 seconds"),
        (("latest", PATH), "resolving example.com/m@latest took longer than 20 seconds"),
        (("info", PATH, "main"), "resolving example.com/m@main took longer than 20 seconds"),
        (("mod", PATH, "v1.0.0"), "fetching example.com/m@v1.0.0 took longer than 300 seconds"),
    ],
)
def test_origin_that_is_slow(room, arguments, words):
    """Every question has its deadline."""
    room.origin.hold()
    asker = start(getattr(room.proxy, arguments[0])(*arguments[1:]))
    room.clock.advance(19.9)
    assert not asker.called
    room.clock.advance(300)
    with pytest.raises(TimedOut, match=words):
        result_of(asker)
    assert room.origin.cancelled == 1


@pytest.mark.parametrize(
    "query", ["main", "feature/x", "abcdef123456", "v1.2.3+meta", "v2.0.0", "release-1.2", "V1.2.3"]
)
@pytest.mark.parametrize("verb", VERBS)
def test_branches_and_commits(room, verb, query):
    """What is no canonical version of the path stands for one, which is looked up anew after a while."""
    room.publish("v1.2.3", "v1.2.4")
    room.origin.queries[PATH, query] = "v1.2.3"
    answer, data = room.ask(verb, PATH, query)
    assert answer.age == 0
    assert _version_of(verb, data) == "v1.2.3"
    room.origin.queries[PATH, query] = "v1.2.4"
    room.clock.advance(59)
    assert _version_of(verb, room.ask(verb, PATH, query)[1]) == "v1.2.3"
    room.clock.advance(941)
    answer, data = room.ask(verb, PATH, query)
    assert answer.age == 0
    assert _version_of(verb, data) == "v1.2.4"


def _version_of(verb, data):
    """Which version these bytes are of."""
    if verb == "info":
        return json.loads(data)["Version"]
    files = {module_files(ModuleVersion(PATH, version))[VERBS[verb]]: version for version in ("v1.2.3", "v1.2.4")}
    return files[data]


def test_go_mod_of_a_branch(room):
    """The go.mod of a branch is that of the version it stands for, and is stored under that name."""
    room.publish("v1.2.3")
    room.origin.queries[PATH, "main"] = "v1.2.3"
    answer, data = room.ask("mod", PATH, "main")
    assert (answer.state, answer.age) == ("miss", 0)
    assert data == room.origin.files[M][Kind.MOD]
    assert room.ask("mod", PATH, "v1.2.3")[0].state == "hit"
    assert room.ask("mod", PATH, "main")[0].state == "hit"
    assert room.list() == ["v1.2.3"]


def test_branch_that_is_not_there(room):
    """A branch that does not exist is not there, for a while; the module's versions are not touched by that."""
    room.publish("v1.2.3")
    for cached in (False, True):
        with pytest.raises(NotFound, match="unknown revision main") as caught:
            room.info("main")
        assert caught.value.cached is cached
    assert room.info("v1.2.3") == "v1.2.3"


@pytest.mark.parametrize("verb", VERBS)
def test_branch_named_like_a_file(room, verb):
    """Asking for a branch that is named like a file does not make that file absent."""
    room.publish("v1.2.3")
    with pytest.raises(NotFound):
        room.info(f"v1.2.3.{verb}")
    assert room.ask(verb, PATH, "v1.2.3")[0].state == "miss"


def test_branch_named_like_a_file_under_way(room):
    """Nor does such a question, put while that file is being fetched, wait for the file or get its answer."""
    room.publish("v1.2.3")
    room.origin.hold()
    askers = [start(room.proxy.zip(PATH, "v1.2.3")), start(room.proxy.info(PATH, "v1.2.3.zip"))]
    room.origin.release()
    assert result_of(askers[0]).state == "miss"
    with pytest.raises(NotFound, match=r"unknown revision v1.2.3.zip"):
        result_of(askers[1])


def test_version_of_a_branch_is_in_the_next_list(room):
    """The version that a branch turned out to stand for is in the list from then on."""
    room.publish("v1.0.0")
    room.list()
    room.origin.queries[PATH, "release"] = "v1.1.0"
    assert room.info("release") == "v1.1.0"
    assert room.list() == ["v1.0.0", "v1.1.0"]


@pytest.mark.parametrize(
    ("query", "version"), [("v1", "v1.10.0"), ("v1.2", "v1.2.3"), ("v1.0", "v1.0.0"), ("v1.11", "v1.11.0-rc.1")]
)
def test_prefixes(room, query, version):
    """A cut-off version stands for the highest release that it is the beginning of."""
    room.publish(*STABLE, PSEUDO)
    if query == "v1.11":
        # A pre-release of v1.11.0 is below v1.11, so the question goes to the origin.
        room.origin.queries[PATH, query] = version
    assert room.info(query) == version
    assert (("resolve", PATH, query) in room.origin.asked) == (query == "v1.11")


def test_prefix_that_no_version_has(room):
    """A cut-off version that is none may still be a tag or a branch."""
    room.publish("v1.0.0", "v1.2.3")
    with pytest.raises(NotFound):
        room.info("v1.5")
    room.origin.queries[PATH, "v1.6"] = "v1.2.3"
    assert room.info("v1.6") == "v1.2.3"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("query", ["latest", "upgrade", "patch", "-x", "--upload-pack=x"])
def test_queries_that_are_no_versions(room, verb, query):
    """Words of the go command's own, and options, are never put to an origin."""
    with pytest.raises(InvalidPath, match=f"example.com/m@{query}"):
        room.ask(verb, PATH, query)
    assert room.origin.asked == []


@pytest.mark.parametrize("version", ["main", "v1", "v2.0.0", "v1.0.0+meta", "", "../v1.0.0"])
@pytest.mark.parametrize("query", ["latest", "main"])
def test_origin_that_resolves_to_no_version(room, version, query):
    """An origin that answers with what is no version of the module has failed, and nothing is fetched."""
    room.origin.queries[PATH, query] = version
    with pytest.raises(UpstreamFailed, match="no version of this module"):
        room.latest() if query == "latest" else room.ask("zip", PATH, query)
    assert [question[0] for question in room.origin.asked] == ["resolve"]


class TestStoredOnly:
    """``Disable-Module-Fetch``: what is here, and the origin is never asked."""

    @pytest.fixture(autouse=True)
    def never_asked(self, room):
        room.origin.failure = AssertionError("the origin was asked")
        yield
        assert room.origin.failure is None or room.origin.asked == []

    @pytest.mark.parametrize("verb", VERBS)
    def test_files(self, room, verb):
        """A stored file is given; one that is not stored is not there, which is not remembered."""
        with pytest.raises(NotFound, match="not stored here, and fetching was not wanted") as caught:
            room.ask(verb, PATH, M.version, stored_only=True)
        assert not caught.value.cached
        room.store(M.version)
        answer, data = room.ask(verb, PATH, M.version, stored_only=True)
        assert (answer.state, data) == ("hit", module_files(M)[VERBS[verb]])

    def test_not_remembered(self, room):
        """That a file was not stored says nothing to those who do want it fetched."""
        with pytest.raises(NotFound):
            room.ask("zip", PATH, M.version, stored_only=True)
        room.origin.failure = None
        room.publish(M.version)
        assert room.ask("zip", PATH, M.version)[0].state == "miss"

    def test_list_and_latest(self, room):
        """The list and the latest are those of the stored versions."""
        for verb in ("list", "latest"):
            with pytest.raises(NotFound):
                room.ask(verb, PATH, stored_only=True)
        room.store("v1.0.0", "v1.1.0", PSEUDO)
        assert room.list(stored_only=True) == ["v1.0.0", "v1.1.0"]
        assert room.latest(stored_only=True) == "v1.1.0"

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("query", ["main", "v2"])
    def test_unknown_queries(self, room, verb, query):
        """What nobody looked up before is not known."""
        room.store("v1.0.0")
        with pytest.raises(NotFound, match="asking was not wanted"):
            room.ask(verb, PATH, query, stored_only=True)

    def test_remembered(self, room):
        """What was looked up before is given, however old."""
        room.origin.failure = None
        room.publish("v1.0.0", "v1.1.0", latest="v1.1.0")
        room.origin.queries[PATH, "main"] = "v1.0.0"
        room.list(), room.latest(), room.info("main")
        asked = len(room.origin.asked)
        room.clock.advance(1e6)
        assert room.list(stored_only=True) == ["v1.0.0", "v1.1.0"]
        assert room.latest(stored_only=True) == "v1.1.0"
        assert room.info("main", stored_only=True) == "v1.0.0"
        with pytest.raises(NotFound):
            room.ask("zip", PATH, "main", stored_only=True)
        assert len(room.origin.asked) == asked


def test_many_askers_of_a_cold_list(room):
    """Many who ask for a list together cost one question."""
    room.publish("v1.0.0")
    room.origin.hold()
    askers = [start(room.proxy.list(PATH)) for _ in range(20)]
    room.origin.release()
    assert {result_of(read_all(result_of(asker).blob)) for asker in askers} == {b"v1.0.0\n"}
    assert room.origin.asked == [("list", PATH)]


def test_version_is_complete_after_a_pinned_build(room):
    """After go.mod and zip were asked for, the version is in the list of what is stored."""
    room.publish(M.version)
    room.ask("mod", PATH, M.version)
    room.ask("zip", PATH, M.version)
    assert list(result_of(room.storage.versions(PATH))) == [M.version]
    assert set(room.origin.fetched()) == WHOLE


def ask_all(room):
    """Everything that a store can answer."""
    return (
        room.list(),
        room.latest(),
        room.info("v1.0"),
        room.info("v1.1.0"),
        room.ask("mod", PATH, "v1.1.0")[0].state,
        room.ask("zip", PATH, "v1.0.0")[0].state,
    )


STORED = (["v1.0.0", "v1.1.0"], "v1.1.0", "v1.0.0", "v1.1.0", "hit", "hit")


def test_offline(tmp_path):
    """Everything is answered from the store, and nobody is asked for anything."""
    room = Room(tmp_path, Network.OFFLINE)
    room.store("v1.0.0", "v1.1.0")
    room.publish("v1.2.0", latest="v1.2.0")
    assert ask_all(room) == STORED
    for verb, *arguments in (("info", "main"), ("info", "v1.2.0"), ("zip", "v1.2.0"), ("info", "v2")):
        with pytest.raises(NotFound):
            room.ask(verb, PATH, *arguments)
    with pytest.raises(NotFound):
        room.ask("list", "example.test/other")
    assert room.origin.asked == []


def test_fallback(tmp_path):
    """While asking fails the store answers; what it does not have is still a failure, and nothing is remembered."""
    room = Room(tmp_path, Network.FALLBACK)
    room.store("v1.0.0", "v1.1.0")
    room.publish("v1.2.0", latest="v1.2.0")
    room.origin.failure = UpstreamFailed("the origin is away")
    assert ask_all(room) == STORED
    for verb, *arguments in (("info", "main"), ("info", "v1.2.0"), ("zip", "v1.2.0"), ("info", "v2")):
        with pytest.raises(UpstreamFailed):
            room.ask(verb, PATH, *arguments)
    with pytest.raises(UpstreamFailed):
        room.ask("list", "example.test/other")
    room.origin.failure = None
    assert (room.list(), room.latest()) == (["v1.0.0", "v1.1.0", "v1.2.0"], "v1.2.0")


def test_strict(tmp_path):
    """While asking fails, what changes cannot be told, whatever is stored."""
    room = Room(tmp_path)
    room.store("v1.0.0")
    room.origin.failure = UpstreamFailed("the origin is away")
    for verb, *arguments in (("list",), ("latest",), ("info", "v1.0")):
        with pytest.raises(UpstreamFailed):
            room.ask(verb, PATH, *arguments)
    assert room.ask("zip", PATH, "v1.0.0")[0].state == "hit"
