"""The file of what is revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from athensd.errors import Forbidden
from athensd.gomod.version import ModuleVersion
from athensd.policy.revoked import RESTORED, REVOKED, Revoked, line_of, parse_revoked

M = ModuleVersion("x.y/Big/m", "v1.2.3")
WHEN = datetime(2026, 11, 24, 13, 49, 18, tzinfo=UTC)
LINE = "revoked x.y/Big/m@v1.2.3 2026-11-24T13:49:18Z SEC-12: it is not ours"


def test_a_line() -> None:
    """It is read as it was written: in UTC, on one line."""
    assert line_of(REVOKED, M, WHEN, " SEC-12: it is\nnot ours ") == LINE
    elsewhere = WHEN.astimezone(timezone(timedelta(hours=5)))
    assert line_of(REVOKED, M, elsewhere, "SEC-12: it is not ours") == LINE
    [stone] = parse_revoked(LINE, "f")
    assert (stone.version, stone.since, stone.reason, str(stone)) == (M, WHEN, "SEC-12: it is not ours", LINE)


def test_the_last_line_holds() -> None:
    """A version may be revoked, restored, and revoked anew for another reason; comments and blank lines say nothing."""
    restored = line_of(RESTORED, M, WHEN, "a false alarm")
    assert list(parse_revoked(f"# by hand\n\n{LINE}\n{restored}\n", "f")) == []
    again = line_of(REVOKED, M, WHEN, "after all")
    [stone] = parse_revoked("\n".join([LINE, restored, again]), "f")
    assert stone.reason == "after all"
    assert list(parse_revoked(restored, "f")) == []


def test_which_version() -> None:
    """Just this one of just this module, with the reason for whoever asks."""
    revoked = parse_revoked(LINE, "f")
    with pytest.raises(Forbidden) as caught:
        revoked.check(M.path, M.version)
    assert str(caught.value) == f"{M}: revoked on this proxy since 2026-11-24: SEC-12: it is not ours"
    for path, version in ((M.path, "v1.2.4"), ("x.y/big/m", M.version), (f"{M.path}/v2", "v2.0.0")):
        revoked.check(path, version)
    assert (revoked.any_of(M.path), revoked.any_of("x.y/Big"), Revoked().any_of(M.path)) == (True, False, False)


def test_by_hand() -> None:
    """A day will do for a time, and other blanks between the words."""
    [stone] = parse_revoked("  revoked\tx.y/m@v1.0.0   2026-11-24  because", "f")
    assert (stone.since, stone.reason) == (datetime(2026, 11, 24, tzinfo=UTC), "because")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x.y/m@v1.0.0 2026-11-24 because", "must be revoked or restored, MODULE@VERSION, a time and a reason"),
        ("revoked x.y/m@v1.0.0 2026-11-24", "must be revoked or restored, MODULE@VERSION, a time and a reason"),
        ("revoked x.y/m@v1 2026-11-24 because", '"x.y/m@v1" is no version of a module'),
        ("revoked x.y/m/v2@v1.0.0 2026-11-24 because", '"x.y/m/v2@v1.0.0" is no version of a module'),
        ("revoked x.y/m@v1.0.0 yesterday because", '"yesterday" is no time'),
        ("revoked x.y/m@v1.0.0 9999-12-31T23:00:00-02:00 because", '"9999-12-31T23:00:00-02:00" is no time'),
    ],
)
def test_what_makes_no_sense(line: str, problem: str) -> None:
    """Each problem is named with its line."""
    with pytest.raises(ValueError, match="f:") as caught:
        parse_revoked(f"{LINE}\n{line}\n{line}\n", "f")
    assert [each.partition(problem)[0] for each in str(caught.value).split("\n")] == ["f:2: ", "f:3: "]
