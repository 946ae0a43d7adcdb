"""GOPROXY as the go command reads it, and the order in which places are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from athensd.blob import BytesBlob
from athensd.errors import Forbidden, Gone, NotFound, Overloaded, TimedOut, UpstreamFailed
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.origin.chain import TOOLCHAIN, ChainOrigin, Hop, OffOrigin, parse_goproxy

T = TypeVar("T")
M = "example.test/m"
A, B = "https://a.test", "https://b.test"


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        (A, [Hop(A)]),
        (f"{A},{B}", [Hop(A), Hop(B)]),
        (f"{A}|{B}", [Hop(A, True), Hop(B)]),
        (f"{A}|{B},direct", [Hop(A, True), Hop(B), Hop("direct")]),
        (f" {A} , direct ", [Hop(A), Hop("direct")]),
        (f",,{A},|,direct,", [Hop(A), Hop("direct")]),
        (f"{A}|,{B}", [Hop(A, True), Hop(B)]),
        (f"{A}|", [Hop(A, True)]),
        (f"direct,{A}", [Hop("direct")]),
        (f"off,{A}", [Hop("off")]),
        (f"{A}|direct|{B}", [Hop(A, True), Hop("direct", True)]),
        ("http://a.test:3000/go/", [Hop("http://a.test:3000/go/")]),
        ("http://[::1]:3000", [Hop("http://[::1]:3000")]),
        ("proxy.test", [Hop("https://proxy.test")]),
        ("proxy.test/go", [Hop("https://proxy.test/go")]),
        ("proxy/go", [Hop("https://proxy/go")]),
        ("localhost:3000", [Hop("https://localhost:3000")]),
        ("user:secret@proxy.test", [Hop("https://user:secret@proxy.test")]),
        ("https://user:secret@proxy.test", [Hop("https://user:secret@proxy.test")]),
        ("file:///srv/cache", [Hop("file:///srv/cache")]),
        ("file:///srv/my%20cache/|direct", [Hop("file:///srv/my%20cache/", True), Hop("direct")]),
        ("file:/srv/cache,off", [Hop("file:/srv/cache"), Hop("off")]),
    ],
)
def test_goproxy(text: str, hops: list[Hop]) -> None:
    """Commas, bars, blanks, empty entries and hosts without a scheme are read as cmd/go/internal/modfetch does."""
    assert list(parse_goproxy(text)) == hops


@pytest.mark.parametrize("text", ["", ",", " ", "|,|", "\t"])
def test_a_goproxy_of_nothing(text: str) -> None:
    """A list without an entry is an error, as it is for the go command."""
    with pytest.raises(ValueError, match="names no place"):
        parse_goproxy(text)


@pytest.mark.parametrize(
    "entry", ["foo", "/srv/cache", "ftp://a.test", "https://", "https:///x", "http:/x", "./srv:/x"]
)
def test_a_bad_entry_is_named(entry: str) -> None:
    """What is no URL of the web and no word of Go's is an error that names it."""
    with pytest.raises(ValueError, match="neither") as error:
        parse_goproxy(f"{A},{entry}")
    assert entry in str(error.value)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("file://srv/cache", "names a host; a folder of this machine has three slashes"),
        ("file://localhost/srv", "names a host"),
        ("file:///srv?x", "has more than a path"),
        ("file:///srv#", "has more than a path"),
        ("file:srv/cache", "is not the absolute path of a folder"),
        ("file:", "is not the absolute path of a folder"),
        ("file://", "is not the absolute path of a folder"),
        ("file:///srv/%2e%2e/etc", "is not the absolute path of a folder"),
        ("file:///srv/%00", "is not the absolute path of a folder"),
    ],
)
def test_a_folder_that_is_none(entry: str, why: str) -> None:
    """A file URL that names no folder of this machine is an error that says why."""
    with pytest.raises(ValueError, match="GOPROXY: ") as error:
        parse_goproxy(f"{A},{entry},direct")
    assert f"{entry!r} {why}" in str(error.value)


