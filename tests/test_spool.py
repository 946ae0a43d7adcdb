"""Rooms for unfinished files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from athensd.spool import Spool

HOLD = """
import sys
from pathlib import Path
from athensd.spool import Spool
path = Spool(Path(sys.argv[1])).new_path()
path.mkdir()
(path / "unfinished").write_bytes(b"half a z")
print(path, flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a spool, and its unfinished directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_leftovers_of_the_dead(tmp_path):
    """What a killed process left is swept by the next one to start; what a living one holds is not."""
    with other_process(tmp_path) as (dead, left), other_process(tmp_path) as (_, held):
        Spool(tmp_path).close()
        assert (left / "unfinished").exists()
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        Spool(tmp_path).close()
        assert not left.parent.exists()
        assert (held / "unfinished").exists()


def test_lock_is_not_inherited(tmp_path):
    """A child that outlives its dead parent, as a stuck tool may, does not keep the leftovers from being swept."""
    child = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)\n"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("print(", f"{child}print("), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, left = int(process.stdout.readline()), Path(process.stdout.readline().strip())
        try:
            process.kill()
            process.wait()
            Spool(tmp_path).close()
            assert not left.parent.exists()
        finally:
            os.kill(pid, signal.SIGKILL)


def test_two_in_one_process(tmp_path):
    """Each spool has a room of its own, even in one process, and closing it removes that room only."""
    one, other = Spool(tmp_path), Spool(tmp_path)
    paths = [one.new_path(), other.new_path()]
    for path in paths:
        path.write_bytes(b"x")
    assert one.owns(paths[0])
    assert not one.owns(paths[1])
    assert not one.owns(tmp_path / "elsewhere")
    one.close()
    assert [path.exists() for path in paths] == [False, True]
    Spool(tmp_path).close()
    assert paths[1].exists()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_coming_and_going(tmp_path):
    """Any number may start and stop at the same time."""
    failures = []

    def come_and_go():
        try:
            for _ in range(30):
                spool = Spool(tmp_path)
                spool.new_path().write_bytes(b"x")
                spool.close()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def test_paths_are_given_once(tmp_path):
    """Threads that ask for paths at once never get the same one."""
    spool = Spool(tmp_path)
    paths = []
    threads = [threading.Thread(target=lambda: paths.extend(spool.new_path() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 2000


@pytest.mark.parametrize("failing", [False, True])
def test_directory(tmp_path, failing):
    """A directory is not there until somebody makes it, and goes with all that is in it, whatever happens."""
    spool = Spool(tmp_path)
    with suppress(ZeroDivisionError), spool.directory() as path:
        assert not path.exists()
        (path / "deep").mkdir(parents=True)
        assert not failing or 1 / 0
    assert not path.exists()
    with spool.directory() as other:
        assert other != path


def test_parent_of_somebody_else(tmp_path, monkeypatch):
    """A place that belongs to another user, who could change what is in it, is not used."""
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError):
        Spool(tmp_path)


def test_parent_that_is_a_file(tmp_path):
    """Where no directory can be made there is an ``OSError``."""
    (tmp_path / "file").write_bytes(b"")
    for parent in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            Spool(parent)
