"""Two ways to wait for coroutines: so long and no longer, and both or neither."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from athensd.errors import TimedOut

T = TypeVar("T")
U = TypeVar("U")


async def within(clock: IReactorTime, seconds: float, work: Coroutine[Deferred[Any], Any, T], what: str) -> T:
    """The result of ``work``; after ``seconds`` it is cancelled and ``TimedOut`` raised: ``what`` took too long."""
    try:
        return await Deferred.fromCoroutine(work).addTimeout(seconds, clock, _late)
    except DeferredTimeout as error:
        raise TimedOut(f"{what} took longer than {seconds:g} seconds") from error


def _late(result: object, seconds: float) -> Failure:
    """Whatever a cancelled work makes of its being cancelled."""
    return Failure(DeferredTimeout(f"not done after {seconds:g} seconds"))


async def both(one: Coroutine[Deferred[Any], Any, T], other: Coroutine[Deferred[Any], Any, U]) -> tuple[T, U]:
    """Both results; when one fails the other is cancelled and the failure raised."""
    works: list[Deferred[Any]] = [Deferred.fromCoroutine(one), Deferred.fromCoroutine(other)]
    try:
        first, second = await gatherResults(works, consumeErrors=True)
    except FirstError as error:
        failure: BaseException = error.subFailure.value  # type: ignore[assignment]
        raise failure from failure.__cause__
    finally:
        for work in works:
            work.cancel()
    return first, second
