"""The validator hook, against real servers on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from treq.client import HTTPClient
from twisted.internet import reactor as _reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from athensd.errors import AthensError, Forbidden, TimedOut, UpstreamFailed
from athensd.gomod.version import ModuleVersion
from athensd.validator import Validator

reactor: Any = _reactor  # its static type knows only what all reactors can
M = ModuleVersion("example.test/Big/m", "v1.0.0")


class Hook(Resource):
    """Answers every POST as ``status`` and ``text`` say, and remembers what it was asked; 0 means not at all."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.text = b""
        self.asked: list[tuple[dict[str, str], str]] = []

    def render_POST(self, request: Any) -> Any:
        self.asked.append((json.loads(request.content.read()), request.getHeader("content-type")))
        request.setResponseCode(self.status or 200)
        return self.text if self.status else NOT_DONE_YET


class Room:
    """A hook, and a validator that asks it."""

    def __init__(self) -> None:
        self.hook = Hook()
        self.now = 0.0
        self.listening = reactor.listenTCP(0, Site(self.hook), interface="127.0.0.1")

    def validator(self, url: str = "", timeout: float = 5) -> Validator:
        pool = HTTPConnectionPool(reactor, persistent=False)
        return Validator(
            url or f"http://127.0.0.1:{self.listening.getHost().port}/hook",
            HTTPClient(Agent(reactor, pool=pool)),
            reactor,
            lambda: self.now,
            timeout=timeout,
            fresh=60,
        )


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.listening.stopListening()


async def verdict(validator: Validator) -> type[AthensError] | None:
    try:
        await validator.check(M)
    except AthensError as error:
        return type(error)
    return None


@ensureDeferred
async def test_it_is_asked_in_athens_words(room: Room) -> None:
    """The module and version, as JSON, in plain letters."""
    assert await verdict(room.validator()) is None
    assert room.hook.asked == [({"Module": M.path, "Version": M.version}, "application/json")]


@pytest.mark.parametrize(
    ("status", "word"),
    [(200, None), (403, Forbidden), (404, UpstreamFailed), (500, UpstreamFailed), (302, UpstreamFailed)],
)
@ensureDeferred
async def test_verdicts(room: Room, status: int, word: type[AthensError] | None) -> None:
    """200 allows, 403 forbids, and anything else is no verdict."""
    room.hook.status = status
    assert await verdict(room.validator()) is word


@ensureDeferred
async def test_a_verdict_holds_for_a_while(room: Room) -> None:
    """Within its time nobody is asked again, whatever it was; afterwards it is asked for anew."""
    validator = room.validator()
    for status, word in ((403, Forbidden), (200, None)):
        room.hook.status = status
        room.hook.asked.clear()
        assert [await verdict(validator) for _ in range(3)] == [word] * 3
        assert len(room.hook.asked) == 1
        room.now += 60


@ensureDeferred
async def test_a_failure_is_no_verdict(room: Room) -> None:
    """It is not remembered."""
    validator = room.validator()
    room.hook.status = 500
    assert await verdict(validator) is UpstreamFailed
    room.hook.status = 200
    assert await verdict(validator) is None


@ensureDeferred
async def test_a_hook_that_is_not_there(room: Room) -> None:
    """Refused or silent, it costs no more than the time it is given."""
    assert await verdict(room.validator("http://127.0.0.1:1/")) is UpstreamFailed
    room.hook.status = 0
    assert await verdict(room.validator(timeout=0.2)) is TimedOut


@ensureDeferred
async def test_what_it_says_is_for_the_log(room: Room) -> None:
    """Its words are logged, and never shown to a client."""
    room.hook.status, room.hook.text = 403, b"internal policy 17"
    with capture_logs() as logs, pytest.raises(Forbidden) as caught:
        await room.validator().check(M)
    assert "17" not in str(caught.value)
    assert [(line["event"], line["text"]) for line in logs] == [("the validator says", "internal policy 17")]
