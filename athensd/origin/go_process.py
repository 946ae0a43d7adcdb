"""The go command as a child process that leaves nothing behind.

go starts git, git starts helpers; a signal to go alone leaves them running, writing and holding connections.  So each
command leads a session and process group of its own, and whatever ends it (its own exit, the time-out, a cancellation,
the daemon's stop) ends the group: TERM, ``GRACE`` seconds in which git removes its lock files, KILL.  For the daemon's
own sudden death there is a ``Leash``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from resource import struct_rusage
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.process import unregisterReapProcessHandler
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from athensd.errors import TimedOut, UpstreamFailed
from athensd.origin.leash import Leash

GRACE = 5.0
OUTPUT_LIMIT = 16 * 1024 * 1024
STDERR_LIMIT = 64 * 1024

# One process becomes the other.  With its directory and its limit set in here, and not by us between fork and exec,
# a command is started by posix_spawn: 2 ms instead of 6, and more than that when there is much memory to fork.
_LAUNCH = 'cd "$1" && ulimit -f "$2" && shift 2 && exec "$@"'
# What setsid(1) does, for a system that has none: some 10 ms instead of 1.
_SETSID = "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"
_POLL = 0.02
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2)


class ProcessReactor(IReactorProcess, IReactorTime):
    """What is asked of the reactor here."""


@frozen
class Finished:
    """A command that came to its own end.  ``code`` is its exit status, or minus the signal that killed it.

    ``cpu_seconds`` counts the command and all it waited for.  ``peak_memory``, in bytes, is that of the largest of
    these processes; it is never less than our own, which the kernel counts until the command takes our place.
    """

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    cpu_seconds: float
    peak_memory: int


class GoCommand:
    """Runs commands of one binary and knows those that are alive.

    None of them writes a file of more than ``file_limit`` bytes, if there is such a limit.
    """

    def __init__(
        self,
        reactor: ProcessReactor,
        binary: str,
        *,
        grace: float = GRACE,
        output_limit: int = OUTPUT_LIMIT,
        file_limit: int | None = None,
        leash: Leash | None = None,
        killpg: Callable[[int, int], None] = os.killpg,
    ) -> None:
        self._reactor = reactor
        self._binary = binary
        self._grace = grace
        self._output_limit = output_limit
        self._file_limit = file_limit
        self._leash = leash
        self._killpg = killpg
        self._alive: set[_Group] = set()
        self._stopped = False

    async def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, seconds: float
    ) -> Finished:
        """Run the binary in ``cwd`` for at most ``seconds``.

        Raises ``TimedOut``, or ``UpstreamFailed`` when it cannot be started, prints more than ``output_limit`` bytes
        or is stopped.  However it ends, cancellation included, its whole process group has ended or been sent KILL
        first; that takes ``grace`` seconds at most.  A second cancellation does not wait but kills at once.
        """
        group = self._start(arguments, environment, cwd)
        self._alive.add(group)
        late = TimedOut(f"the go command was not done after {seconds:g} seconds")
        timer = self._reactor.callLater(seconds, group.give_up, late)
        try:
            return await group.over
        except BaseException:
            await self._end(group)
            raise
        finally:
            if timer.active():
                timer.cancel()
            self._alive.discard(group)
            if self._leash is not None:
                self._leash.let_go(group.pid)
            group.cleared.callback(None)

    async def stop(self, grace: float = GRACE) -> None:
        """End all that runs, with ``grace`` seconds between TERM and KILL, and start nothing more."""
        self._stopped = True
        self._grace = grace
        groups = list(self._alive)
        cleared = DeferredList([group.cleared for group in groups])
        for group in groups:
            group.give_up(UpstreamFailed("this proxy is shutting down"))
        await cleared
        if self._leash is not None:
            self._leash.stop()

    def kill(self) -> None:
        """End all that runs at once, and wait for nothing."""
        for group in self._alive:
            group.signal(signal.SIGKILL)

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> _Group:
        if self._stopped:
            raise UpstreamFailed("this proxy is shutting down")
        path = environment.get("PATH")
        binary = shutil.which(self._binary, path=path)
        if binary is None:
            raise UpstreamFailed("this proxy cannot run its go command: there is none in its PATH")
        argv = [*launcher(path, cwd, self._file_limit), binary, *arguments]
        group = _Group(self._reactor, self._output_limit, self._killpg)
        try:
            if self._leash is not None:
                self._leash.start()
            self._reactor.spawnProcess(group, argv[0], argv, env=environment)
        except OSError as error:
            raise UpstreamFailed(f"this proxy cannot run its go command: {error.strerror}") from error
        if self._leash is not None:
            self._leash.hold(group.pid)
        return group

    async def _end(self, group: _Group) -> None:
        """TERM, a while in which the group may empty itself, KILL."""
        try:
            group.signal(signal.SIGTERM)
            until = self._reactor.seconds() + self._grace
            while group.signal(0) and self._reactor.seconds() < until:
                await deferLater(self._reactor, _POLL)
        finally:
            group.signal(signal.SIGKILL)
            group.let_go()


class _Group(ProcessProtocol):
    """One command, its output, and the process group that it leads.

    ``over`` fires when the command has ended by itself or is to be ended, ``cleared`` when its ``run`` is over.
    """

    transport: IProcessTransport

    def __init__(
        self,
        clock: IReactorTime,
        output_limit: int,
        killpg: Callable[[int, int], None],
    ) -> None:
        self.over: Deferred[Finished] = Deferred()
        self.cleared: Deferred[None] = Deferred()
        self._clock = clock
        self._began = clock.seconds()
        self._output_limit = output_limit
        self._killpg = killpg
        self._out = bytearray()
        self._err = Ends(STDERR_LIMIT)
        self._usage: struct_rusage | None = None
        self._closing: IDelayedCall | None = None
        self.pid = 0

    def give_up(self, why: Exception) -> None:
        """Have the command ended, and ``why`` raised where it is awaited."""
        if not self.over.called:
            self.over.errback(Failure(why))

    def signal(self, number: int) -> bool:
        """Send a signal (0: none) to the whole group; whether there is one left to send it to."""
        try:
            self._killpg(self.pid, number)
        except ProcessLookupError:
            return self._signal_leader(number)
        except PermissionError:
            return False
        return True

    def _signal_leader(self, number: int) -> bool:
        """A command that has only just been forked may not lead its group yet, and has nothing to clean up."""
        try:
            self.transport.signalProcess(signal.SIGKILL if number else 0)
        except ProcessExitedAlready:
            return False
        return True

    def let_go(self) -> None:
        """Close the pipes, which a process that left the group may hold open for ever."""
        self.transport.loseConnection()

    def connectionMade(self) -> None:
        self.pid = self.transport.pid
        transport: Any = self.transport
        transport.reapProcess = self._reap
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._out += data
        if len(self._out) > self._output_limit:
            self._out.clear()
            self.give_up(UpstreamFailed(f"the go command printed more than {self._output_limit} bytes"))

    def errReceived(self, data: bytes) -> None:
        self._err.add(data)

    def processExited(self, reason: Failure) -> None:
        if not self.over.called:
            # What go leaves behind is of no use; and it may hold the pipes whose end is waited for.
            self.signal(signal.SIGKILL)
            self._closing = self._clock.callLater(GRACE, self.let_go)

    def processEnded(self, reason: Failure) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        if not self.over.called:
            self.over.callback(self._finished(reason))

    def _finished(self, reason: Failure) -> Finished:
        end: Any = reason.value  # ProcessDone or ProcessTerminated
        used = self._usage  # unknown of a child that had ended before Twisted would wait for it
        return Finished(
            code=-end.signal if end.signal else end.exitCode,
            stdout=bytes(self._out),
            stderr=self._err.value(),
            seconds=self._clock.seconds() - self._began,
            cpu_seconds=used.ru_utime + used.ru_stime if used else 0.0,
            peak_memory=used.ru_maxrss * _MAXRSS_UNIT if used else 0,
        )

    def _reap(self) -> None:
        """In place of Twisted's own way to reap a child, which does not ask what it has used."""
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            self._usage = usage
            unregisterReapProcessHandler(pid, self.transport)
            transport: Any = self.transport
            transport.processEnded(status)


class Ends:
    """The head and the tail of a stream, half of ``limit`` bytes each."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = False

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > self._half:
            self._cut = True
            del self._tail[: -self._half]

    def value(self) -> bytes:
        """The stream, with ``[...]`` where its middle was left out."""
        return bytes(self._head + (b"\n[...]\n" if self._cut else b"") + self._tail)


def launcher(path: str | None, cwd: Path, file_limit: int | None = None) -> list[str]:
    """The words before a command that make it lead a session in a directory, keeping its process id.

    Neither it nor its children write a file of more than ``file_limit`` bytes.
    """
    setsid = shutil.which("setsid", path=path)
    leader = [setsid] if setsid else [sys.executable, "-I", "-S", "-c", _SETSID]
    blocks = "unlimited" if file_limit is None else str(file_limit // 512)
    return ["/bin/sh", "-c", _LAUNCH, "sh", str(cwd), blocks, *leader]
