"""What is under way: steps that have begun and are not over."""

from __future__ import annotations

from athensd.steps import Step


class UnderWay:
    """The ``Watcher`` that knows the open steps."""

    def __init__(self) -> None:
        self._open: dict[Step, None] = {}  # in the order in which they began

    def opened(self, step: Step) -> None:
        self._open[step] = None

    def closed(self, step: Step) -> None:
        self._open.pop(step, None)

    def happened(self, step: Step) -> None:
        """It was never under way."""

    def steps(self) -> list[Step]:
        """Those that are open now, the oldest first."""
        return list(self._open)
