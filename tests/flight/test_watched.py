"""Any flight, with its steps."""

from __future__ import annotations

import pytest

from athensd.flight.memory import MemoryFlight
from athensd.flight.watched import WatchedFlight
from tests.fakes import Steps, start
from tests.flight.contract import FlightContract, Work


class TestWatchedFlight(FlightContract):
    @pytest.fixture
    def flight(self):
        return WatchedFlight(MemoryFlight())


def test_who_joins_is_known(steps: Steps):
    """Each asker is a step; all but the first wait for work that was under way."""
    flight, work = WatchedFlight(MemoryFlight()), Work()
    for _ in range(3):
        start(flight.run("key", work))
    work.end.callback("result")
    assert [(step.facts["key"], step.facts["joined"]) for step in steps.named("flight")] == [
        ("key", False),
        ("key", True),
        ("key", True),
    ]
