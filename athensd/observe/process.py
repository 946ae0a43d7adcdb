"""What a process can say of itself, for people: its children, its stacks, its memory."""

from __future__ import annotations

import gc
import inspect
import os
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CoroutineType
from typing import Any

from attrs import frozen

from athensd.observe.logs import shown

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@frozen
class _Process:
    """What Linux tells of a process; the others tell nothing."""

    pid: int
    parent: int
    name: str
    age: float
    cpu: float
    memory: int


def children(of: int) -> Iterator[str]:
    """A line for each process under this one.  Not what they were started with: passwords may be among that."""
    by_parent: dict[int, list[_Process]] = defaultdict(list)
    for each in _processes():
        by_parent[each.parent].append(each)

    def lines(parent: int, depth: int) -> Iterator[str]:
        for each in by_parent[parent]:
            name = "  " * depth + shown(each.name)
            yield f"{each.pid:>8} {each.age:>8.1f} s {each.cpu:>8.1f} s {each.memory / 1e6:>7.1f} MB  {name}\n"
            yield from lines(each.pid, depth + 1)

    yield f"{'pid':>8} {'age':>10} {'cpu':>10} {'memory':>10}  command\n"
    yield from lines(of, 0)


def _processes() -> Iterator[_Process]:
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            before, _, rest = stat.read_text(errors="replace").rpartition(") ")
        except OSError:  # it has ended meanwhile
            continue
        pid, _, name = before.partition(" (")
        fields = rest.split()  # proc(5) counts them from 3
        yield _Process(
            int(pid),
            int(fields[1]),
            name,
            age=time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS,
            cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
            memory=int(fields[21]) * _PAGE,
        )


def threads() -> Iterator[str]:
    """Where each thread is."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            yield f"thread {thread.name}\n{''.join(traceback.format_stack(frame))}"


def coroutines() -> Iterator[str]:
    """Where coroutines wait, those together that wait at the same place."""
    all_there = [each for each in gc.get_objects() if type(each) is CoroutineType]
    waiting = [each for each in all_there if inspect.getcoroutinestate(each) == inspect.CORO_SUSPENDED]
    inner = {id(each.cr_await) for each in waiting}
    places = Counter("".join(_place(each)) for each in waiting if id(each) not in inner)
    for place, count in places.most_common():
        yield f"{count} x coroutine\n{place}"


def _place(coroutine: Any) -> Iterator[str]:
    while type(coroutine) is CoroutineType and coroutine.cr_frame is not None:
        code = coroutine.cr_code
        yield f'  File "{code.co_filename}", line {coroutine.cr_frame.f_lineno}, in {code.co_qualname}\n'
        coroutine = coroutine.cr_await


def memory(by_type: bool) -> str:
    """How much there is and of what; ``by_type`` looks at every object, which takes some tens of milliseconds."""
    counts = ", ".join(map(str, gc.get_count()))
    collections = ", ".join(str(each["collections"]) for each in gc.get_stats())
    lines = [
        f"{_resident() / 1e6:>10.1f}  MB resident",
        f"{threading.active_count():>10}  threads",
        f"{gc.get_freeze_count():>10}  objects that were there at the start",
        f"{counts:>10}  objects made since the last collection, by generation",
        f"{collections:>10}  collections, by generation",
    ]
    if by_type:
        types = Counter(type(each) for each in gc.get_objects())
        lines += ["", "objects made since the start, of those that can be part of a circle:"]
        lines += [f"{count:>10}  {kind.__module__}.{kind.__qualname__}" for kind, count in types.most_common(25)]
    return "\n".join(lines) + "\n"


def _resident() -> int:
    try:
        return int((_PROC / "self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
