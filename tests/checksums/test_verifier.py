"""Versions are held against the database before they are stored, or later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
from twisted.internet.defer import Deferred

from athensd.checksums.unverified import Sum, Unverified
from athensd.checksums.verifier import Checksums, Exempt
from athensd.errors import Forbidden, Mismatch, StorageFailed, UpstreamFailed, VerificationFailed
from athensd.gomod.version import ModuleVersion
from tests.checksums.fakes import BIG, MOD_SUM, SUM, House, filled, flipped, version
from tests.fakes import Steps, at_once, result_of, start

AWAY = UpstreamFailed("no answer from sum.example.test")
WRONG = "h1:WRONG="


class Verifying:
    """A ``Checksums`` over a database that a test can turn off; ``quarantined`` is what was found to be wrong."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.house = House(root, filled())
        self.source = self.house.source
        self.unverified = Unverified(root / "unverified", self.house.spool)
        self.quarantined: list[Sum] = []
        self.settings = settings
        self.restart()

    def restart(self, **settings: Any) -> None:
        self.checksums = Checksums(
            settings.get("database", self.house.database),
            settings.get("exempt", Exempt()),
            self.unverified,
            self.house.clock,
            at_once,
            self._quarantine,
            **self.settings,
        )

    def check(self, wanted: ModuleVersion, h1: str, *, go_mod: bool = False) -> None:
        result_of(self.checksums.check(wanted, h1, go_mod=go_mod))

    async def _quarantine(self, wrong: Sum) -> None:
        self.quarantined.append(wrong)


@pytest.fixture
def verifying(tmp_path: Path) -> Verifying:
    return Verifying(tmp_path)


def test_the_right_sums(verifying: Verifying) -> None:
    """Zip and go.mod with the database's sums pass, at the cost of one lookup."""
    verifying.check(BIG, SUM)
    verifying.check(BIG, MOD_SUM, go_mod=True)
    assert [path for path in verifying.source.asked if path.startswith("lookup")] == ["lookup/example.test/!big@v1.0.0"]
    assert verifying.unverified.all() == []


@pytest.mark.parametrize(("go_mod", "noun"), [(False, "module"), (True, "go.mod")])
def test_a_wrong_sum(verifying: Verifying, go_mod: bool, noun: str) -> None:
    """It is refused in Go's words and logged at error."""
    with structlog.testing.capture_logs() as logs, pytest.raises(Mismatch) as refusal:
        verifying.check(BIG, WRONG, go_mod=go_mod)
    assert str(refusal.value).startswith(f"{BIG}: verifying {noun}: checksum mismatch\n\tdownloaded: {WRONG}\n")
    assert "SECURITY ERROR\nThis download does NOT match the one reported by the checksum server." in str(refusal.value)
    assert [(line["log_level"], line["event"]) for line in logs] == [("error", "checksum mismatch")]
    assert verifying.unverified.all() == []


def test_a_database_that_lies(verifying: Verifying) -> None:
    """An answer that cannot be proven verifies nothing: it is refused, also where what is unverified is stored."""
    verifying.source.altered["tile/8/0/001"] = flipped
    with pytest.raises(VerificationFailed, match="inconsistent tile") as refusal:
        verifying.check(BIG, SUM)
    assert not isinstance(refusal.value, Mismatch)


@pytest.mark.parametrize(
    "exempt", [Exempt(no_sum="example.test"), Exempt(gonosumdb="example.test/B*"), Exempt(goprivate="x,*.test")]
)
def test_the_exempt(verifying: Verifying, exempt: Exempt) -> None:
    """Of private modules the database never hears, and whatever sum they have passes."""
    verifying.restart(exempt=exempt)
    verifying.checksums.prefetch(BIG)
    verifying.check(BIG, WRONG)
    assert verifying.source.asked == []


def test_exempt_paths() -> None:
    """GONOSUMDB takes the place of GOPRIVATE, and Go's toolchains are asked about whatever Go's settings say."""
    assert "a.test/x" in Exempt("", "a.test", "b.test")
    assert "b.test/x" not in Exempt("", "a.test", "b.test")
    assert "b.test/x" in Exempt("b.test", "a.test", "")
    assert "golang.org/toolchain" not in Exempt("", "*", "")


def test_no_database(verifying: Verifying) -> None:
    """With GOSUMDB=off everything passes."""
    verifying.restart(database=None)
    verifying.checksums.start()
    verifying.checksums.prefetch(BIG)
    verifying.check(BIG, WRONG)
    verifying.checksums.stop()
    assert verifying.source.asked == []


def test_what_the_database_does_not_know(verifying: Verifying) -> None:
    """It passes, with a line in the log: the go command of the client decides."""
    with structlog.testing.capture_logs() as logs:
        verifying.check(ModuleVersion("example.test/new", "v1.0.0"), WRONG)
    assert [(line["log_level"], line["event"]) for line in logs] == [("info", "unknown to the checksum database")]
    assert verifying.unverified.all() == []


