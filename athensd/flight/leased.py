"""Flights of several processes: one work for a key in each of them, and one lease for it among them all."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from athensd.errors import AthensError
from athensd.interfaces import IFlight, ILeases
from athensd.steps import step
from athensd.waiting import within

log = structlog.get_logger()
T = TypeVar("T")

SECONDS = 8.0
"""How long a lease holds that is not renewed."""
PATIENCE = 900.0
"""How many seconds another process is waited for."""
_ANSWER = 3.0  # the service has so many seconds for an answer
_AWAY = 5.0  # and after a failure nobody asks for so many
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


@implementer(IFlight)
class LeasedFlight:
    """``local``, with a lease for each work, which is renewed while the work runs and then given back.

    Who does not get the lease waits for its holder and then does the work too: it must look first whether it is done.
    A lease saves work and decides nothing.  While the service is away, or when another holds the lease for longer than
    ``patience`` seconds, the work is done without one.  A holder that dies delays the others by ``seconds`` and a bit.

    ``name`` is for people who look into the lock service.
    """

    def __init__(
        self,
        local: IFlight,
        leases: ILeases,
        clock: IReactorTime,
        *,
        name: str,
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._local = local
        self._leases = leases
        self._clock = clock
        self._name = name
        self._seconds = seconds
        self._patience = patience
        self._draw = draw
        self._away = False
        self._ask_again = 0.0
        self._holds: set[_Hold] = set()
        self._asides: set[Deferred[None]] = set()

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        result: T = await self._local.run(key, lambda: self._leased(key, work))
        return result

    @property
    def size(self) -> int:
        """How many leases this process holds."""
        return len(self._holds)

    async def stop(self) -> None:
        """Give back every lease.  The works are those of ``local``, which is to be stopped first.

        What cannot be given back within three seconds is left to run out.
        """
        for hold in list(self._holds):
            hold.end()
        await DeferredList(list(self._asides)).addTimeout(_ANSWER, self._clock)

    async def _leased(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        # Another one each time: what this work still has to give back is not the lease of the next.
        holder = f"{self._name} {uuid4().hex}"
        try:
            with step("lease", key=key) as this:
                taken = await self._taken(key, holder)
                this.note(taken=taken)
        except CancelledError:
            # The question may have been on its way.
            self._aside(self._give_back(key, holder))
            raise
        if not taken:
            return await work()
        hold = _Hold(self._clock)
        self._aside(self._keep(key, holder, hold))
        try:
            return await work()
        finally:
            hold.end()

    async def _taken(self, key: str, holder: str) -> bool:
        """Wait for the lease; false when the work is to be done without."""
        end = self._clock.seconds() + self._patience
        pause = _FIRST_PAUSE
        while self._may_ask():
            taken = await self._answer(self._leases.take(key, holder, self._seconds))
            if taken is not False:
                return bool(taken)
            if self._clock.seconds() >= end:
                log.info("another process holds a lease for too long", key=key, seconds=self._patience)
                return False
            await deferLater(self._clock, pause * (1 + self._draw()) / 2)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return False

    async def _keep(self, key: str, holder: str, hold: _Hold) -> None:
        """Renew a lease until its work has ended, and give it back."""
        self._holds.add(hold)
        try:
            while await hold.lasts(self._seconds / 3):
                if await self._answer(self._leases.take(key, holder, self._seconds)) is False:
                    return  # another has it now; the store will decide who was first
            await self._give_back(key, holder)
        finally:
            self._holds.discard(hold)

    async def _give_back(self, key: str, holder: str) -> None:
        await self._answer(self._leases.give_back(key, holder))

    def _aside(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Something for which no asker waits."""
        begun = Deferred.fromCoroutine(work)
        self._asides.add(begun)
        begun.addBoth(self._ended, begun)

    def _ended(self, result: object, begun: Deferred[None]) -> None:
        self._asides.discard(begun)
        if isinstance(result, Failure):
            result.trap(CancelledError)

    def _may_ask(self) -> bool:
        """Whether the service seems to be there; if not, one asks now and then, and the others do not wait for that."""
        now = self._clock.seconds()
        if not self._away:
            return True
        if now < self._ask_again:
            return False
        self._ask_again = now + _AWAY
        return True

    async def _answer(self, question: Coroutine[Deferred[Any], Any, T]) -> T | None:
        """What the service says; nothing when it cannot, and of that there is one line in the log."""
        try:
            answer = await within(self._clock, _ANSWER, question, "the lock service")
        except CancelledError:
            raise
        except Exception as error:  # also a fault of ours: no request is to fail by a lock
            self._say_away(error)
            return None
        if self._away:
            self._away = False
            log.info("the lock service is back")
        return answer

    def _say_away(self, error: Exception) -> None:
        self._ask_again = self._clock.seconds() + _AWAY
        if self._away:
            return
        self._away = True
        if isinstance(error, AthensError):
            log.info("the lock service is away: some work may be done twice", reason=str(error))
        else:
            log.error("the lock service cannot be used: some work may be done twice", exc_info=error)


class _Hold:
    """A work that goes on."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ended = False
        self._pause: Deferred[bool] | None = None

    async def lasts(self, seconds: float) -> bool:
        """Whether it goes on for so long; if not, this is known when it ends."""
        if self._ended:
            return False
        pause: Deferred[bool] = Deferred()
        self._pause = pause
        call = self._clock.callLater(seconds, pause.callback, True)
        try:
            return await pause
        finally:
            self._pause = None
            if call.active():
                call.cancel()

    def end(self) -> None:
        self._ended = True
        if self._pause is not None:
            self._pause.callback(False)
