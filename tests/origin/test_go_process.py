"""The go command as a child process; ``sh`` stands for it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from athensd.errors import TimedOut, UpstreamFailed
from athensd.origin.go_process import STDERR_LIMIT, Ends, Finished, GoCommand

ENVIRONMENT = {"PATH": os.environ["PATH"]}
# A child and a grandchild that ignore TERM and live for long; the grandchild is an orphan as soon as sh is gone.
STUBBORN = "trap '' TERM; sleep 60 & echo $! > orphan; echo $$ > leader; wait; sleep 60"


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def group(pgid: int) -> list[int]:
    """The processes of a group that are no zombies."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if alive(pid) and os.getpgid(pid) == pgid]


async def eventually(true: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for something, but not for ever."""
    for _ in range(round(seconds / 0.02)):
        if true():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError("it never came true")


def sh(script: str, cwd: Path, seconds: float = 30, go: GoCommand | None = None, **options: Any) -> Deferred[Finished]:
    """Run a shell script as if it were the go command."""
    go = go or GoCommand(reactor, "sh", **options)
    return Deferred.fromCoroutine(go.run(["-c", script], ENVIRONMENT, cwd, seconds))


@ensureDeferred
async def test_what_comes_back(tmp_path: Path) -> None:
    """A command that ends gives its exit status, its output and its cost."""
    finished = await sh("pwd; echo no >&2; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exit 3", tmp_path)
    assert (finished.code, finished.stdout, finished.stderr) == (3, f"{tmp_path}\n".encode(), b"no\n")
    assert 0 < finished.cpu_seconds <= finished.seconds + 0.1


@ensureDeferred
async def test_killed_by_a_signal(tmp_path: Path) -> None:
    """A command that dies of a signal gives minus its number."""
    assert (await sh("kill -9 $$", tmp_path)).code == -9


@ensureDeferred
async def test_session_of_its_own(tmp_path: Path) -> None:
    """A command leads a process group, and its standard input is at its end."""
    finished = await sh("cat; cut -d' ' -f1,5,6 /proc/$$/stat", tmp_path)
    assert len(set(finished.stdout.split())) == 1


@ensureDeferred
async def test_no_setsid(tmp_path: Path) -> None:
    """A system without setsid(1) runs commands in the same way."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    go = GoCommand(reactor, "sh")
    finished = await go.run(
        ["-c", "echo $$; exec /bin/cut -d' ' -f5 /proc/$$/stat"], {"PATH": str(tmp_path)}, tmp_path, 30
    )
    assert len(set(finished.stdout.split())) == 1
    assert finished.code == 0


@pytest.mark.parametrize("tools", [["setsid"], []])
@ensureDeferred
async def test_file_limit(tmp_path: Path, tools: list[str]) -> None:
    """No file of a command or of its children grows over the limit, with the tools of the system or without."""
    for tool in [*tools, "sh", "head", "cut", "wc"]:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    go = GoCommand(reactor, "sh", file_limit=1 << 16)
    script = "head -c 70000 /dev/zero > big; wc -c < big; echo $$; cut -d' ' -f5 /proc/$$/stat"
    finished = await go.run(["-c", script], {"PATH": str(tmp_path)}, tmp_path, 30)
    size, pid, leader = finished.stdout.split()
    assert int(size) == 1 << 16
    assert pid == leader


@ensureDeferred
async def test_orphans_of_a_finished_command(tmp_path: Path) -> None:
    """What a command leaves behind is killed, even if it holds the pipes, and the output is whole."""
    finished = await sh("trap '' TERM; sleep 60 & echo $! > orphan; echo done", tmp_path)
    assert finished.stdout == b"done\n"
    await eventually(lambda: not alive(int((tmp_path / "orphan").read_text())))


@ensureDeferred
async def test_timeout_ends_the_group(tmp_path: Path) -> None:
    """After the time-out nothing of the group is alive, not even what ignores TERM."""
    with pytest.raises(TimedOut, match=r"after 0\.5 seconds"):
        await sh(STUBBORN, tmp_path, 0.5, grace=0.2)
    leader = int((tmp_path / "leader").read_text())
    await eventually(lambda: not group(leader))


@ensureDeferred
async def test_term_comes_first(tmp_path: Path) -> None:
    """A command may clean up before it ends."""
    with pytest.raises(TimedOut):
        await sh("trap 'echo > cleaned; exit' TERM; while :; do sleep 0.05; done", tmp_path, 0.5)
    assert (tmp_path / "cleaned").exists()


@ensureDeferred
async def test_cancellation_ends_the_group(tmp_path: Path) -> None:
    """A cancelled command is reported as cancelled once its group has ended."""
    running = sh(STUBBORN, tmp_path, grace=0.2)
    await eventually((tmp_path / "leader").exists)
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    leader = int((tmp_path / "leader").read_text())
    await eventually(lambda: not group(leader))


@ensureDeferred
async def test_cancellation_at_once(tmp_path: Path) -> None:
    """A command that is cancelled before it leads its group is ended as well."""
    running = sh("sleep 1; echo > ran", tmp_path)
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    await deferLater(reactor, 1.3)
    assert not (tmp_path / "ran").exists()


@ensureDeferred
async def test_stop(tmp_path: Path) -> None:
    """Stopping ends all that runs, says so where it is awaited, and lets nothing more start."""
    go = GoCommand(reactor, "sh")
    running = sh(STUBBORN, tmp_path, go=go)
    await eventually((tmp_path / "leader").exists)
    stopping = Deferred.fromCoroutine(go.stop(0.2))
    with pytest.raises(UpstreamFailed, match="shutting down"):
        await running
    await stopping
    leader = int((tmp_path / "leader").read_text())
    await eventually(lambda: not group(leader))
    with pytest.raises(UpstreamFailed, match="shutting down"):
        await sh("true", tmp_path, go=go)


@ensureDeferred
async def test_kill(tmp_path: Path) -> None:
    """Killing ends all that runs without a wait, also what does not listen to TERM."""
    go = GoCommand(reactor, "sh")
    running = sh(STUBBORN, tmp_path, go=go)
    await eventually((tmp_path / "leader").exists)
    leader = int((tmp_path / "leader").read_text())
    go.kill()
    await eventually(lambda: not group(leader))
    assert (await running).code == -signal.SIGKILL


@ensureDeferred
async def test_stop_with_nothing_running() -> None:
    """Stopping an idle command is done at once."""
    await GoCommand(reactor, "sh").stop()


@ensureDeferred
async def test_too_much_output(tmp_path: Path) -> None:
    """A command that prints without end is ended."""
    with pytest.raises(UpstreamFailed, match="more than 1000 bytes"):
        await sh("yes", tmp_path, output_limit=1000)


@ensureDeferred
async def test_no_binary(tmp_path: Path) -> None:
    """A binary that is not there is said to be missing, without a path of this machine."""
    with pytest.raises(UpstreamFailed, match="cannot run its go command") as caught:
        await GoCommand(reactor, "/nowhere/go").run([], ENVIRONMENT, tmp_path, 1)
    assert "/" not in str(caught.value)


@pytest.mark.parametrize("pieces", [[b"a" * 10], [b"ab"] * 20, [b"x" * 7, b"y" * 40, b"z" * 3]])
def test_ends_of_a_stream(pieces: list[bytes]) -> None:
    """Of a long stream the first and last bytes are kept, of a short one all."""
    ends = Ends(20)
    for piece in pieces:
        ends.add(piece)
    whole = b"".join(pieces)
    assert ends.value() == (whole if len(whole) <= 20 else whole[:10] + b"\n[...]\n" + whole[-10:])


@ensureDeferred
async def test_stderr_is_bounded(tmp_path: Path) -> None:
    """Endless complaints cost bounded memory, and their last words are kept."""
    finished = await sh(f"head -c {STDERR_LIMIT * 3} /dev/zero >&2; echo last >&2", tmp_path)
    assert len(finished.stderr) <= STDERR_LIMIT + 10
    assert finished.stderr.endswith(b"last\n")


class FakeProcess:
    """A process that is there until the test says otherwise."""

    pid = 4711

    def __init__(self) -> None:
        self.reaped = False
        self.closed = False

    def closeStdin(self) -> None:
        pass

    def loseConnection(self) -> None:
        self.closed = True

    def signalProcess(self, number: int) -> None:
        if self.reaped:
            raise ProcessExitedAlready


class FakeReactor(Clock):
    """A clock that starts fake processes and writes down the signals that reach their group."""

    def __init__(self) -> None:
        super().__init__()
        self.process = FakeProcess()
        self.signals: list[tuple[float, int]] = []
        self.group_left = True

    def spawnProcess(self, protocol: Any, executable: str, argv: list[str], **rest: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.process)

    def killpg(self, pgid: int, number: int) -> None:
        assert pgid == FakeProcess.pid
        if not self.group_left:
            raise ProcessLookupError
        if number:
            self.signals.append((self.seconds(), number))

    def end(self, reason: Exception) -> None:
        self.process.reaped = True
        self.protocol.processExited(Failure(reason))
        self.protocol.processEnded(Failure(reason))


def started(fake: FakeReactor) -> tuple[Deferred[Any], list[Any]]:
    """A command under way, and the list that will hold what comes of it."""
    go = GoCommand(fake, "sh", killpg=fake.killpg)
    running: Deferred[Any] = Deferred.fromCoroutine(go.run([], ENVIRONMENT, Path(), 100))
    outcome: list[Any] = []
    running.addCallbacks(outcome.append, lambda failure: outcome.append(failure.type))
    return running, outcome


def advance(fake: FakeReactor, seconds: float) -> None:
    fake.pump([0.02] * round(seconds / 0.02))


def test_steps_of_a_timeout() -> None:
    """TERM at the deadline, KILL five seconds later, and not before that the error."""
    fake = FakeReactor()
    _, outcome = started(fake)
    advance(fake, 104)
    assert [number for _, number in fake.signals] == [signal.SIGTERM]
    assert outcome == []
    advance(fake, 2)
    assert [number for _, number in fake.signals] == [signal.SIGTERM, signal.SIGKILL]
    assert [when for when, _ in fake.signals] == pytest.approx([100, 105], abs=0.1)
    assert outcome == [TimedOut]
    assert fake.process.closed


def test_no_kill_when_term_was_enough() -> None:
    """A group that ends on TERM is not waited for any longer."""
    fake = FakeReactor()
    _, outcome = started(fake)
    advance(fake, 100.1)
    fake.group_left = False
    fake.end(ProcessTerminated(signal=signal.SIGTERM))
    advance(fake, 0.1)
    assert outcome == [TimedOut]
    assert [number for _, number in fake.signals] == [signal.SIGTERM]


def test_two_cancellations() -> None:
    """Whoever cancels twice does not wait: the group is killed at once."""
    fake = FakeReactor()
    running, outcome = started(fake)
    running.cancel()
    assert outcome == []
    running.cancel()
    assert outcome == [CancelledError]
    assert [number for _, number in fake.signals] == [signal.SIGTERM, signal.SIGKILL]


def test_nothing_is_left_on_the_clock() -> None:
    """A command that ends leaves no timer behind."""
    fake = FakeReactor()
    _, outcome = started(fake)
    fake.end(ProcessDone(0))
    assert outcome[0].code == 0
    assert fake.getDelayedCalls() == []


def test_pipes_held_by_an_escaped_process() -> None:
    """Pipes that a process outside the group holds are closed five seconds after the command's exit."""
    fake = FakeReactor()
    _, outcome = started(fake)
    fake.process.reaped = True
    fake.protocol.processExited(Failure(ProcessDone(0)))
    advance(fake, 4)
    assert not fake.process.closed
    advance(fake, 2)
    assert fake.process.closed
    fake.protocol.processEnded(Failure(ProcessDone(0)))
    assert outcome[0].code == 0