def test_a_bad_entry_shows_no_password() -> None:
    """The error about a bad entry does not repeat its credentials."""
    with pytest.raises(ValueError, match=r"ftp://a\.test") as error:
        parse_goproxy("ftp://user:secret@a.test")
    assert "secret" not in str(error.value)
    with pytest.raises(ValueError, match="names a host") as error:
        parse_goproxy("file://user:secret@a.test/srv")
    assert "secret" not in str(error.value)


@implementer(IOrigin)
class Place:
    """Raises what it is given, or answers with its own name."""

    def __init__(self, name: str, log: list[str], outcome: Exception | None = None) -> None:
        self.name, self.log, self.outcome = name, log, outcome

    def _answer(self, value: T) -> T:
        self.log.append(self.name)
        if self.outcome is not None:
            raise self.outcome
        return value

    async def list(self, path: str) -> Sequence[Listed]:
        return self._answer([Listed(self.name)])

    async def resolve(self, path: str, query: str) -> Info:
        return self._answer(Info(self.name))

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        return self._answer({kind: BytesBlob(self.name.encode())})


ASK: list[tuple[str, Callable[[Any], Awaitable[Any]]]] = [
    ("list", lambda origin: origin.list(M)),
    ("resolve", lambda origin: origin.resolve(M, "latest")),
    ("fetch", lambda origin: origin.fetch(ModuleVersion(M, "v1.0.0"), Kind.MOD, Path("x"))),
]

absent, gone = NotFound("absent"), Gone("gone")
broken, slow, busy, denied = UpstreamFailed("broken"), TimedOut("slow"), Overloaded("busy"), Forbidden("denied")
absent2, broken2 = NotFound("absent too"), UpstreamFailed("broken too")


