"""Work that takes a whole processor: little of it at a time, and always behind who waits for an answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from athensd.heavy import LESS, HeavyWork, processors

SAID: ContextVar[str] = ContextVar("SAID")


@pytest.fixture
def heavy() -> Iterator[HeavyWork]:
    """Two threads."""
    heavy = HeavyWork(reactor, 2)
    heavy.start()
    yield heavy
    heavy.stop()


@ensureDeferred
async def test_so_many_at_a_time(heavy: HeavyWork) -> None:
    """Two are done, the third waits for one of them; each gives its result."""
    entered, leave = threading.Semaphore(0), threading.Event()

    def work(number: int) -> int:
        entered.release()
        assert leave.wait(20)
        return number

    works = [heavy.in_thread(work, number) for number in range(3)]
    assert entered.acquire(timeout=20)
    assert entered.acquire(timeout=20)
    assert not entered.acquire(timeout=0.1)
    leave.set()
    assert await gatherResults(works).addTimeout(20, reactor) == [0, 1, 2]


@ensureDeferred
async def test_a_failure(heavy: HeavyWork) -> None:
    """What the work raises is raised where it is awaited."""
    with pytest.raises(ZeroDivisionError):
        await heavy.in_thread(divmod, 1, 0).addTimeout(20, reactor)


@ensureDeferred
async def test_whose_work_it_is(heavy: HeavyWork) -> None:
    """The context of who asks is there too."""
    SAID.set("this request")
    assert await heavy.in_thread(SAID.get).addTimeout(20, reactor) == "this request"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only on Linux a thread has a priority of its own")
@ensureDeferred
async def test_it_gives_way(heavy: HeavyWork) -> None:
    """Its threads have less priority, once and not each time less; ours keeps what it had."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    for _ in range(3):
        given = await heavy.in_thread(os.getpriority, os.PRIO_PROCESS, 0).addTimeout(20, reactor)
        assert given == max(LESS, before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@ensureDeferred
async def test_the_end() -> None:
    """What is being done is done to its end; what was to come is not begun."""
    heavy = HeavyWork(reactor, 1)
    heavy.start()
    entered, leave, done = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        entered.set()
        assert leave.wait(20)
        done.append(number)

    works = [heavy.in_thread(work, number) for number in range(3)]
    assert entered.wait(20)
    ended = deferToThread(heavy.stop)
    while not heavy._ending:
        await deferLater(reactor, 0.01)
    leave.set()
    await ended.addTimeout(20, reactor)
    ends = await DeferredList(works, consumeErrors=True).addTimeout(20, reactor)
    assert [success for success, _ in ends] == [True, False, False]
    assert done == [0]


def test_processors() -> None:
    """At least one."""
    assert processors() >= 1
