"""A reactor that starts nothing: what would be processes are told what a test says."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from athensd.workers.worker import VARIABLE, Worker, line_of


@define(eq=False)
class FakeProcess:
    """A worker as its parent sees it: what it was sent, as messages and as signals."""

    pid: int
    protocol: Any
    argv: list[str]
    environ: dict[str, str]
    descriptors: dict[int, object]
    signals: list[str] = field(factory=list)
    heard: list[Any] = field(factory=list)
    over: bool = False

    @property
    def worker(self) -> Worker:
        return Worker(**json.loads(self.environ[VARIABLE]))

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        if self.over:
            raise KeyError(descriptor)
        assert descriptor == self.worker.hears
        self.heard += [json.loads(line) for line in data.splitlines()]

    def signalProcess(self, name: str) -> None:
        if self.over:
            raise ProcessExitedAlready
        self.signals.append(name)

    def says(self, *words: Any) -> None:
        """It sends a message, in two pieces."""
        data = line_of(*words)
        self.protocol.childDataReceived(self.worker.speaks, data[:3])
        self.protocol.childDataReceived(self.worker.speaks, data[3:])

    def ends(self, status: int = 0, signal: int | None = None, words: bytes = b"") -> None:
        """It is over."""
        self.protocol.childDataReceived(2, words)
        self.over = True
        reason = Failure(ProcessTerminated(status or None, signal) if status or signal else ProcessDone(0))
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)


class FakeReactor(Clock):
    """A clock with processes.  ``refuses`` is what starting one raises."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.refuses: OSError | None = None

    def spawnProcess(self, protocol: Any, executable: str, argv: Any, *, env: Any, path: str, childFDs: Any) -> None:
        if self.refuses:
            raise self.refuses
        process = FakeProcess(100 + len(self.processes), protocol, argv, env, childFDs)
        self.processes.append(process)
        protocol.makeConnection(process)

    @property
    def living(self) -> dict[int, FakeProcess]:
        """The newest process of each worker that is not over."""
        return {each.worker.number: each for each in self.processes if not each.over}
