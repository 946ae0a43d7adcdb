"""The index in memory, and none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from athensd.index.memory import MemoryIndex
from athensd.index.nothing import NoIndex
from athensd.interfaces import IIndex
from tests.fakes import result_of
from tests.index.contract import BEGINNING, MICROSECOND, IndexContract, numbered

START = datetime(2024, 1, 1, tzinfo=UTC)


class TestMemoryIndex(IndexContract):
    @pytest.fixture
    def make(self):
        index = MemoryIndex()
        return lambda: index


def test_no_index():
    """The index that is none takes everything and tells nothing."""
    index = NoIndex()
    assert verifyObject(IIndex, index)
    result_of(index.add(numbered(1)))
    assert list(result_of(index.since(BEGINNING, 10))) == []


@given(st.lists(st.integers(0, 20)))
def test_clocks_may_go_back(seconds):
    """Whatever the clock does, lines stay in the order in which they came, and none is missing."""
    clock = iter([START + timedelta(seconds=each) for each in seconds])
    index = MemoryIndex(lambda: next(clock))
    for number in range(len(seconds)):
        result_of(index.add(numbered(number)))
    lines = result_of(index.since(BEGINNING, 1000))
    assert [line.version for line in lines] == [numbered(number) for number in range(len(seconds))]
    assert all(first.when < then.when for first, then in pairwise(lines))


def test_a_clock_that_stands_still():
    """Lines of the same moment are a microsecond apart."""
    index = MemoryIndex(lambda: START)
    for number in range(3):
        result_of(index.add(numbered(number)))
    lines = result_of(index.since(BEGINNING, 10))
    assert [line.when for line in lines] == [START, START + MICROSECOND, START + 2 * MICROSECOND]
