"""Waiting for a coroutine so long and no longer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from athensd.errors import TimedOut

T = TypeVar("T")


async def within(clock: IReactorTime, seconds: float, work: Coroutine[Deferred[Any], Any, T], what: str) -> T:
    """The result of ``work``; after ``seconds`` it is cancelled and ``TimedOut`` raised: ``what`` took too long."""
    try:
        return await Deferred.fromCoroutine(work).addTimeout(seconds, clock, _late)
    except DeferredTimeout as error:
        raise TimedOut(f"{what} took longer than {seconds:g} seconds") from error


def _late(result: object, seconds: float) -> Failure:
    """Whatever a cancelled work makes of its being cancelled."""
    return Failure(DeferredTimeout(f"not done after {seconds:g} seconds"))
