"""Go commands end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from athensd.origin.go_process import GoCommand, launcher
from athensd.origin.leash import Leash
from tests.origin.test_go_process import STUBBORN, alive, eventually, group, sh

# A process that runs a command on a leash; the command writes down who it is.
SCRIPT = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from athensd.origin.go_process import GoCommand, launcher
from athensd.origin.leash import Leash
path = {"PATH": os.environ["PATH"]}
go = GoCommand(reactor, "sh", leash=Leash(reactor, launcher(path["PATH"], Path("/"))))
for arguments in (["-c", "true"], ["-c", sys.argv[1]]):
    Deferred.fromCoroutine(go.run(arguments, path, Path.cwd(), 60))
reactor.run()
"""


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@ensureDeferred
async def test_killed(tmp_path: Path) -> None:
    """When the process is killed, its commands and what they have started are gone five seconds later."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT, STUBBORN], cwd=tmp_path, start_new_session=True) as process:
        await eventually(lambda: (tmp_path / "leader").exists() and (tmp_path / "leader").read_text())
        leader = int((tmp_path / "leader").read_text())
        started = children(process.pid)
        assert len(group(leader)) > 1
        os.killpg(process.pid, signal.SIGKILL)
    await eventually(lambda: not group(leader), seconds=5)
    await eventually(lambda: not any(map(alive, started)))


@ensureDeferred
async def test_nothing_is_held(tmp_path: Path) -> None:
    """Commands that are over are let go, and with the last of them, and a stop, the leash ends."""
    go = GoCommand(reactor, "sh", leash=Leash(reactor, launcher(os.environ["PATH"], Path("/"))))
    before = children(os.getpid())
    done = await sh("echo $$", tmp_path, go=go)
    assert done.code == 0
    (leash,) = [pid for pid in children(os.getpid()) if pid not in before and alive(pid)]
    await go.stop()
    await eventually(lambda: not alive(leash))
