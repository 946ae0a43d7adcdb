"""Many things at a time."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from athensd.upkeep.crowd import crowd
from tests.fakes import result_of, start


async def numbers(count):
    for number in range(count):
        yield number


class Work:
    """Each of it waits until it is let go."""

    def __init__(self):
        self.waiting = {}
        self.done = []
        self.most = 0

    async def __call__(self, item):
        self.waiting[item] = Deferred()
        self.most = max(self.most, len(self.waiting))
        try:
            await self.waiting[item]
        finally:
            del self.waiting[item]
        self.done.append(item)


def test_never_more_than_so_many_at_once():
    """Everything is done once; a hand that is free takes the next."""
    work = Work()
    done = start(crowd(numbers(10), work, 3))
    while work.waiting:
        work.waiting[max(work.waiting)].callback(None)
    result_of(done)
    assert work.most == 3
    assert sorted(work.done) == list(range(10))


def test_fewer_things_than_hands():
    """Nothing at all is done at once."""
    result_of(crowd(numbers(0), Work(), 3))


def test_the_first_error_ends_it():
    """What is under way is cancelled, nothing is begun any more, and the error itself is raised."""
    work = Work()
    done = start(crowd(numbers(10), work, 3))
    work.waiting[1].errback(ValueError("this one"))
    with pytest.raises(ValueError, match="this one"):
        result_of(done)
    assert (work.waiting, work.done) == ({}, [])


def test_an_error_of_the_items():
    """A catalog that breaks off ends it as well."""

    async def broken():
        yield 1
        raise ValueError("no more pages")

    with pytest.raises(ValueError, match="no more pages"):
        result_of(crowd(broken(), Work(), 3))


def test_interrupted():
    """Who is interrupted waits for nothing."""
    work = Work()
    done = start(crowd(numbers(10), work, 3))
    done.cancel()
    with pytest.raises(CancelledError):
        result_of(done)
    assert work.waiting == {}
