"""Groups and rules."""

from __future__ import annotations

import pytest

from athensd.doors.rules import ANONYMOUS, Action, Asker, parse_rules

ALICE, BOB = Asker("alice", frozenset({"pay"})), Asker("bob")
RULES = """
# who
group pay   alice
group build alice ci
group build robot

# what
allow pay       corp.test/pay
hide  *         corp.test/pay
deny  *         bad.test
allow anonymous open.test,free.test/*/m
"""


@pytest.mark.parametrize(
    ("asker", "path", "action", "line"),
    [
        (ALICE, "corp.test/pay", Action.ALLOW, 8),
        (ALICE, "corp.test/pay/v2", Action.ALLOW, 8),
        (BOB, "corp.test/pay/v2", Action.HIDE, 9),
        (ANONYMOUS, "corp.test/pay", Action.HIDE, 9),
        (BOB, "corp.test/payments", Action.ALLOW, 0),
        (ALICE, "bad.test/x", Action.DENY, 10),
        (ANONYMOUS, "bad.test/x", Action.DENY, 10),
        (ANONYMOUS, "open.test/x", Action.ALLOW, 11),
        (ANONYMOUS, "free.test/a/m/b", Action.ALLOW, 11),
        (ANONYMOUS, "free.test/a/n", Action.DENY, 0),
        (BOB, "open.test/x", Action.ALLOW, 0),
        (BOB, "else.test/x", Action.ALLOW, 0),
        (ANONYMOUS, "else.test/x", Action.DENY, 0),
    ],
)
def test_the_first_rule_that_is_about_it(asker: Asker, path: str, action: Action, line: int) -> None:
    """It decides; without one, whoever is logged in may have it and nobody else."""
    verdict = parse_rules(RULES, "rules").verdict(asker, path)
    assert verdict == (action, f"line {line}" if line else "")


@pytest.mark.parametrize("path", ["Corp.test/Pay", "corp.test/pay.git", "corp.test/PAY.git/v2"])
def test_no_way_round(path: str) -> None:
    """What a host takes for the same repository is shut out too, and is let in by nothing but its own name."""
    access = parse_rules(RULES, "rules")
    assert access.verdict(BOB, path)[0] is Action.HIDE
    assert access.verdict(ALICE, path)[0] is Action.HIDE
    assert access.verdict(ANONYMOUS, "Open.test/x")[0] is Action.DENY


def test_everybody_is_not_anonymous() -> None:
    """To allow something to everybody is not to put it on the street."""
    access = parse_rules("allow * corp.test", "rules")
    assert not access.lets_in_anonymous
    assert access.verdict(ANONYMOUS, "corp.test/x")[0] is Action.DENY
    assert access.verdict(BOB, "corp.test/x")[0] is Action.ALLOW
    assert parse_rules("allow anonymous a.test", "rules").lets_in_anonymous


def test_groups() -> None:
    """A group may stand on several lines, and a user in several groups."""
    assert parse_rules(RULES, "rules").groups == {
        "alice": {"pay", "build"},
        "ci": {"build"},
        "robot": {"build"},
    }


def test_all_problems_at_once() -> None:
    """Each is named by its line: a word, a pattern, a group that nobody is in."""
    text = (
        "permit * a.test\nallow *\ndeny * a.test/[x\nhide payy a.test\n"
        "group pay\ngroup anonymous bob\ngroup * bob\nallow ci b.test\ndeny * a.test,"
    )
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_rules(text, "rules", {"ci"})
    word = "must be allow, deny or hide, a group and a pattern; or group NAME USER..."
    assert str(caught.value).splitlines() == [
        *(f"rules, line {number}: {word}" for number in (1, 2)),
        "rules, line 3: a.test/[x is no pattern as in GOPRIVATE",
        *(f"rules, line {number}: {word}" for number in (5, 6, 7)),
        "rules, line 9: a.test, is no pattern as in GOPRIVATE",
        "rules, line 4: nobody is in the group payy",
    ]
