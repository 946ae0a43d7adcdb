"""Many things at a time, and never more than so many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults

T = TypeVar("T")


async def crowd(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do ``work`` for each of the items; one is taken when there is a hand free for it.

    The first error, of the items or of the work, ends all of it and is raised.
    """
    turn = DeferredLock()

    async def hand() -> None:
        while True:
            await turn.acquire()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            finally:
                turn.release()
            await work(item)

    hands = [Deferred.fromCoroutine(hand()) for _ in range(at_once)]
    try:
        await gatherResults(hands, consumeErrors=True)
    except FirstError as first:
        raise cast(BaseException, first.subFailure.value) from None
    finally:
        for each in hands:
            each.addErrback(lambda _: None)
            each.cancel()


async def each_of(items: Iterable[T]) -> AsyncIterator[T]:
    """Items that are at hand, for a crowd."""
    for item in items:
        yield item
