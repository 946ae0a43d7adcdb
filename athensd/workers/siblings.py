"""What a worker has to do with the others: what it tells them, and what they tell it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from signal import SIGHUP, SIGTERM
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from athensd.gomod.version import ModuleVersion
from athensd.workers.worker import Lines, Worker, line_of

log = structlog.get_logger()

PATIENCE = 2.0
"""So many seconds the others have for an answer."""

Act = Callable[[ModuleVersion], None]
"""What is done when something has happened to a version."""


class Alone:
    """The one process of a daemon."""

    def everywhere(self, name: str, act: Act) -> Act:
        """What is done here is all there is to do."""
        return act

    async def ask(self, what: str) -> Sequence[Any]:
        """Nobody is there."""
        return ()

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """Nor to stop."""


class Siblings(Protocol):
    """A worker's line to its parent, and through it to the other workers.

    When another one asks, it is told what one of ``answers`` gives: something that JSON can hold.  ``signal`` sends a
    signal to this process: SIGHUP when the parent says so, and SIGTERM when it is gone.  ``leave`` has it finish and
    end, and may be called when it is doing so already.
    """

    def __init__(
        self,
        reactor: Any,
        worker: Worker,
        answers: Mapping[str, Callable[[], Awaitable[Any]]],
        signal: Callable[[int], object],
        leave: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._worker = worker
        self._answers = answers
        self._signal = signal
        self._leave = leave
        self._acts: dict[str, Act] = {}
        self._others: Sequence[int] = ()
        self._numbers = count()
        self._questions: dict[tuple[int, int], Deferred[Any]] = {}
        self._lines = Lines()
        self._ending = False

    def everywhere(self, name: str, act: Act) -> Act:
        """A function that does ``act`` here, and then has all others do what they call ``name``."""
        self._acts[name] = act

        def do(version: ModuleVersion) -> None:
            act(version)
            self._send(None, name, version.path, version.version)

        return do

    async def ask(self, what: str) -> Sequence[Any]:
        """What the others answer within ``PATIENCE`` seconds."""
        number = next(self._numbers)
        waiting = {(other, number): Deferred[Any]() for other in self._others}
        self._questions |= waiting
        for other in self._others:
            self._send(other, "question", number, what)
        for each in waiting.values():
            each.addTimeout(PATIENCE, self._reactor)
        answers = await DeferredList(list(waiting.values()), consumeErrors=True)
        for key in waiting:
            del self._questions[key]
        return [answer for came, answer in answers if came]

    def start(self) -> None:
        """Tell the parent that we serve, and listen to it."""
        pipes: Any = StandardIO  # its static type is that for Windows
        pipes(self, self._worker.hears, self._worker.speaks, self._reactor)
        self._write("ready")

    def stop(self) -> None:
        """From now on nobody need be there."""
        self._ending = True

    def dataReceived(self, data: bytes) -> None:
        for line in self._lines.feed(data).splitlines():
            verb, *words = json.loads(line)
            if verb == "siblings":
                [self._others] = words
            elif verb == "reload":
                self._signal(SIGHUP)
            elif verb == "leave":
                self._leave()
            else:
                self._heard(*words)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._ending:
            log.warning("the parent is gone: this worker ends")
            self._signal(SIGTERM)

    def _heard(self, sender: int, what: Sequence[Any]) -> None:
        name, *words = what
        if name == "question":
            Deferred.fromCoroutine(self._answered(sender, *words))
        elif name == "answer":
            number, answer = words
            question = self._questions.get((sender, number))
            if question is not None and not question.called:
                question.callback(answer)
        elif name in self._acts:  # while workers are exchanged, others may know other words
            self._acts[name](ModuleVersion(*words))

    async def _answered(self, sender: int, number: int, what: str) -> None:
        try:
            answer = await self._answers[what]()
        except Exception:
            log.exception("a question of another worker cannot be answered")
            return
        self._send(sender, "answer", number, answer)

    def _send(self, whom: int | None, *what: Any) -> None:
        self._write("to", whom, what)

    def _write(self, *words: Any) -> None:
        transport: Any = self.transport
        if transport is not None:  # else there is nobody yet who asked us for anything
            transport.write(line_of(*words))
