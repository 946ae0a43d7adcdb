"""What is said of each request: its id, and its line in the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from typing import Any, Protocol

import structlog
from attrs import define

from athensd.steps import Step


@define(eq=False)
class Alike:
    """What the lines of requests that are answered alike have in common; in ``written`` the log keeps its form."""

    event: dict[str, Any]
    written: str = ""


class Write(Protocol):
    """Writes the line of a request that is over: an event, as structlog has it, and what it has in common."""

    def __call__(self, event: dict[str, Any], alike: Alike | None = None) -> None: ...


# Ids of one process follow each other; what is before them is of this process alone.
_PROCESS = os.urandom(8).hex()
_count = count(int.from_bytes(os.urandom(4), "big"))


def new_id() -> str:
    """An id for a request, of 32 hexadecimal digits."""
    return f"{_PROCESS}{next(_count):016x}"


def write_event(event: dict[str, Any], alike: Alike | None = None) -> None:
    """By structlog."""
    structlog.get_logger("athensd.access").info(**(alike.event if alike else {}), **event)


def line(this: Step, method: str) -> dict[str, Any]:
    """The line of a request that is over."""
    return {**in_common(this.facts, method), **own(this)}


def in_common(facts: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What the line says of the answer."""
    return {
        "event": "incoming request",
        "http-method": method,
        "http-path": facts["path"],
        "http-status": facts["status"],
        "module": facts["module"],
        "version": facts["version"],
        "bytes": facts["bytes"],
        "cache": facts["cache"],
    }


def own(this: Step) -> dict[str, Any]:
    """What the line says of this request."""
    facts = this.facts
    user = facts.get("user")
    return {
        "ms": round(this.seconds * 1000, 2),
        "client": facts["client"],
        **({"user": user} if user else {}),
        "request-id": facts["request_id"],
    }
