"""What workers tell each other, with the parent between them."""

from __future__ import annotations

import json
from signal import SIGHUP, SIGTERM
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from athensd.gomod.version import ModuleVersion
from athensd.workers.siblings import PATIENCE, Alone, Siblings
from athensd.workers.worker import Worker, line_of

VERSION = ModuleVersion("example.test/x", "v1.0.0")


class Family:
    """Some workers, and what a parent does for them."""

    def __init__(self, count: int = 3) -> None:
        self.clock = Clock()
        self.signals: list[int] = []
        self.leave: list[int] = []
        self.workers = {pid: self._worker(pid) for pid in range(1, count + 1)}
        self.deaf: set[int] = set()
        for pid, worker in self.workers.items():
            worker.dataReceived(line_of("siblings", [other for other in self.workers if other != pid]))

    def _worker(self, pid: int) -> Siblings:
        worker = Siblings(
            self.clock, Worker(pid), {"name": self.answer(pid)}, self.signals.append, lambda: self.leave.append(pid)
        )
        worker.makeConnection(StringTransport())
        return worker

    def answer(self, pid: int) -> Any:
        return lambda: succeed(f"I am {pid}")

    def pass_on(self) -> int:
        """Everything that was sent by now; how many messages."""
        count = 0
        for pid, worker in self.workers.items():
            transport: Any = worker.transport
            lines, _ = transport.value().splitlines(), transport.clear()
            for verb, whom, what in map(json.loads, lines):
                assert verb == "to"
                count += 1
                for other, each in self.workers.items():
                    if other != pid and other not in self.deaf and whom in {None, other}:
                        each.dataReceived(line_of("from", pid, what))
        return count


@pytest.fixture
def family() -> Family:
    return Family()


def test_everywhere(family: Family) -> None:
    """What one does is done by all, and not passed on again."""
    done: list[tuple[int, ModuleVersion]] = []
    acts = {
        pid: worker.everywhere("stored", lambda version, pid=pid: done.append((pid, version)))  # type: ignore[misc]
        for pid, worker in family.workers.items()
    }
    acts[2](VERSION)
    assert done == [(2, VERSION)]
    assert family.pass_on() == 1
    assert done == [(2, VERSION), (1, VERSION), (3, VERSION)]
    assert family.pass_on() == 0


def test_a_word_of_another_release(family: Family) -> None:
    """While workers are exchanged, one may say what the other does not know."""
    family.workers[1].everywhere("painted", lambda version: None)(VERSION)
    assert family.pass_on() == 1


def test_ask(family: Family) -> None:
    """Each of the others is asked; two questions at once do not mix."""
    one, two = (Deferred.fromCoroutine(family.workers[pid].ask("name")) for pid in (1, 2))
    while family.pass_on():
        pass
    assert one.result == ["I am 2", "I am 3"]
    assert two.result == ["I am 1", "I am 3"]


def test_who_does_not_answer(family: Family) -> None:
    """Is waited for, but not long; what comes then is too late."""
    family.deaf = {3}
    asking = Deferred.fromCoroutine(family.workers[1].ask("name"))
    while family.pass_on():
        pass
    family.clock.advance(PATIENCE - 0.1)
    assert not asking.called
    family.clock.advance(0.1)
    assert asking.result == ["I am 2"]
    family.workers[1].dataReceived(line_of("from", 3, ["answer", 0, "late"]))


def test_who_cannot_answer(family: Family) -> None:
    """Says nothing, and the failure is for its own log."""
    family.workers[3]._answers = {"name": _fails}
    asking = Deferred.fromCoroutine(family.workers[1].ask("name"))
    while family.pass_on():
        pass
    family.clock.advance(PATIENCE)
    assert asking.result == ["I am 2"]


async def _fails() -> None:
    raise ValueError


def test_what_the_parent_wants(family: Family) -> None:
    """Its word is a signal to ourselves, but for leaving; so is its end, unless we are ending."""
    family.workers[3].dataReceived(line_of("leave"))
    assert (family.leave, family.signals) == ([3], [])
    family.workers[1].dataReceived(line_of("reload"))
    family.workers[1].connectionLost()
    assert family.signals == [SIGHUP, SIGTERM]
    family.workers[2].stop()
    family.workers[2].connectionLost()
    assert family.signals == [SIGHUP, SIGTERM]


def test_alone() -> None:
    """A process that is no worker has nobody to tell or to ask."""
    alone = Alone()
    done: list[ModuleVersion] = []
    alone.everywhere("stored", done.append)(VERSION)
    assert done == [VERSION]
    assert Deferred.fromCoroutine(alone.ask("name")).result == ()
