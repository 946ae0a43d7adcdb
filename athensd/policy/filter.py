"""The filter file: which modules and versions may be had, and which are served without being stored.

The grammar is that of Athens (``docs/policy.md`` has it, and where ours differs).  Rules hang in a tree of path
elements, so that ten thousand of them cost a request no more than ten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from itertools import takewhile

from attrs import define, field, frozen

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path, quoted
from athensd.gomod.version import canonical, compare, is_valid

_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_BOUNDED = re.compile(r"(<=?|[~^])v?([0-9].*)")
_LISTED = re.compile(r"v?([0-9][^*]*)(\**)")


class Action(Enum):
    """What a rule does with a module, by its sign in the file."""

    INCLUDE = "+"
    EXCLUDE = "-"
    DIRECT = "D"


@frozen
class Verdict:
    """What to do with a module, and the rule that says so: its line, and the number of that; empty for the default."""

    action: Action
    rule: str = ""


_DEFAULT = Verdict(Action.INCLUDE)


@frozen
class _Qualifier:
    """Some versions: those that stand in this relation to the bound."""

    relation: str
    bound: str

    def covers(self, version: str) -> bool:
        return _RELATIONS[self.relation](version, self.bound)


def _same(count: int, version: str, bound: str) -> bool:
    """Whether so many of the first numbers are the same."""
    return version.split(".")[:count] == bound.split(".")[:count]


_RELATIONS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda version, bound: version.removesuffix("+incompatible") == bound or version == bound,
    "*": lambda version, bound: version.startswith(bound),
    "~": lambda version, bound: _same(2, version, bound) and compare(version, bound) >= 0,
    "^": lambda version, bound: _same(1, version, bound) and compare(version, bound) >= 0,
    "<": lambda version, bound: compare(version, bound) < 0,
    "<=": lambda version, bound: compare(version, bound) <= 0,
}


@frozen
class _Rule:
    """A line of the file; without qualifiers it is for all versions."""

    verdict: Verdict
    qualifiers: tuple[_Qualifier, ...]

    def covers(self, version: str) -> bool:
        return not self.qualifiers or any(qualifier.covers(version) for qualifier in self.qualifiers)


@define
class _Place:
    """The rules for a beginning of paths, the last line first, and the places below it by the next path element."""

    rules: list[_Rule] = field(factory=list)
    below: dict[str, _Place] = field(factory=dict)


class Filter:
    """The rules of a file; ``Filter()`` has none and includes everything."""

    def __init__(self) -> None:
        self._root = _Place()

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._root.rules or self._root.below)

    def verdict(self, path: str, version: str | None) -> Verdict:
        """What to do with this version of a module, in the spelling of people (unescaped).

        For ``None`` (a list, ``@latest``) and for what is no canonical version (a branch) it is what holds for the
        module: ``EXCLUDE`` only where no rule lets any version through.  Each version that is found then has a verdict
        of its own.
        """
        rules = self._rules_for(path)
        if version and version == canonical(version):
            return next((rule.verdict for rule in rules if rule.covers(version)), _DEFAULT)
        return _verdict_for_module(rules)

    def _rules_for(self, path: str) -> list[_Rule]:
        """All rules for the path whatever the version, the one that goes before the others first."""
        place, rules = self._root, self._root.rules
        for element in path.split("/"):
            below = place.below.get(element)
            if below is None:
                break
            place, rules = below, below.rules + rules
        return rules

    def _add(self, path: str, rule: _Rule) -> None:
        place = self._root
        for element in path.split("/") if path else []:
            place = place.below.setdefault(element, _Place())
        place.rules.insert(0, rule)


def _verdict_for_module(rules: Sequence[_Rule]) -> Verdict:
    """What holds without regard to versions; where that is to exclude, what a rule for some versions lets through."""
    general = next((rule.verdict for rule in rules if not rule.qualifiers), _DEFAULT)
    if general.action is not Action.EXCLUDE:
        return general
    partial = takewhile(lambda rule: rule.qualifiers, rules)
    return next((rule.verdict for rule in partial if rule.verdict.action is not Action.EXCLUDE), general)


def parse_filter(text: str, name: str) -> Filter:
    """The filter in the text of a file.

    ``name`` is what the complaints call the file.  Raises ``ValueError`` with one line for each problem.
    """
    parsed = Filter()
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = _COMMENT.sub("", line).split()
        try:
            if fields:
                parsed._add(*_parse_rule(fields, number))
        except ValueError as problem:
            problems.append(f"{name}:{number}: {problem}")
    if problems:
        raise ValueError("\n".join(problems))
    return parsed


def _parse_rule(fields: Sequence[str], number: int) -> tuple[str, _Rule]:
    """The path and the rule of one line.  Raises ``ValueError``."""
    if fields[0] not in {action.value for action in Action}:
        raise ValueError(f"{quoted(fields[0])} is no rule; one begins with +, - or D and a blank")
    if len(fields) > 3:
        raise ValueError("these are more than three fields; versions are separated by commas, without blanks")
    sign, path, versions = (*fields, "", "")[:3]
    path = path.strip("/")
    if path:
        _check_beginning(path)
    verdict = Verdict(Action(sign), f"{' '.join(fields)} (line {number})")
    return path, _Rule(verdict, _parse_qualifiers(versions))


def _check_beginning(path: str) -> None:
    """Raise ``ValueError`` for what no module path can begin with: such a rule would never do anything."""
    try:
        check_path(f"{path}/m.v1")  # Whatever a path begins with, it may end like this, on gopkg.in too.
    except InvalidPath as fault:
        reason = str(fault).partition('": ')[2]
        raise ValueError(
            f"no module path begins with {quoted(path)} ({reason});"
            " write it as in go.mod and without a pattern: a rule is for all that is below it too"
        ) from None


def _parse_qualifiers(versions: str) -> tuple[_Qualifier, ...]:
    words = versions.split(",") if versions else []
    qualifiers = tuple(_parse_qualifier(word) for word in words if word != "*")
    return qualifiers if len(qualifiers) == len(words) else ()


def _parse_qualifier(word: str) -> _Qualifier:
    bounded = _BOUNDED.fullmatch(word)
    if bounded:
        bound = f"v{bounded[2]}"
        if bound != canonical(bound):
            raise ValueError(f"{quoted(word)} needs a whole version, as in {bounded[1]}v1.2.3")
        return _Qualifier(bounded[1], bound)
    listed = _LISTED.fullmatch(word)
    found = _listed(f"v{listed[1]}", bool(listed[2])) if listed else None
    if found is None:
        raise ValueError(
            f"{quoted(word)} stands for no version; write one as in"
            " v1, v1.2, v1.2.3, v1.2.3*, ~v1.2.3, ^v1.2.3, <v1.2.3 or <=v1.2.3"
        )
    return found


def _listed(version: str, star: bool) -> _Qualifier | None:
    """``v1`` and ``v1.2`` with all below them, a whole version alone, or with a star what begins like it."""
    part = version.removesuffix(".")
    if is_valid(part) and part.count(".") < 2:
        return _Qualifier("*", f"{part}.")
    if star:
        return _Qualifier("*", version) if is_valid(version) or is_valid(f"{version}0") else None
    return _Qualifier("=", version) if version == canonical(version) else None