@pytest.mark.parametrize("failure", [AWAY, Forbidden("not you")])
def test_stored_and_verified_later(verifying: Verifying, failure: Exception, steps: Steps) -> None:
    """While it is away all passes and is remembered; when it is back, only what is wrong is handed over."""
    verifying.source.failure = failure
    verifying.checksums.start()
    verifying.check(BIG, SUM)
    verifying.check(BIG, MOD_SUM, go_mod=True)
    verifying.check(version(3), WRONG)
    verifying.check(ModuleVersion("example.test/new", "v1.0.0"), "h1:new=")
    assert len(verifying.unverified.all()) == 4
    verifying.house.clock.advance(60)
    assert len(verifying.unverified.all()) == 4

    verifying.checksums.stop()
    verifying.restart()
    verifying.checksums.start()
    assert (len(verifying.unverified.all()), verifying.quarantined) == (4, [])
    verifying.source.failure = None
    with structlog.testing.capture_logs() as logs:
        verifying.house.clock.advance(60)
    assert (verifying.unverified.all(), verifying.quarantined) == ([], [Sum(version(3), WRONG)])
    assert [line["module"] for line in logs if line["log_level"] == "error"] == [version(3).path]
    assert [step.facts for step in steps.named("recheck")][-1] == {"count": 4}
    asked = len(verifying.source.asked)
    verifying.house.clock.advance(60)
    assert len(verifying.source.asked) == asked
    verifying.checksums.stop()
    assert verifying.house.clock.getDelayedCalls() == []


class Ordered(Unverified):
    """Has a defined order."""

    def all(self) -> list[Sum]:
        return sorted(super().all(), key=str)


def test_those_that_always_fail(verifying: Verifying, tmp_path: Path) -> None:
    """Versions that cannot be asked about do not keep the others from being verified."""
    verifying.unverified = Ordered(tmp_path / "unverified", verifying.house.spool)
    verifying.restart()
    for number in range(5):
        verifying.unverified.add(Sum(version(number), f"h1:{number}="))
    verifying.source.altered = {f"lookup/filler.example.test/m{number}@": flipped for number in (0, 1)}
    verifying.checksums.start()
    verifying.house.clock.pump([60] * 2)
    assert {each.version for each in verifying.unverified.all()} == {version(0), version(1)}
    verifying.source.altered = {}
    verifying.house.clock.advance(60)
    assert verifying.unverified.all() == []
    verifying.checksums.stop()


def test_one_that_may_not_be_asked_about(verifying: Verifying) -> None:
    """That a proxy refuses to ask about one version says nothing of the others."""
    verifying.source.failure = Forbidden("not this one")
    verifying.check(version(3), WRONG)
    verifying.source.failure = None
    verifying.check(BIG, SUM)
    assert verifying.unverified.all() == [Sum(version(3), WRONG)]


def test_a_quarantine_that_fails(verifying: Verifying) -> None:
    """What could not be taken away is tried again."""
    verifying.unverified.add(Sum(BIG, WRONG))
    failures = [RuntimeError("the store is away")]

    async def quarantine(wrong: Sum) -> None:
        if failures:
            raise failures.pop()
        verifying.quarantined.append(wrong)

    verifying._quarantine = quarantine  # type: ignore[method-assign]
    verifying.restart()
    verifying.checksums.start()
    assert len(verifying.unverified.all()) == 1
    verifying.house.clock.advance(60)
    assert (verifying.unverified.all(), verifying.quarantined) == ([], [Sum(BIG, WRONG)])
    verifying.checksums.stop()


def test_nobody_waits_long(verifying: Verifying) -> None:
    """A database that says nothing costs one asker ten seconds, and those of the next half minute none."""
    silence: Deferred[None] = Deferred()
    verifying.source.delay = lambda: silence
    first = start(verifying.checksums.check(BIG, SUM))
    verifying.house.clock.advance(9.9)
    assert not first.called
    verifying.house.clock.advance(0.1)
    result_of(first)
    verifying.check(version(3), "h1:3=")
    assert verifying.source.asked == ["lookup/example.test/!big@v1.0.0"]
    verifying.house.clock.advance(30)
    third = start(verifying.checksums.check(version(4), "h1:4="))
    assert not third.called
    silence.callback(None)
    result_of(third)
    assert {each.version for each in verifying.unverified.all()} == {BIG, version(3)}


def test_refused_while_it_is_away(tmp_path: Path) -> None:
    """With the other setting nothing passes unverified; and what is kept is verified without the database."""
    verifying = Verifying(tmp_path, refuse=True)
    verifying.check(BIG, SUM)
    verifying.source.failure = AWAY
    verifying.check(BIG, MOD_SUM, go_mod=True)
    with pytest.raises(UpstreamFailed, match="it cannot be verified: no answer from"):
        verifying.check(version(3), "h1:3=")
    assert verifying.unverified.all() == []
    verifying.source.failure = None
    verifying.check(version(3), "h1:3=")


def test_a_mark_that_cannot_be_made(verifying: Verifying, tmp_path: Path) -> None:
    """What could not be remembered as unverified is not stored."""
    (tmp_path / "unverified").write_text("in the way")
    verifying.source.failure = AWAY
    with pytest.raises(StorageFailed, match="could not be noted"):
        verifying.check(BIG, SUM)


def test_asking_early(verifying: Verifying) -> None:
    """A check that was announced joins the question under way; an announcement never fails."""
    answer: Deferred[None] = Deferred()
    verifying.source.delay = lambda: answer if len(verifying.source.asked) == 1 else _now()
    verifying.checksums.prefetch(BIG)
    check = start(verifying.checksums.check(BIG, SUM))
    assert verifying.source.asked == ["lookup/example.test/!big@v1.0.0"]
    answer.callback(None)
    result_of(check)
    for failure in (AWAY, RuntimeError("a fault")):
        verifying.source.failure = failure
        verifying.checksums.prefetch(version(3))


def _now() -> Deferred[None]:
    now: Deferred[None] = Deferred()
    now.callback(None)
    return now
