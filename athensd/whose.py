"""For whom is this being done?  Said where a request comes in, asked where somebody has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_WHOSE: ContextVar[str] = ContextVar("_WHOSE", default="")


@contextmanager
def on_behalf_of(client: str) -> Iterator[None]:
    """What is begun in this block is done for this user or address; coroutines take it with them, as they do steps."""
    token = _WHOSE.set(client)
    try:
        yield
    finally:
        _WHOSE.reset(token)


def whose() -> str:
    """Whom we work for; empty when it is for nobody but us."""
    return _WHOSE.get()
