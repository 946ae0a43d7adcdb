"""What is said of each request: its id, and its line in the log."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Any

import structlog

from athensd.steps import Step

Write = Callable[[dict[str, Any]], None]
"""Writes the line of a request that is over: an event, as structlog has it."""

# Ids of one process follow each other; what is before them is of this process alone.
_PROCESS = os.urandom(8).hex()
_count = count(int.from_bytes(os.urandom(4), "big"))


def new_id() -> str:
    """An id for a request, of 32 hexadecimal digits."""
    return f"{_PROCESS}{next(_count):016x}"


def write_event(event: dict[str, Any]) -> None:
    """By structlog."""
    structlog.get_logger("athensd.access").info(**event)


def line(this: Step, method: str) -> dict[str, Any]:
    """The line of a request that is over."""
    facts = this.facts
    user = facts.get("user")
    return {
        "event": "incoming request",
        "http-method": method,
        "http-path": facts["path"],
        "http-status": facts["status"],
        "module": facts["module"],
        "version": facts["version"],
        "bytes": facts["bytes"],
        "ms": round(this.seconds * 1000, 2),
        "cache": facts["cache"],
        "client": facts["client"],
        **({"user": user} if user else {}),
        "request-id": facts["request_id"],
    }
