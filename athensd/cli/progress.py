"""How far a verb has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from itertools import count
from types import TracebackType
from typing import Any, TextIO, TypeVar

import click

T = TypeVar("T")
EVERY = 1000
"""Where there is no terminal, so many versions make a line."""


class Progress:
    """What is found goes to standard output, line by line; how far it is to ``where``, from ``with`` to the end of it.

    ``total`` of ``things`` are to be done; ``None``: nobody knows how many.
    """

    def __init__(self, label: str, total: int | None, where: TextIO | None = None, *, things: str = "versions") -> None:
        self._label = label
        self._things = things
        self._where = where or sys.stderr
        self._done = 0
        self._bar: Any = None
        if self._where.isatty():
            # An iterable without a length is click's way to say that nobody knows it.
            items: Any = count() if total is None else range(total)
            self._bar = click.progressbar(items, label=label, file=self._where, show_pos=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.render_progress()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def say(self, line: str) -> None:
        """A line for the reader."""
        if self._bar is None:
            click.echo(line)
            return
        click.echo("\r\033[K", file=self._where, nl=False)  # in place of the bar
        click.echo(line)
        self._bar._last_line = None  # else it would be drawn only when it looks different
        self._bar.render_progress()

    def counted(self, work: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        """The same work, of which each time is one thing more."""

        async def one(item: T) -> None:
            await work(item)
            self._done += 1
            if self._bar is not None:
                self._bar.update(1)
            elif self._done % EVERY == 0:
                click.echo(f"{self._label}: {self._done} {self._things}", file=self._where)

        return one
