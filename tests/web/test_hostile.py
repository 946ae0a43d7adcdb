"""Ten thousand hostile paths, sent to the whole of athensd."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path, file_element_fault
from tests.web.fakes import ESCAPED, VERSION, Daemon
from tests.web.hostile import hostile_targets

COUNT = 10_000


def ask(daemon: Daemon, target: bytes, method: bytes = b"GET") -> int:
    """The status of one request; 0 when the connection was closed without a word."""
    connection = daemon.connect()
    raw = connection.send(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, target))
    connection.hang_up()
    if not raw:
        assert connection.transport.disconnecting
        return 0
    return int(raw.split(None, 2)[1])


def files(root: Path) -> set[str]:
    return {str(Path(folder, name).relative_to(root)) for folder, _, names in os.walk(root) for name in names}


def test_ten_thousand_hostile_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is a fault of ours, none reaches the origin unchecked, and none makes or opens a file outside the store."""
    (tmp_path / "secret.zip").write_bytes(b"secret")
    daemon = Daemon(tmp_path / "athensd")
    daemon.ask(f"{ESCAPED}/@v/{VERSION}.zip")
    before = files(tmp_path)
    daemon.origin.asked.clear()
    outside = watch(monkeypatch, tmp_path / "athensd")
    statuses: dict[int, int] = {}
    methods = random.Random(2)
    with capture_logs() as lines:
        for target in hostile_targets(COUNT):
            status = ask(daemon, target, methods.choice((b"GET", b"GET", b"HEAD")))
            assert status < 500, target
            statuses[status] = statuses.get(status, 0) + 1
            assert [line for line in lines if line["log_level"] not in {"info", "debug"}] == [], target
            lines.clear()
    assert {0, 200, 400, 403, 404} <= set(statuses), "the targets try every door"
    assert files(tmp_path) == before
    assert outside == []
    assert len(daemon.origin.asked) > 100
    for question in daemon.origin.asked:
        path, at, query = question.removesuffix(" list").partition("@")
        check_path(path)
        assert not at or (file_element_fault(query) is None and not query.startswith("-")), question


def watch(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[str]:
    """The files and directories outside ``home`` that the store looks at from now on."""
    outside: list[str] = []
    stat, listdir = Path.stat, os.listdir

    def note(path: str | Path) -> None:
        if not Path(os.path.normpath(path)).is_relative_to(home):
            outside.append(str(path))

    def watched_stat(path: Path, **options: bool) -> os.stat_result:
        note(path)
        return stat(path, **options)

    def watched_listdir(path: str | Path) -> list[str]:
        note(path)
        return listdir(path)

    monkeypatch.setattr(Path, "stat", watched_stat)
    monkeypatch.setattr(os, "listdir", watched_listdir)
    return outside


def test_hostile_paths_leave_no_memory_behind(tmp_path: Path) -> None:
    """What remains after thousands of hostile requests is what is remembered of absences, and that is bounded."""
    daemon = Daemon(tmp_path)
    daemon.freshness._size = 100
    with capture_logs() as lines:
        for target in hostile_targets(500, seed=3):
            ask(daemon, target)
        lines.clear()
        gc.collect()
        tracemalloc.start()
        try:
            for target in hostile_targets(1500, seed=4):
                ask(daemon, target)
                lines.clear()
            daemon.origin.asked.clear()
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 500_000
    assert daemon.site.busy == set()


def test_the_generator_is_the_same_every_time() -> None:
    """A seed names its targets; each is one line, and most are not alike."""
    targets = list(hostile_targets(1000, seed=5))
    assert targets == list(hostile_targets(1000, seed=5))
    assert not [target for target in targets if not target or set(target) & set(b" \r\n")]
    assert len(set(targets)) > 800


@pytest.mark.parametrize("path", ["..", "a/../b", "x\x00", "example.test/A B"])
def test_the_judge_is_awake(path: str) -> None:
    """The check that the questions to the origin are held against does refuse what it should."""
    with pytest.raises(InvalidPath):
        check_path(path)
