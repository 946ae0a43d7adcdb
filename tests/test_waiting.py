"""Waiting so long and no longer."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from athensd.errors import NotFound, TimedOut
from athensd.waiting import within
from tests.fakes import result_of, start


async def wait_for(event):
    """Work that ends with an event."""
    return await event


def test_in_time():
    """The result comes through, and no timer is left."""
    clock, event = Clock(), Deferred()
    waiting = start(within(clock, 5, wait_for(event), "asking"))
    clock.advance(4.9)
    event.callback("result")
    assert result_of(waiting) == "result"
    assert clock.getDelayedCalls() == []


def test_failure_in_time():
    """So does a failure."""
    clock, event = Clock(), Deferred()
    waiting = start(within(clock, 5, wait_for(event), "asking"))
    event.errback(NotFound("no"))
    with pytest.raises(NotFound, match="no"):
        result_of(waiting)
    assert clock.getDelayedCalls() == []


def test_too_late():
    """After that the work is cancelled, and the error says what took how long."""
    clock, cancelled = Clock(), []
    waiting = start(within(clock, 2.5, wait_for(Deferred(cancelled.append)), "asking"))
    clock.advance(2.5)
    with pytest.raises(TimedOut, match=r"^asking took longer than 2.5 seconds$"):
        result_of(waiting)
    assert len(cancelled) == 1


def test_work_that_makes_something_of_its_being_cancelled():
    """Whether cancelled work gives a result or another error, it took too long."""

    async def give_a_result(event):
        try:
            await event
        except CancelledError:
            return "half"

    async def give_an_error(event):
        try:
            await event
        finally:
            raise NotFound("no")

    for work in (give_a_result, give_an_error):
        clock = Clock()
        waiting = start(within(clock, 1, work(Deferred()), "asking"))
        clock.advance(1)
        with pytest.raises(TimedOut):
            result_of(waiting)


def test_asker_leaves():
    """Who waits and is cancelled cancels the work; that is no time-out."""
    clock, cancelled = Clock(), []
    waiting = start(within(clock, 1, wait_for(Deferred(cancelled.append)), "asking"))
    waiting.cancel()
    with pytest.raises(CancelledError):
        result_of(waiting)
    assert len(cancelled) == 1
    assert clock.getDelayedCalls() == []
