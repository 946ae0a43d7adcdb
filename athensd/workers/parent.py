"""The parent of the workers: starts them, starts them anew, exchanges them, and passes on what they say.

A worker sends ``ready``, and ``to`` with whom (``null``: all others) and what.  It is sent ``from`` with whom and what,
``siblings`` with who is there beside it, ``reload`` and ``leave``.  They know each other by the numbers of their
processes.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import structlog
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from athensd.workers.balance import Balance
from athensd.workers.worker import VARIABLE, Lines, Worker, line_of

log = structlog.get_logger()

STEADY = 60.0
"""A worker that served for so many seconds has no failures behind it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
READY = 60.0
"""A new worker has so many seconds until it serves."""
_SAID = 4000


@frozen
class Command:
    """How a worker is started: its words, its environment, and what it inherits.

    ``sockets`` are as in ``Worker``, with our descriptors; ``fixed`` are others of ours, by the numbers it must see.
    ``directory`` is where it begins.
    """

    argv: Sequence[str]
    environ: Mapping[str, str]
    sockets: Sequence[tuple[str, int]] = ()
    fixed: Mapping[int, int] = {}
    directory: str = "."


def pause(failures: int) -> float:
    """Seconds until a worker starts again that failed so often, each time soon: none, half a second, twice that …"""
    return 0.0 if failures < 2 else min(FIRST_PAUSE * 2 ** min(failures - 2, 10), LONGEST_PAUSE)


