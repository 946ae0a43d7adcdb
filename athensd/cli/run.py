"""A verb under the reactor, and what becomes of its end."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import click
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from athensd.errors import AthensError
from athensd.startup import Unusable

IMPOSSIBLE = 2
INTERRUPTED = 130
"""As shells have it for SIGINT."""
UNREAD = 141
"""As shells have it for SIGPIPE."""


def run(verb: Callable[[Any], Awaitable[int]]) -> NoReturn:
    """Do it, and exit with its status; an interruption lets it tidy up first."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

    def start(reactor: Any) -> Deferred[None]:
        done = Deferred.fromCoroutine(_to_the_end(verb, reactor))
        reactor.addSystemEventTrigger("before", "shutdown", done.cancel)
        return done

    react(start)


async def _to_the_end(verb: Callable[[Any], Awaitable[int]], reactor: Any) -> None:
    try:
        status = await verb(reactor)
    except CancelledError:
        status = INTERRUPTED
    except (Unusable, AthensError) as error:
        for line in str(error).split("\n"):
            click.echo(f"athensd: {line}", err=True)
        status = IMPOSSIBLE
    except BrokenPipeError:
        # Whoever reads has seen enough.  What is left to be written would only be complained of at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = UNREAD
    except Exception:
        traceback.print_exc()
        status = IMPOSSIBLE
    raise SystemExit(status)
