"""Why zips stay."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from athensd.blob import BytesBlob
from athensd.errors import Forbidden, NotFound, TimedOut, UpstreamFailed, VerificationFailed
from athensd.gomod.info import Info
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.retention.reasons import PATIENCE, Reasons, parse_pins
from athensd.spool import Spool
from athensd.storage.memory import MemoryStorage
from tests.fakes import TIME, FakeOrigin, module_files, result_of, start

M = ModuleVersion("example.com/m", "v1.2.3")
ORIGIN = {"VCS": "git", "Hash": "a" * 40}


@pytest.mark.parametrize(
    ("entries", "version", "pinned"),
    [
        ([], M, False),
        (["example.com"], M, True),
        (["*.org", "example.com/*"], M, True),
        (["example.com/n"], M, False),
        (["example.com/m@v1.2.3"], M, True),
        ([" example.com/m@v1.2.3 ", "a.io"], M, True),
        (["example.com/m@v1.2.4"], M, False),
        (["example.com@v1.2.3"], M, False),
    ],
)
def test_pins(entries: list[str], version: ModuleVersion, pinned: bool) -> None:
    """A pattern pins all versions of what it matches, and MODULE@VERSION this one."""
    assert (version in parse_pins(entries)) == pinned


@pytest.mark.parametrize(
    "entry", ["", "example.com/[", "example.com/m@main", "example.com/m@v2.0.0", "@v1.0.0", "a@b@c"]
)
def test_no_pins(entry: str) -> None:
    """What is neither is named."""
    with pytest.raises(ValueError, match="is neither a pattern as in GOPRIVATE nor MODULE@VERSION") as caught:
        parse_pins(["a.io", entry])
    assert repr(entry) in str(caught.value)


class Origin(FakeOrigin):
    """One that says what it is told to."""

    def __init__(self, said: Info) -> None:
        super().__init__()
        self.said = said

    async def resolve(self, path: str, query: str) -> Info:
        await self._answer("resolve", path, query)
        return self.said


def reasons(tmp_path, said=Info(M.version, TIME), info=b"", fetched=True, clock=None):
    storage = MemoryStorage(Spool(tmp_path))
    files = {**module_files(M), Kind.ZIPHASH: b"h1:"}
    for kind, data in files.items():
        result_of(storage.put(M, kind, BytesBlob(info if info and kind is Kind.INFO else data)))
    return Reasons(storage, Origin(said), parse_pins([]), {"example.com/n"}, lambda version: fetched, clock or Clock())


def test_for_good(tmp_path) -> None:
    """What is private is known without asking anybody."""
    found = reasons(tmp_path)
    assert found.for_good(M) == ""
    assert found.for_good(ModuleVersion("example.com/n", "v1.0.0")) == "it is private"
    assert found.origin.asked == []


FULL = b'{"Version":"v1.2.3","Time":"2024-01-02T03:04:05Z","Origin":{"VCS":"git","Hash":"%b"}}'


@pytest.mark.parametrize(
    ("said", "info", "same"),
    [
        (Info(M.version, TIME), b"", True),
        (Info(M.version), b"", True),
        (Info(M.version, "2024-01-02T05:04:05+02:00"), b"", True),
        (Info(M.version, "2024-01-02T03:04:06Z"), b"", False),
        (Info("v1.2.4", TIME), b"", False),
        (Info(M.version, TIME, ORIGIN), b"", True),
        (Info(M.version, TIME, ORIGIN), FULL % (b"a" * 40), True),
        (Info(M.version, TIME, ORIGIN), FULL % (b"b" * 40), False),
    ],
)
def test_the_same(tmp_path, said: Info, info: bytes, same: bool) -> None:
    """It may go when the origin still has this version of this time and commit, as far as both are known."""
    assert result_of(reasons(tmp_path, said, info).for_now(M)) == ("" if same else "its origin has another one by now")


@pytest.mark.parametrize("error", [NotFound, Forbidden, VerificationFailed])
def test_gone(tmp_path, error: type[Exception]) -> None:
    """What its origin does not give any more stays."""
    found = reasons(tmp_path)
    found.origin.failure = error("no such version")
    assert result_of(found.for_now(M)) == "its origin has it no more: no such version"


def test_not_found_out(tmp_path) -> None:
    """That an origin is away, or does not answer, is no reason but a failure."""
    clock = Clock()
    found = reasons(tmp_path, clock=clock)
    found.origin.failure = UpstreamFailed("it is away")
    with pytest.raises(UpstreamFailed):
        result_of(found.for_now(M))
    found.origin.hold()
    asking = start(found.for_now(M))
    clock.advance(PATIENCE)
    with pytest.raises(TimedOut):
        result_of(asking)


def test_not_fetched(tmp_path) -> None:
    """What clients would not get at once stays, and its origin is not asked."""
    found = reasons(tmp_path, fetched=False)
    assert "DownloadMode" in result_of(found.for_now(M))
    assert found.origin.asked == []


@pytest.mark.parametrize("kind", [Kind.INFO, Kind.MOD, Kind.ZIPHASH])
def test_not_whole(tmp_path, kind: Kind) -> None:
    """Without one of its other files a version could not be told to be the same."""
    found = reasons(tmp_path)
    del found.storage._files[M][kind]
    assert result_of(found.for_now(M)).startswith("it is not whole: ")
    assert found.origin.asked == []
