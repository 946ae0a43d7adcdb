"""Access tokens: fetched once, ahead of time, and the old one does until then."""

from __future__ import annotations

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from athensd.bucket.token import AGAIN_AFTER, AHEAD, Token
from athensd.errors import StorageFailed

HOUR = 3600.0


@define
class Threads:
    """Runs nothing by itself; ``fetching`` is what waits."""

    clock: Clock = field(factory=Clock)
    fetching: list[Deferred] = field(factory=list)
    fetches: int = 0
    token: Token = field(init=False)

    def __attrs_post_init__(self):
        self.clock.advance(1_000_000)
        self.token = Token(lambda: ("", 0.0), self.in_thread, self.clock.seconds)

    def in_thread(self, function):
        self.fetches += 1
        self.fetching.append(Deferred())
        return self.fetching[-1]

    def done(self, token, seconds=HOUR):
        self.fetching.pop().callback((token, self.clock.seconds() + seconds))

    def ask(self):
        """The answers so far of one who asks."""
        answers = []
        asking = Deferred.fromCoroutine(self.token())
        asking.addCallbacks(answers.append, lambda failure: answers.append(str(failure.value)))
        return answers


@pytest.fixture
def threads():
    return Threads()


def test_many_askers(threads):
    """Many who ask at once wait for one fetch."""
    asked = [threads.ask() for _ in range(3)]
    assert asked == [[], [], []]
    threads.done("one")
    assert asked == [["one"]] * 3
    assert threads.ask() == ["one"]
    assert threads.fetches == 1


def test_ahead(threads):
    """Ahead of the end a new one is fetched, for which one asker waits; the others go on with the old one."""
    threads.ask()
    threads.done("one")
    threads.clock.advance(HOUR - AHEAD)
    assert threads.ask() == ["one"]
    threads.clock.advance(1)
    first, second = threads.ask(), threads.ask()
    assert (first, second) == ([], ["one"])
    threads.done("two")
    assert first == ["two"]
    assert threads.fetches == 2


def test_the_old_one_again(threads):
    """A server that gives out the old one until its end is not asked on and on."""
    threads.ask()
    threads.done("one")
    threads.clock.advance(HOUR - AHEAD + 1)
    threads.ask()
    threads.done("one", AHEAD - 1)
    assert threads.ask() == ["one"]
    threads.clock.advance(AGAIN_AFTER)
    assert threads.ask() == []


def test_failure_ahead(threads):
    """While the old one holds, it is no failure that there is no new one."""
    threads.ask()
    threads.done("one")
    threads.clock.advance(HOUR - AHEAD + 1)
    asked = threads.ask()
    threads.fetching.pop().errback(StorageFailed("the server is down"))
    assert asked == ["one"]
    assert threads.ask() == ["one"]
    threads.clock.advance(AHEAD)
    asked = threads.ask()
    threads.fetching.pop().errback(StorageFailed("the server is down"))
    assert asked == ["the server is down"]


def test_failure(threads):
    """All who wait are told of the failure, and those who come soon after; then it is tried again."""
    asked = [threads.ask(), threads.ask()]
    threads.fetching.pop().errback(ZeroDivisionError("secret"))
    assert asked == [["no access token could be had (ZeroDivisionError)"]] * 2
    assert threads.ask() == asked[0]
    assert threads.fetches == 1
    threads.clock.advance(AGAIN_AFTER)
    asked = threads.ask()
    threads.done("one")
    assert asked == ["one"]


def test_expired_already(threads):
    """A token of the past is none: then a clock is wrong."""
    asked = threads.ask()
    threads.done("old", -1)
    assert asked == ["the access token has expired: is the clock of this machine right?"]


def test_asker_leaves(threads):
    """When the one leaves for whom it is fetched, it is fetched for the next."""
    leaving = Deferred.fromCoroutine(threads.token())
    leaving.addErrback(lambda _: None)
    asked = threads.ask()
    leaving.cancel()
    threads.fetching.pop(0)
    assert asked == []
    threads.done("one")
    assert asked == ["one"]
