"""Whose parent died, and who is collected."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

# As process 1 of its own world: a shell leaves a child behind, which ends; a child of Twisted's is not touched.
SCRIPT = """
import os, subprocess, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from athensd.origin import orphans

class Child(ProcessProtocol):
    def processEnded(self, reason):
        said.append(reason.value.exitCode)

def states():
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            yield open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile

def look():
    if "Z" in states():
        zombies.append(1)
    elif zombies and len(said) == 2:
        reactor.stop()

said, zombies = [], []
assert os.getpid() == 1
orphans.EVERY = 0.2
keeper = orphans.Orphans(reactor)
reactor.callWhenRunning(keeper.start)
reactor.spawnProcess(Child(), "/bin/sh", ["sh", "-c", "sleep 0.3 & exit 3"], env={"PATH": os.environ["PATH"]})
reactor.spawnProcess(Child(), "/bin/sh", ["sh", "-c", "sleep 0.6; exit 4"], env={"PATH": os.environ["PATH"]})
LoopingCall(look).start(0.02)
reactor.callLater(10, os._exit, 9)
reactor.run()
assert sorted(said) == [3, 4], said
keeper.stop()
"""


def test_process_one() -> None:
    """As process 1 we collect whoever is left to us, and Twisted gets the exit status of its own children."""
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare(1)")
    words = ["unshare", "--fork", "--pid", "--mount-proc"] + (["--map-root-user"] if os.getuid() else [])
    if subprocess.run([*words, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this user may not make a world of processes")
    done = subprocess.run([*words, sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
