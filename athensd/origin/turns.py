"""Whose turn it is: one at a time on each repository, so many at a time on all of them.

Two go commands on one repository would wait for each other anyway, at go's own lock, but with a process, its memory
and a slot each; waiting here costs nothing, and who waits with a question gets it answered along with others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from athensd.origin.logins import without_login
from athensd.origin.slots import Slots, overloaded
from athensd.steps import step

A = TypeVar("A")

# So many questions at once: a command for all of hundreds would keep the first of them waiting.
TOGETHER = 100


@define(eq=False)
class _Waiter:
    """Fires with ``None`` when it is its turn, or else with the answer to its question."""

    question: str | None
    fired: Deferred[Any] = field(init=False)


class Turns:
    """``at_once`` turns at a time, while at most ``queue`` askers wait; then ``Overloaded``.

    ``name`` is that of the origin whose work this is.
    """

    def __init__(self, name: str, at_once: int, queue: int) -> None:
        self._name = name
        self._slots = Slots(at_once)
        self._queue = queue
        # A repository is here while somebody has its turn.
        self._waiters: dict[str, list[_Waiter]] = {}

    @property
    def waiting(self) -> int:
        """How many wait, for a repository or for a slot."""
        return self._slots.waiting + sum(map(len, self._waiters.values()))

    @asynccontextmanager
    async def turn(self, repository: str) -> AsyncIterator[None]:
        """In this block it is our turn."""
        await self._come(repository, None)
        try:
            async with self._slot():
                yield
        finally:
            self._go(repository)

    async def ask(
        self, repository: str, question: str, ask: Callable[[Sequence[str]], Awaitable[Mapping[str, A]]]
    ) -> A:
        """The answer to ``question``, from our own ``ask`` or from that of whoever had the turn before us.

        ``ask`` gets our question and those of others who wait for the same repository.  It must answer ours; who
        gets no answer from it waits on, and so do all others when it fails.
        """
        answer: A | None = await self._come(repository, question)
        if answer is not None:
            return answer
        answered: list[_Waiter] = []
        try:
            async with self._slot():
                answers = await ask(self._questions(repository, question))
            answered = [waiter for waiter in self._waiters[repository] if waiter.question in answers]
        finally:
            self._waiters[repository] = [each for each in self._waiters[repository] if each not in answered]
            self._go(repository)
        for waiter in answered:
            if not waiter.fired.called:
                waiter.fired.callback(answers[waiter.question or ""])
        return answers[question]

    def _questions(self, repository: str, ours: str) -> Sequence[str]:
        others = (waiter.question for waiter in self._waiters[repository] if waiter.question)
        return list(dict.fromkeys([ours, *others]))[:TOGETHER]

    async def _come(self, repository: str, question: str | None) -> Any:
        """Wait for our turn, or for an answer."""
        busy = repository in self._waiters
        with step("repository", origin=self._name, repository=without_login(repository)) as this:
            full = (busy or self._slots.all_taken) and self.waiting >= self._queue
            if full and not self._slots.make_room():
                with step("queue", origin=self._name):
                    raise overloaded()
            if not busy:
                self._waiters[repository] = []
                return None
            waiter = _Waiter(question)
            waiter.fired = Deferred(lambda _: self._give_up(repository, waiter))
            self._waiters[repository].append(waiter)
            answer = await waiter.fired
            this.note(joined=answer is not None)
            return answer

    def _go(self, repository: str) -> None:
        """Leave the turn to who has waited longest."""
        if self._waiters[repository]:
            self._waiters[repository].pop(0).fired.callback(None)
        else:
            del self._waiters[repository]

    def _give_up(self, repository: str, waiter: _Waiter) -> None:
        if waiter in self._waiters.get(repository, ()):
            self._waiters[repository].remove(waiter)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        with step("queue", origin=self._name):
            await self._slots.take()
        try:
            yield
        finally:
            self._slots.give_back()
