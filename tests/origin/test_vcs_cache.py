"""A cache of clones that is kept within a bound; directories of one file stand for clones."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from athensd.origin.vcs_cache import EVICTED, VcsCache

SIZE = 8192


def clone(directory: Path, url: str, used: int, size: int = SIZE) -> Path:
    """What go keeps of a repository that was last used so many seconds after the epoch."""
    key = f"git3:{url}"
    path = directory / sha256(key.encode()).hexdigest()
    path.mkdir(parents=True)
    (path / "pack").write_bytes(bytes(size))
    info = path.with_suffix(".info")
    info.write_text(key)
    path.with_suffix(".lock").touch()
    os.utime(info, (used, used))
    return path


def test_oldest_goes_first(tmp_path: Path) -> None:
    """Over the limit, the clones that were not used for the longest time go, and no more of them than need be."""
    oldest, older, young = (clone(tmp_path, f"https://x.test/{used}", used) for used in (1, 2, 3))
    VcsCache(tmp_path, 2 * SIZE).settle()
    assert (oldest.exists(), older.exists(), young.exists()) == (False, True, True)
    assert not oldest.with_suffix(".info").exists()
    assert list(tmp_path.glob(f"{EVICTED}*")) == []


def test_use_counts(tmp_path: Path) -> None:
    """A clone that was just used goes last, whether that was known before or only afterwards."""
    first, second, third = (clone(tmp_path, f"https://x.test/{used}", used) for used in (1, 2, 3))
    cache = VcsCache(tmp_path, 2 * SIZE)
    with cache.held("https://x.test/1"):
        pass
    cache.used("https://x.test/2")
    cache.settle()
    assert (first.exists(), second.exists(), third.exists()) == (True, True, False)


def test_no_limit(tmp_path: Path) -> None:
    """Without a limit everything stays; with one that holds, too."""
    paths = [clone(tmp_path, f"https://x.test/{used}", used) for used in (1, 2)]
    VcsCache(tmp_path).settle()
    VcsCache(tmp_path, 2 * SIZE).settle()
    assert all(path.exists() for path in paths)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    """What a command may use stays whatever its age and size: the next oldest goes instead."""
    old, young = clone(tmp_path, "https://x.test/old", 1), clone(tmp_path, "https://x.test/young", 2)
    cache = VcsCache(tmp_path, 0)
    with cache.held("https://x.test/old"):
        os.utime(next(tmp_path.glob("*.use")), (0, 0))
        cache.settle()
        assert (old.exists(), young.exists()) == (True, False)
    cache.settle()
    assert not old.exists()


def test_a_command_on_who_knows_what(tmp_path: Path) -> None:
    """While a command runs of which it is not known what it is about, everything stays."""
    path = clone(tmp_path, "https://x.test/m", 1)
    cache = VcsCache(tmp_path, 0)
    with cache.held(None):
        cache.settle()
        assert path.exists()
    cache.settle()
    assert not path.exists()


def test_locked_by_go(tmp_path: Path) -> None:
    """A clone that a go command has locked stays, although nobody told us of that command."""
    path = clone(tmp_path, "https://x.test/m", 1)
    cache = VcsCache(tmp_path, 0)
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.settle()
        assert path.exists()
    cache.settle()
    assert not path.exists()


@pytest.mark.parametrize("url", ["'https://x.test/m'", "None"])
def test_in_use_by_another_process(tmp_path: Path, url: str) -> None:
    """What another process uses on the same directory stays until it is done, or dead."""
    path = clone(tmp_path, "https://x.test/m", 1)
    script = (
        "import sys; from pathlib import Path; from athensd.origin.vcs_cache import VcsCache\n"
        f"with VcsCache(Path(sys.argv[1])).held({url}): print(flush=True); sys.stdin.read()"
    )
    cache = VcsCache(tmp_path, 0)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        cache.settle()
        assert path.exists()
        other.kill()
    cache.settle()
    assert not path.exists()


def test_measured_when_used(tmp_path: Path) -> None:
    """A clone's size is looked up again after it was used, and not otherwise."""
    growing, still = clone(tmp_path, "https://x.test/growing", 1), clone(tmp_path, "https://x.test/still", 2)
    cache = VcsCache(tmp_path, 4 * SIZE)
    cache.settle()
    (still / "more").write_bytes(bytes(8 * SIZE))
    cache.settle()
    assert growing.exists(), "the other one's growth was not noticed, as nothing had used it"
    with cache.held("https://x.test/growing"):
        (growing / "more").write_bytes(bytes(3 * SIZE))
    cache.settle()
    assert (growing.exists(), still.exists()) == (True, False)


def test_cut_short(tmp_path: Path) -> None:
    """What an eviction has left that was cut short is removed at the next start."""
    (tmp_path / f"{EVICTED}4711-0" / "objects").mkdir(parents=True)
    VcsCache(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_drop(tmp_path: Path) -> None:
    """A damaged clone is known by its URL or by what go says of it; others stay."""
    first, second, third = (clone(tmp_path, f"https://x.test/{used}", used) for used in (1, 2, 3))
    cache = VcsCache(tmp_path)
    assert cache.drop("", "https://x.test/1")
    assert cache.drop(f"git ls-remote -q origin in /a/mod/cache/vcs/{second.name}: exit status 128", None)
    assert (first.exists(), second.exists(), third.exists()) == (False, False, True)
    assert not cache.drop("", None)
    assert not cache.drop("", "https://x.test/none")


def test_drop_what_go_holds(tmp_path: Path) -> None:
    """A damaged clone that a go command has locked is left to that command."""
    path = clone(tmp_path, "https://x.test/m", 1)
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert VcsCache(tmp_path).drop("", "https://x.test/m")
    assert path.exists()
