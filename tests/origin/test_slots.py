"""So many at a time, and all clients in turn."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from athensd.errors import Overloaded
from athensd.origin.slots import Slots
from athensd.whose import on_behalf_of, whose
from tests.fakes import result_of, start


class Work:
    """Work for clients, that is done when the test says so; ``begun`` is in the order in which it had its slots."""

    def __init__(self, at_once: int = 1) -> None:
        self.slots = Slots(at_once)
        self.begun: list[str] = []

    def want(self, client: str, name: str) -> Deferred[None]:
        with on_behalf_of(client):
            return start(self._work(name))

    async def _work(self, name: str) -> None:
        await self.slots.take()
        self.begun.append(name)

    def room(self, client: str) -> bool:
        with on_behalf_of(client):
            return self.slots.make_room()


def test_as_many_as_there_are() -> None:
    """Whoever finds one free has it at once; the others wait, and get those that are given back."""
    work = Work(2)
    for name in ("1", "2", "3"):
        work.want("a", name)
    assert (work.begun, work.slots.waiting, work.slots.all_taken) == (["1", "2"], 1, True)
    for _ in range(3):
        work.slots.give_back()
    assert (work.begun, work.slots.waiting, work.slots.all_taken) == (["1", "2", "3"], 0, False)


def test_clients_in_turn() -> None:
    """One who asks much does not keep the others waiting for all of it; each has his own in their order."""
    work = Work()
    for name in ("a1", "a2", "a3", "a4"):
        work.want("a", name)
    work.want("b", "b1")
    work.want("c", "c1")
    work.want("b", "b2")
    for _ in range(6):
        work.slots.give_back()
    assert work.begun == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_who_leaves() -> None:
    """His place among those who wait is gone, and no slot with it."""
    work = Work()
    work.want("a", "a1")
    left = work.want("b", "b1")
    work.want("a", "a2")
    left.cancel()
    with pytest.raises(CancelledError):
        result_of(left)
    assert work.slots.waiting == 1
    work.slots.give_back()
    work.slots.give_back()
    assert (work.begun, work.slots.all_taken) == (["a1", "a2"], False)


def test_who_gives_way() -> None:
    """Of who has the most waiting the last is sent away, as long as another one has less."""
    work = Work()
    waiting = [work.want("a", f"a{number}") for number in range(4)][1:]
    assert not work.room("a"), "nobody makes room for himself"
    for client in ("b", "c"):
        assert work.room(client)
        with pytest.raises(Overloaded) as caught:
            result_of(waiting.pop())
        assert caught.value.retry_after > 0
        work.want(client, f"{client}0")
    assert not work.room("d"), "nobody has two"
    for _ in range(3):
        work.slots.give_back()
    assert work.begun == ["a0", "a1", "b0", "c0"]


def test_nobody_to_give_way() -> None:
    """Where nobody waits, there is no room to be made."""
    assert not Work().room("a")


def test_who_has_as_much_does_not_take_it() -> None:
    """A place goes to another client only if that has less afterwards than the one who gives way."""
    work = Work()
    for client in ("a", "a", "a", "b"):
        work.want(client, client)
    assert not work.room("b")


def test_whose() -> None:
    """Nobody's but ours, unless it was said; a coroutine goes on for whom it was begun."""

    async def later() -> str:
        await event
        return whose()

    event: Deferred[None] = Deferred()
    with on_behalf_of("a"):
        work = start(later())
        with on_behalf_of("b"):
            assert whose() == "b"
        assert whose() == "a"
    assert whose() == ""
    event.callback(None)
    assert result_of(work) == "a"
