"""Steps: who is told of them, and when."""

from __future__ import annotations

import time

import pytest
from twisted.internet.defer import Deferred

from athensd.errors import NotFound
from athensd.steps import Step, aside, headers, here, step
from tests.fakes import Steps, start


def test_nobody_watches():
    """A step works without anybody to see it."""
    with step("work", module="m") as this:
        this.note(bytes=1)
        this.link(here())
    assert (this.facts, here(), headers()) == ({"module": "m", "bytes": 1}, None, {})


def test_a_watcher_is_told(steps: Steps):
    """Of the beginning with what is known then, and of the end with all facts and how long it took."""
    with step("work", module="m") as this:
        assert [each.name for each in steps.open_ones] == ["work"]
        assert steps.closed_ones == []
        this.note(bytes=1)
    assert steps.closed_ones == [this]
    assert (this.facts, this.error) == ({"module": "m", "bytes": 1}, None)
    assert 0 < this.seconds < 1


def test_an_error_ends_a_step_and_goes_on(steps: Steps):
    """The watcher sees which one."""
    with pytest.raises(NotFound), step("work") as this:
        raise NotFound("nothing here")
    assert isinstance(this.error, NotFound)
    assert steps.closed_ones == [this]


def test_aside(steps: Steps):
    """Work that nobody waits for is a step that lasts as long as the work."""
    done: Deferred[None] = Deferred()

    async def work():
        await done

    aside("later", work, key="k")
    [later] = steps.open_ones
    assert (later.name, later.apart, later.facts) == ("later", True, {"key": "k"})
    done.callback(None)
    assert steps.closed_ones == [later]


def test_a_step_across_a_wait(steps: Steps):
    """It lasts until its coroutine is through, however that is interrupted."""

    async def work():
        with step("work"):
            await Deferred()

    waiting = start(work())
    assert steps.closed_ones == []
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert [type(each.error).__name__ for each in steps.closed_ones] == ["CancelledError"]


def test_what_happened_at_once(steps: Steps):
    """A step that was over before anybody was told is told of once, whole."""
    this = Step("request", {"status": 200}, apart=True)
    this.happened(time.perf_counter() - 1)
    assert steps.closed_ones == [this]
    assert 1 <= this.seconds < 2
    assert this.mark is None
