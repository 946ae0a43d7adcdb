"""Clients that go on too slowly: nobody holds a connection for ever who does not take what he asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LEAST = 1024
"""Bytes in a second that a client must take, on the average over the time that an idle one is given."""


@contextmanager
def paced(channel: Any, moved: Callable[[], int], waits: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """A body being sent on a channel of ``AthensSite``; ``moved`` says how many bytes of it were taken until now.

    Where too few are taken within the time that the site gives an idle client, the connection is cut.
    """
    seconds = channel.site.timeOut
    before, check = moved(), None

    def look() -> None:
        nonlocal before, check
        if waits() and moved() - before < LEAST * seconds:
            channel.transport.abortConnection()
        else:
            before, check = moved(), channel.callLater(seconds, look)

    if seconds:
        check = channel.callLater(seconds, look)
    try:
        yield
    finally:
        if check is not None and check.active():
            check.cancel()