class Chains(SynchronousTestCase):
    """Chains of places with given outcomes."""

    def outcome(self, goproxy: str, outcomes: Mapping[str, Exception | None], ask: Any, private: str = "") -> Any:
        """Who was asked, and the answer's place or the error."""
        log: list[str] = []
        places = {where: Place(where, log, outcome) for where, outcome in outcomes.items()}
        direct = places.get("direct", Place("direct", log))
        special = {"off": OffOrigin()}
        hops = [(hop, special.get(hop.where) or places[hop.where]) for hop in parse_goproxy(goproxy)]
        work = Deferred.fromCoroutine(ask(ChainOrigin(hops, private, direct)))
        failure: list[BaseException] = []
        work.addErrback(lambda reason: failure.append(reason.value))
        self.successResultOf(work)
        return log, (failure or ["answered"])[0]

    def test_who_is_asked_and_what_is_told(self) -> None:
        """A comma goes on at "not there" only, a bar always; the error told is the one TryProxies would choose."""
        for goproxy, outcomes, asked, told in [
            (f"{A},{B}", {A: None, B: None}, [A], "answered"),
            (f"{A},{B}", {A: absent, B: None}, [A, B], "answered"),
            (f"{A},{B}", {A: gone, B: None}, [A, B], "answered"),
            (f"{A},{B}", {A: broken, B: None}, [A], broken),
            (f"{A},{B}", {A: slow, B: None}, [A], slow),
            (f"{A},{B}", {A: busy, B: None}, [A], busy),
            (f"{A},{B}", {A: denied, B: None}, [A], denied),
            (f"{A}|{B}", {A: broken, B: None}, [A, B], "answered"),
            (f"{A}|{B}", {A: denied, B: None}, [A, B], "answered"),
            (f"{A},{B}", {A: absent, B: absent2}, [A, B], absent2),
            (f"{A},{B}", {A: absent, B: broken}, [A, B], broken),
            (f"{A}|{B}", {A: broken, B: absent}, [A, B], broken),
            (f"{A}|{B}", {A: broken, B: broken2}, [A, B], broken2),
            (f"{A},direct", {A: absent, "direct": absent2}, [A, "direct"], absent2),
            (f"{A}|direct", {A: broken, "direct": absent}, [A, "direct"], absent),
            (f"{A}|direct", {A: broken, "direct": broken2}, [A, "direct"], broken2),
            (f"{A},direct", {A: broken, "direct": None}, [A], broken),
            (f"{A}|off", {A: broken}, [A], broken),
        ]:
            for name, ask in ASK:
                self.assertEqual(self.outcome(goproxy, outcomes, ask), (asked, told), (goproxy, outcomes, name))

    def test_off(self) -> None:
        """``off`` is "not there", with a word on what was switched off."""
        for goproxy, outcomes in (("off", {}), (f"{A},off", {A: absent})):
            for _, ask in ASK:
                _, error = self.outcome(goproxy, outcomes, ask)
                self.assertIsInstance(error, NotFound)
                self.assertIn("GOPROXY=off", str(error))

    def test_private_modules_go_direct(self) -> None:
        """A module that GONOPROXY matches is asked of its own host and never of a proxy, whatever comes of it."""
        for private in (M, "example.test", "*.test", "x.test,example.test/*"):
            for outcome in (None, absent, broken):
                for _, ask in ASK:
                    asked, told = self.outcome(f"{A},{B}", {A: None, B: None, "direct": outcome}, ask, private)
                    self.assertEqual((asked, told), (["direct"], outcome or "answered"))

    def test_other_modules_do_not_go_direct(self) -> None:
        """A pattern that does not match changes nothing."""
        for private in ("", "other.test", "example.test/m/sub", "example.tes"):
            for _, ask in ASK:
                self.assertEqual(self.outcome(A, {A: None}, ask, private)[0], [A])

    def test_toolchains(self) -> None:
        """Go's toolchains are asked of upstreams alone: no pattern makes them private, and no repository has them."""
        version = ModuleVersion(TOOLCHAIN, "v0.0.1-go1.27.4.linux-amd64")
        for private in ("", "*", "golang.org", TOOLCHAIN):
            for ask in (
                lambda origin: origin.list(TOOLCHAIN),
                lambda origin: origin.resolve(TOOLCHAIN, "latest"),
                lambda origin: origin.fetch(version, Kind.ZIP, Path("x")),
            ):
                for goproxy, outcomes, asked, told in [
                    (f"{A},direct", {A: None, "direct": None}, [A], "answered"),
                    (f"{A},direct", {A: absent, "direct": None}, [A], absent),
                    (f"{A}|direct", {A: broken, "direct": None}, [A], broken),
                    (f"{A},{B},direct", {A: absent, B: None, "direct": None}, [A, B], "answered"),
                ]:
                    self.assertEqual(self.outcome(goproxy, outcomes, ask, private), (asked, told))
                asked, error = self.outcome("direct", {"direct": None}, ask, private)
                self.assertEqual((asked, type(error)), ([], NotFound))
                self.assertIn("Go's toolchains come from an upstream, and GOPROXY names none", str(error))
                self.assertIn("GOPROXY=off", str(self.outcome("off", {}, ask, private)[1]))

    def test_a_fault_of_ours_ends_the_chain(self) -> None:
        """An error that is no word of the vocabulary is not covered up by asking on."""
        for _, ask in ASK:
            log: list[str] = []
            hops = [(Hop(A, True), Place(A, log, RuntimeError("bug"))), (Hop(B), Place(B, log))]
            self.failureResultOf(Deferred.fromCoroutine(ask(ChainOrigin(hops, "", Place("direct", log)))), RuntimeError)
            self.assertEqual(log, [A])

    def test_contracts(self) -> None:
        """Both provide what an origin promises."""
        verifyObject(IOrigin, OffOrigin())
        verifyObject(IOrigin, ChainOrigin([], "", OffOrigin()))
