"""So many questions at a time, and so many more waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from athensd.blob import BytesBlob
from athensd.errors import NotFound, Overloaded
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.origin.bounded import BoundedOrigin
from athensd.whose import on_behalf_of
from tests.fakes import Steps


@implementer(IOrigin)
class Slow:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def _wait(self) -> None:
        self.waiting.append(Deferred())
        await self.waiting[-1]

    async def list(self, path: str) -> Sequence[Listed]:
        await self._wait()
        return [Listed("v1.0.0")]

    async def resolve(self, path: str, query: str) -> Info:
        await self._wait()
        return Info("v1.0.0")

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        await self._wait()
        return {kind: BytesBlob(b"x")}


class Bounds(SynchronousTestCase):
    """An origin with two slots and a queue of two."""

    def setUp(self) -> None:
        self.slow = Slow()
        self.bounded = BoundedOrigin(self.slow, "upstream.test", at_once=2, queue=2)

    def ask(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.bounded.list("m"))

    def test_as_many_as_there_are_slots(self) -> None:
        """Two are asked at once, two wait, and the fifth is told to come again."""
        works = [self.ask() for _ in range(4)]
        self.assertEqual(len(self.slow.waiting), 2)
        error = self.failureResultOf(self.ask(), Overloaded).value
        self.assertGreater(error.retry_after, 0)
        self.slow.waiting[0].callback(None)
        self.assertEqual(self.successResultOf(works[0]), [Listed("v1.0.0")])
        self.assertEqual(len(self.slow.waiting), 3)
        self.assertNoResult(self.ask())

    def test_a_failure_gives_its_slot_back(self) -> None:
        """An answer that is an error frees its place like any other."""
        works = [self.ask() for _ in range(3)]
        self.slow.waiting[0].errback(NotFound("no"))
        self.failureResultOf(works[0], NotFound)
        self.assertEqual(len(self.slow.waiting), 3)

    def test_who_leaves_gives_the_slot_back(self) -> None:
        """Being cancelled frees a place, at work as in the queue."""
        works = [self.ask() for _ in range(4)]
        works[2].cancel()
        self.failureResultOf(works[2], CancelledError)
        works.append(self.ask())
        works[0].cancel()
        self.failureResultOf(works[0], CancelledError)
        self.assertEqual(len(self.slow.waiting), 3)
        for number in (1, 2, 3):
            self.slow.waiting[number].callback(None)
        for number in (1, 3, 4):
            self.successResultOf(works[number])

    def test_without_a_queue_nobody_waits(self) -> None:
        """A queue of none refuses as soon as all slots are taken."""
        self.bounded = BoundedOrigin(self.slow, "upstream.test", at_once=1, queue=0)
        self.assertNoResult(self.ask())
        self.failureResultOf(self.ask(), Overloaded)

    def test_another_client_finds_a_full_queue(self) -> None:
        """Who has the most waiting gives way: his last question is to be asked again."""
        works = [self.ask() for _ in range(4)]
        with on_behalf_of("another"):
            work = self.ask()
        self.failureResultOf(works[3], Overloaded)
        for number in range(4):
            self.slow.waiting[number].callback(None)
        self.assertEqual(self.successResultOf(work), [Listed("v1.0.0")])

    def test_every_question_is_bounded(self) -> None:
        """All three kinds of question share the slots, and all answers come through."""
        version = ModuleVersion("example.test/m", "v1.0.0")
        works = [
            Deferred.fromCoroutine(self.bounded.resolve("m", "latest")),
            Deferred.fromCoroutine(self.bounded.fetch(version, Kind.MOD, Path("x"))),
            self.ask(),
        ]
        self.assertEqual(len(self.slow.waiting), 2)
        for number in range(3):
            self.slow.waiting[number].callback(None)
        expected = [Info("v1.0.0"), {Kind.MOD: BytesBlob(b"x")}, [Listed("v1.0.0")]]
        self.assertEqual([self.successResultOf(work) for work in works], expected)

    def test_contract(self) -> None:
        """It provides what an origin promises."""
        verifyObject(IOrigin, self.bounded)


def test_the_wait_and_the_question_are_steps(steps: Steps) -> None:
    """Which origin was asked what, how long that waited for its turn, and how it ended."""
    slow = Slow()
    bounded = BoundedOrigin(slow, "upstream.test", at_once=1, queue=1)
    version = ModuleVersion("example.test/m", "v1.0.0")
    works = [
        Deferred.fromCoroutine(bounded.fetch(version, Kind.MOD, Path("x"))),
        Deferred.fromCoroutine(bounded.resolve("m", "main")),
        Deferred.fromCoroutine(bounded.list("m")),
    ]
    assert bounded.waiting == 1
    works[2].addErrback(lambda failure: failure.trap(Overloaded))
    slow.waiting[0].callback(None)
    slow.waiting[1].errback(NotFound("no"))
    works[1].addErrback(lambda failure: failure.trap(NotFound))
    told = [(step.name, step.facts, type(step.error)) for step in steps.closed_ones]
    fetch = {"origin": "upstream.test", "module": "example.test/m", "version": "v1.0.0", "kind": "mod"}
    query = {"origin": "upstream.test", "module": "m", "version": "main"}
    assert told == [
        ("queue", fetch, type(None)),
        ("queue", {"origin": "upstream.test", "module": "m"}, Overloaded),
        ("origin.fetch", {**fetch, "bytes": 1}, type(None)),
        ("queue", query, type(None)),
        ("origin.resolve", query, NotFound),
    ]
