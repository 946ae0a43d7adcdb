"""Which groups may have which modules (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import Enum

from attrs import field, frozen

from athensd.doors.users import NAME, lines
from athensd.gomod.pattern import are_well_formed, matches

EVERYBODY, ANONYMOUS_ASKERS = "*", "anonymous"
_GIT = re.compile(r"\.git(?=/|$)")


class Action(Enum):
    """What a rule does: ``HIDE`` is as if there were no such module."""

    ALLOW = "allow"
    DENY = "deny"
    HIDE = "hide"


@frozen
class Asker:
    """Who asks; whoever has not logged in has no name."""

    name: str
    groups: frozenset[str] = frozenset()


ANONYMOUS = Asker("")


@frozen
class Rule:
    """For whom it is, which modules it is about, and the line in which it stands."""

    action: Action
    who: str
    pattern: str
    where: str

    def covers(self, asker: Asker, path: str) -> bool:
        """Whether it is about this."""
        return self._is_for(asker) and self._is_about(path)

    def _is_for(self, asker: Asker) -> bool:
        if self.who == EVERYBODY:
            # Nobody is let in without a login but by a rule that says so; shutting out does not stop at them.
            return bool(asker.name) or self.action is not Action.ALLOW
        return self.who in asker.groups if self.who != ANONYMOUS_ASKERS else not asker.name

    def _is_about(self, path: str) -> bool:
        if matches(self.pattern, path):
            return True
        # Hosts take other capitals and a ".git" for the same repository, so these are no way round a rule.
        return self.action is not Action.ALLOW and matches(_folded(self.pattern), _folded(path))


@frozen
class Access:
    """Rules, of which the first that is about it decides, and the groups of users by their names.

    What no rule is about may be had by whoever is logged in.
    """

    rules: tuple[Rule, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(factory=dict)

    @property
    def lets_in_anonymous(self) -> bool:
        """Whether there is anything for those who have not logged in."""
        return any(rule.action is Action.ALLOW and rule.who == ANONYMOUS_ASKERS for rule in self.rules)

    def verdict(self, asker: Asker, path: str) -> tuple[Action, str]:
        """What to do, and the line of the rule that says so (empty for the default)."""
        for rule in self.rules:
            if rule.covers(asker, path):
                return rule.action, rule.where
        return Action.ALLOW if asker.name else Action.DENY, ""


def parse_rules(text: str, file: str, groups: Collection[str] = ()) -> Access:
    """The rules in a file of lines ``allow|deny|hide GROUP|*|anonymous PATTERN`` and ``group NAME USER…``.

    ``groups`` are those that are known from elsewhere.  Raises ``ValueError`` with a line for each problem; a group
    that nobody is in is one, since a misspelt name would leave a door open.
    """
    rules: list[Rule] = []
    members: dict[str, set[str]] = {}
    problems = []
    for where, line in lines(text):
        match line.split():
            case ["group", name, *users] if re.fullmatch(NAME, name) and name != ANONYMOUS_ASKERS and users:
                members.setdefault(name, set()).update(users)
            case [("allow" | "deny" | "hide") as action, who, pattern] if are_well_formed(pattern):
                rules.append(Rule(Action(action), who, pattern, where))
            case ["allow" | "deny" | "hide", _, pattern]:
                problems.append(f"{file}, {where}: {pattern} is no pattern as in GOPRIVATE")
            case _:
                problems.append(
                    f"{file}, {where}: must be allow, deny or hide, a group and a pattern; or group NAME USER..."
                )
    known = {EVERYBODY, ANONYMOUS_ASKERS, *groups, *members}
    problems += [f"{file}, {rule.where}: nobody is in the group {rule.who}" for rule in rules if rule.who not in known]
    if problems:
        raise ValueError("\n".join(problems))
    groups_of = {
        user: frozenset(group for group, inside in members.items() if user in inside)
        for user in set().union(*members.values())
    }
    return Access(tuple(rules), groups_of)


def _folded(text: str) -> str:
    return _GIT.sub("", text.lower())