class Workers:
    """``count`` workers.  Of each line that they write, without its end, ``write`` is told.

    Who is to leave is killed after ``grace`` seconds.  ``failed`` is called, with the reason, when the first that is
    started cannot serve: then none will.
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        command: Callable[[], Command],
        balance: Balance,
        write: Callable[[str], object],
        *,
        grace: float,
        failed: Callable[[str], object],
    ) -> None:
        self._reactor = reactor
        self._count = count
        self._command = command
        self._balance = balance
        self._write = write
        self._grace = grace
        self._failed = failed
        self._served = False
        self._stopping = False
        self._alive: set[_Process] = set()
        self._places: dict[int, _Process] = {}  # who serves, or will
        self._failures: dict[int, int] = {}
        self._later: dict[int, IDelayedCall] = {}

    def start(self) -> None:
        """Start all of them."""
        for number in range(1, self._count + 1):
            self._fill(number)

    async def stop(self) -> None:
        """Have all of them finish what they do, and wait for it."""
        self._stopping = True
        for call in self._later.values():
            call.cancel()
        self._later.clear()
        leaving = list(self._alive)
        for each in leaving:
            self._leave(each)
        await DeferredList([each.gone for each in leaving])

    def kill(self) -> None:
        """Ask each a second time, after which it ends at once."""
        for each in self._alive:
            each.send_signal("TERM")

    def reload(self) -> None:
        """Have all of them read the rules again."""
        for each in self._alive:
            each.tell("reload")

    async def exchange(self) -> None:
        """Start a new worker for each; once it serves, the old one finishes what it does and leaves.

        When one of the new ones cannot serve, the others stay.
        """
        log.info("workers are exchanged", workers=self._count)
        for number in range(1, self._count + 1):
            new = self._begin(number)
            serves = await new.serves
            if self._stopping:
                return
            if not serves:
                log.error(
                    "workers stay as they are: a new one does not serve", worker=number, reason=new.said or new.reason
                )
                return
            old = self._places.get(number)
            self._places[number] = new
            if old is not None:
                self._leave(old)
        log.info("workers were exchanged", workers=self._count)

    def _fill(self, number: int) -> None:
        self._later.pop(number, None)
        if number not in self._places:
            self._places[number] = self._begin(number)

    def _begin(self, number: int) -> _Process:
        """Start a process."""
        command = self._command()
        free = count(max([2, *command.fixed]) + 1)
        hears, speaks, balance = next(free), next(free), next(free)
        sockets = {next(free): each for each in command.sockets}
        worker = Worker(number, hears, speaks, balance, [(name, theirs) for theirs, (name, _) in sockets.items()])
        process = _Process(self, worker, self._reactor.seconds(), self._write)
        try:
            self._reactor.spawnProcess(
                process,
                command.argv[0],
                command.argv,
                env={**command.environ, VARIABLE: worker.text},
                path=command.directory,
                childFDs={
                    0: 0,
                    1: "r",
                    2: "r",
                    hears: "w",
                    speaks: "r",
                    balance: self._balance.descriptor,
                    **{theirs: ours for theirs, (_, ours) in sockets.items()},
                    **command.fixed,
                },
            )
        except OSError as error:
            process.reason = str(error)
            self._reactor.callLater(0, self.ended, process)
        else:
            self._alive.add(process)
            process.impatience = self._reactor.callLater(READY, process.send_signal, "KILL")
        return process

    def _leave(self, process: _Process) -> None:
        if process.leaving:
            return
        process.leaving = True
        if process.ready:
            process.tell("leave")  # by a signal it would end at once, if systemd has sent one to each of us already
        else:
            process.send_signal("TERM")
        process.wait_no_longer()
        process.impatience = self._reactor.callLater(self._grace, process.send_signal, "KILL")
        self._introduce()

    def _introduce(self) -> None:
        """Tell each who is there; who is being exchanged is no sibling of his successor, who has his number."""
        there = [each for each in self._alive if each.ready and not each.leaving]
        for each in self._alive:
            each.tell("siblings", sorted(other.pid for other in there if other.number != each.number))

    def heard(self, process: _Process, verb: str, *words: Any) -> None:
        """A message of a worker."""
        if verb == "ready":
            self._served = process.ready = True
            if not process.leaving:
                process.wait_no_longer()
            log.info("worker serves", worker=process.number, pid=process.pid)
            self._introduce()
            process.serves.callback(True)
            return
        whom, what = words
        for each in self._alive:
            if each is not process and whom in {None, each.pid}:
                each.tell("from", process.pid, what)

    def ended(self, process: _Process) -> None:
        """A process is gone."""
        self._alive.discard(process)
        process.wait_no_longer()
        self._introduce()
        mine = self._places.get(process.number) is process
        if mine:
            del self._places[process.number]
            self._balance.gone(process.number)
        if process.leaving:
            log.info("worker has left", worker=process.number, pid=process.pid)
        elif mine and not self._served and not self._stopping:
            self._stopping = True
            self._failed(process.said or process.reason)
        elif mine:
            self._again(process)
        if not process.ready:
            process.serves.callback(False)
        process.gone.callback(None)

    def _again(self, process: _Process) -> None:
        number = process.number
        steady = process.ready and self._reactor.seconds() - process.began >= STEADY
        failures = self._failures[number] = 1 if steady else self._failures.get(number, 0) + 1
        seconds = pause(failures)
        said = {"said": process.said} if process.said else {}
        log.error(
            "worker ended", worker=number, pid=process.pid, reason=process.reason, **said, again=f"in {seconds:g} s"
        )
        if not self._stopping and number not in self._later:
            self._later[number] = self._reactor.callLater(seconds, self._fill, number)


@define(eq=False)
class _Process(ProcessProtocol):
    """One process that is, or was, the worker ``number``.

    ``serves`` becomes true, or false when it ends before it does.  ``gone`` is for when it has ended.
    """

    _workers: Workers
    _worker: Worker
    began: float
    _write: Callable[[str], object]
    pid: int = 0
    ready: bool = False
    leaving: bool = False
    reason: str = ""
    impatience: IDelayedCall | None = None
    serves: Deferred[bool] = field(factory=Deferred)
    gone: Deferred[None] = field(factory=Deferred)
    _ended: bool = False
    _errors: bytes = b""
    _log: Lines = field(factory=Lines)
    _messages: Lines = field(factory=Lines)

    @property
    def number(self) -> int:
        return self._worker.number

    @property
    def said(self) -> str:
        """Its last words."""
        return self._errors.decode("utf-8", "replace").strip()

    def tell(self, *words: Any) -> None:
        """Send it a message, if it can still hear."""
        transport: Any = self.transport
        with suppress(KeyError):
            transport.writeToChild(self._worker.hears, line_of(*words))

    def send_signal(self, name: str) -> None:
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess(name)

    def wait_no_longer(self) -> None:
        """It did what it had so much time for."""
        if self.impatience is not None and self.impatience.active():
            self.impatience.cancel()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.pid = transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == 1:
            lines = self._log.feed(data)
            if lines:
                self._write(lines.decode("utf-8", "replace"))
        elif childFD == 2:
            self._errors = (self._errors + data)[-_SAID:]
        else:
            for line in self._messages.feed(data).splitlines():
                self._workers.heard(self, *json.loads(line))

    def processExited(self, reason: Failure) -> None:
        self.reason = _how(reason.value)
        if self.ready:  # processes that it has started may still hold what it wrote to
            self._end()

    def processEnded(self, reason: Failure) -> None:
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._workers.ended(self)


def _how(error: Any) -> str:
    """Why a process has ended."""
    if error.signal is not None:
        return f"signal {signal.Signals(error.signal).name}"
    return f"exit status {error.exitCode}"
