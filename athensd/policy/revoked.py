"""Versions that are revoked: what stands of them in a file that only grows (pure).

    revoked github.com/x/y@v1.2.3 2026-11-24T13:49:18Z SEC-12: a stolen token published it
    restored github.com/x/y@v1.2.3 2026-11-25T09:00:00Z a false alarm

The last line about a version holds, so that the file is its own history, and a line is all that there is to write.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import frozen

from athensd.errors import Forbidden
from athensd.gomod.path import quoted
from athensd.gomod.version import ModuleVersion, is_canonical_for

REVOKED, RESTORED = "revoked", "restored"


@frozen
class Tombstone:
    """Since when a version is revoked, and why, in words for whoever asks for it."""

    version: ModuleVersion
    since: datetime
    reason: str

    def __str__(self) -> str:
        return line_of(REVOKED, self.version, self.since, self.reason)


class Revoked:
    """The tombstones that hold; ``Revoked()`` has none."""

    def __init__(self) -> None:
        self._stones: defaultdict[str, dict[str, Tombstone]] = defaultdict(dict)

    def __iter__(self) -> Iterator[Tombstone]:
        return (stone for of_path in self._stones.values() for stone in of_path.values())

    def of(self, path: str, version: str) -> Tombstone | None:
        """That of a version, if it has one."""
        return self._stones[path].get(version) if path in self._stones else None

    def any_of(self, path: str) -> bool:
        """Whether any version of a module is revoked."""
        return bool(self._stones.get(path))

    def check(self, path: str, version: str) -> None:
        """Raise ``Forbidden``, with the reason, for a version that is revoked."""
        stone = self.of(path, version)
        if stone is not None:
            raise Forbidden(f"{stone.version}: revoked on this proxy since {_day(stone.since)}: {stone.reason}")

    def _put(self, word: str, stone: Tombstone) -> None:
        path, version = stone.version.path, stone.version.version
        if word == REVOKED:
            self._stones[path][version] = stone
        else:
            self._stones[path].pop(version, None)


def parse_revoked(text: str, name: str) -> Revoked:
    """What the text of a file says in the end.

    ``name`` is what the complaints call the file.  Raises ``ValueError`` with one line for each problem.
    """
    parsed = Revoked()
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            parsed._put(*_parse(line))
        except ValueError as problem:
            problems.append(f"{name}:{number}: {problem}")
    if problems:
        raise ValueError("\n".join(problems))
    return parsed


def line_of(word: str, version: ModuleVersion, when: datetime, reason: str) -> str:
    """A line of the file, without its end; ``reason`` is made one line."""
    time = when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{word} {version} {time} {' '.join(reason.split())}"


def _parse(line: str) -> tuple[str, Tombstone]:
    words = line.split(maxsplit=3)
    if len(words) < 4 or words[0] not in {REVOKED, RESTORED}:
        raise ValueError(f"must be {REVOKED} or {RESTORED}, MODULE@VERSION, a time and a reason")
    word, what, time, reason = words
    path, _, version = what.partition("@")
    if not is_canonical_for(path, version):
        raise ValueError(f"{quoted(what)} is no version of a module, as golang.org/x/text@v0.3.0 is one")
    try:
        since = datetime.fromisoformat(time)
        since = since.replace(tzinfo=since.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(time)} is no time, as 2026-01-31T12:00:00Z is one") from None
    return word, Tombstone(ModuleVersion(path, version), since, reason.strip())


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d}"
