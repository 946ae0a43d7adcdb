"""One at a time on each repository, so many at a time on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from twisted.internet.defer import CancelledError, Deferred

from athensd.errors import Overloaded, UpstreamFailed
from athensd.origin.turns import TOGETHER, Turns
from tests.fakes import Steps, result_of, start


class Work:
    """Turns whose work is done when the test says so."""

    def __init__(self, at_once: int = 10, queue: int = 1000) -> None:
        self.turns = Turns("direct", at_once, queue)
        self.done: dict[str, Deferred[None]] = {}
        self.asked: list[Sequence[str]] = []
        self.answers: list[Deferred[Mapping[str, str]]] = []

    def begin(self, name: str, repository: str) -> Deferred[None]:
        return start(self._work(name, repository))

    async def _work(self, name: str, repository: str) -> None:
        async with self.turns.turn(repository):
            self.done[name] = Deferred()
            await self.done[name]

    def ask(self, question: str, repository: str = "r") -> Deferred[str]:
        return start(self.turns.ask(repository, question, self._ask))

    async def _ask(self, questions: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(questions)
        self.answers.append(Deferred())
        return await self.answers[-1]

    def answer(self) -> None:
        """Answer what was asked last."""
        self.answers[-1].callback({question: question.upper() for question in self.asked[-1]})


def test_one_repository() -> None:
    """On one repository the second begins when the first is done, while another repository goes on."""
    work = Work()
    first, _, _ = work.begin("a", "r"), work.begin("b", "r"), work.begin("c", "s")
    assert work.done.keys() == {"a", "c"}
    work.done["a"].callback(None)
    assert work.done.keys() == {"a", "b", "c"}
    result_of(first)


def test_waiting_takes_no_slot() -> None:
    """Whoever waits for a repository leaves the slots to others."""
    work = Work(at_once=2)
    for name in ("a", "b", "c"):
        work.begin(name, "r")
    work.begin("d", "s")
    assert work.done.keys() == {"a", "d"}
    assert work.turns.waiting == 2


def test_slots() -> None:
    """All repositories together have so many turns at a time."""
    work = Work(at_once=1)
    work.begin("a", "r")
    work.begin("b", "s")
    assert work.done.keys() == {"a"}
    work.done["a"].callback(None)
    assert work.done.keys() == {"a", "b"}
    work.done["b"].callback(None)
    assert work.turns.waiting == 0


def test_overloaded(steps: Steps) -> None:
    """When so many wait already, for a repository or a slot, the next one is refused, and that is told."""
    work = Work(at_once=1, queue=2)
    begun = [work.begin(name, repository) for name, repository in (("a", "r"), ("b", "r"), ("c", "s"))]
    for repository in ("r", "t"):
        with pytest.raises(Overloaded):
            result_of(work.begin("d", repository))
    assert [type(step.error) for step in steps.named("queue")][-2:] == [Overloaded, Overloaded]
    for name in "acb":
        work.done[name].callback(None)
    for each in begun:
        result_of(each)


def test_leaving_while_waiting() -> None:
    """Whoever leaves is not waited for."""
    work = Work()
    first, leaving, _ = (work.begin(name, "r") for name in "abc")
    leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
    leaving.cancel()
    work.done["a"].callback(None)
    assert work.done.keys() == {"a", "c"}
    result_of(first)


def test_leaving_with_the_turn() -> None:
    """The turn of one who leaves, or fails, goes to the next."""
    work = Work(at_once=1)
    leaving, failing, _ = (work.begin(name, "r") for name in "abc")
    leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
    leaving.cancel()
    work.done["b"].errback(UpstreamFailed("no"))
    with pytest.raises(UpstreamFailed):
        result_of(failing)
    assert work.done.keys() == {"a", "b", "c"}


def test_asked_together(steps: Steps) -> None:
    """Those who wait with a question are answered by the next who has the turn, each with his own answer."""
    work = Work()
    askers = [work.ask(question) for question in "abcb"]
    assert work.asked == [["a"]]
    work.answer()
    assert work.asked == [["a"], ["b", "c"]]
    work.answer()
    assert [result_of(asker) for asker in askers] == ["A", "B", "C", "B"]
    assert work.turns.waiting == 0
    assert [step.facts.get("joined") for step in steps.named("repository")] == [None, False, True, True]


def test_not_too_many_together() -> None:
    """A turn takes a hundred questions, whoever asked; the others are answered with the next ones."""
    work = Work()
    askers = [work.ask(f"q{number}") for number in range(2 * TOGETHER + 2)]
    for _ in range(4):
        work.answer()
    assert [len(questions) for questions in work.asked] == [1, TOGETHER, TOGETHER, 1]
    assert [result_of(asker) for asker in askers] == [f"Q{number}" for number in range(2 * TOGETHER + 2)]


def test_question_behind_work() -> None:
    """A question waits for work on its repository, and work for a question; work is never answered."""
    work = Work()
    first, asker = work.begin("a", "r"), work.ask("q")
    second = work.begin("b", "r")
    work.done["a"].callback(None)
    work.answer()
    assert result_of(asker) == "Q"
    work.done["b"].callback(None)
    result_of(first)
    result_of(second)


def test_the_one_who_asks_leaves() -> None:
    """When the one who has the turn leaves or fails, the others ask again without him."""
    work = Work()
    leaving, failing, staying = (work.ask(question) for question in "abc")
    leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
    leaving.cancel()
    assert work.asked[-1] == ["b", "c"]
    work.answers[-1].errback(UpstreamFailed("no"))
    with pytest.raises(UpstreamFailed):
        result_of(failing)
    work.answer()
    assert result_of(staying) == "C"


def test_an_answer_is_missing() -> None:
    """Whoever got no answer asks himself."""
    work = Work()
    first, second, third = (work.ask(question) for question in "abc")
    work.answer()
    work.answers[-1].callback({"b": "B"})
    assert result_of(second) == "B"
    assert work.asked[-1] == ["c"]
    work.answer()
    assert (result_of(first), result_of(third)) == ("A", "C")
