"""What came of a run, and what is said while it lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define, field

from athensd.gomod.version import ModuleVersion


@define
class Tally:
    """Counts what came of each version.  ``say`` is given a line for each that a person must know of."""

    say: Callable[[str], None]
    counts: Counter[str] = field(factory=Counter)
    faults: int = 0

    def fault(self, version: ModuleVersion, text: str) -> None:
        """Something is wrong with a version."""
        self.faults += 1
        self.note(version, text)

    def note(self, version: ModuleVersion, text: str) -> None:
        """There is something to know of a version, which is not wrong."""
        # Some errors name the version themselves.
        self.say(f"{version}: {text.removeprefix(str(version)).lstrip(': ')}")

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] += 1

    def __str__(self) -> str:
        """All counts, in the order in which the first of each came."""
        return ", ".join(f"{what}: {count}" for what, count in [*self.counts.items(), ("faults", self.faults)])
