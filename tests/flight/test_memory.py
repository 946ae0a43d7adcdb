"""Flights of one process."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from athensd.flight.memory import MemoryFlight
from tests.fakes import result_of, start
from tests.flight.contract import FlightContract, Work


class TestMemoryFlight(FlightContract):
    @pytest.fixture
    def flight(self):
        return MemoryFlight()


def test_stop():
    """At the end all work is cancelled, and whoever waits sees it."""
    flight, works = MemoryFlight(), [Work(), Work()]
    askers = [start(flight.run(str(number), work)) for number, work in enumerate(works)]
    assert flight.size == 2
    flight.stop()
    assert flight.size == 0
    assert [work.cancelled for work in works] == [1, 1]
    for asker in askers:
        with pytest.raises(CancelledError):
            result_of(asker)
