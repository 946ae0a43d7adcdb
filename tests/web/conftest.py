"""What the tests of the web share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from tests.web.fakes import Daemon, Response, check_refusal


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the fast lane and without it: no answer depends on it."""
    monkeypatch.setattr(Daemon, "lane", request.param)
    return bool(request.param)


@pytest.fixture
def daemon(tmp_path: Path, lane: bool) -> Daemon:
    """An athensd in memory, with an empty store and an origin that knows one module."""
    return Daemon(tmp_path)


@pytest.fixture
def refused() -> Callable[[Response], None]:
    """A check that an answer is a refusal that the go command can show to its user."""
    return check_refusal


@pytest.fixture(autouse=True)
def no_failures() -> Iterator[None]:
    """Whatever is asked, Twisted has no unhandled failure to log."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield
    globalLogPublisher.removeObserver(events.append)
    assert [event["log_failure"] for event in events if "log_failure" in event] == []
