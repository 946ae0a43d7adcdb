"""The order in which versions became complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from athensd.gomod.version import ModuleVersion
from athensd.index import MemoryIndex, NoIndex
from athensd.interfaces import IIndex
from tests.fakes import result_of

START = datetime(2024, 1, 1, tzinfo=UTC)


def version(number):
    """One of many."""
    return ModuleVersion("example.com/m", f"v1.{number}.0")


def at(seconds):
    """So long after the start."""
    return START + timedelta(seconds=seconds)


def filled(*seconds):
    """An index with a version for each of these times."""
    index = MemoryIndex()
    for number, when in enumerate(seconds):
        result_of(index.add(version(number), at(when)))
    return index


@pytest.mark.parametrize("index", [NoIndex(), MemoryIndex()])
def test_interface(index):
    """It is an index."""
    assert verifyObject(IIndex, index)


def test_no_index():
    """The index that is none takes everything and tells nothing."""
    index = NoIndex()
    result_of(index.add(version(1), START))
    assert list(result_of(index.since(START, 10))) == []


@pytest.mark.parametrize(
    ("since", "limit", "numbers"),
    [
        (-10, 10, [0, 1, 2, 3]),
        (0, 10, [0, 1, 2, 3]),
        (0.5, 10, [1, 2, 3]),
        (1, 10, [1, 2, 3]),
        (1, 1, [1]),
        (2, 10, [3]),
        (3, 10, []),
        (0, 2, [0, 1]),
    ],
)
def test_since(since, limit, numbers):
    """Lines that are not older than the time, oldest first, and of the same time in the order they came."""
    index = filled(0, 1, 1, 2)
    assert [line.version for line in result_of(index.since(at(since), limit))] == [version(one) for one in numbers]


def test_second_time():
    """A version that is there keeps its first time."""
    index = filled(0, 1)
    result_of(index.add(version(0), at(5)))
    assert [(line.version, line.when) for line in result_of(index.since(START, 10))] == [
        (version(0), at(0)),
        (version(1), at(1)),
    ]


@given(st.lists(st.integers(0, 20)))
def test_clocks_may_go_back(seconds):
    """In whatever order the times come, the lines are in the order of time, and none is missing."""
    lines = result_of(filled(*seconds).since(START, 1000))
    assert [line.when for line in lines] == sorted(map(at, seconds))
