"""How far a verb has come."""

from __future__ import annotations

import io

import pytest

from athensd.cli.progress import EVERY, Progress
from tests.fakes import result_of


class Terminal(io.StringIO):
    def isatty(self):
        return True


async def nothing(_):
    pass


def test_without_a_terminal(capsys):
    """A line now and then, and what is said goes to standard output at once."""
    where = io.StringIO()
    with Progress("checking", None, where) as progress:
        progress.say("a line")
        work = progress.counted(nothing)
        for number in range(2 * EVERY + 5):
            result_of(work(number))
    assert where.getvalue() == "checking: 1000 versions\nchecking: 2000 versions\n"
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize("total", [3, None])
def test_on_a_terminal(capsys, total):
    """A bar counts; lines come where it was, and it comes again behind them; in the end the cursor is back."""
    where = Terminal()
    with Progress("copying", total, where) as progress:
        work = progress.counted(nothing)
        result_of(work(1))
        before = len(where.getvalue())
        progress.say("a line")
        assert where.getvalue()[before:].startswith("\r\033[K")
        assert "copying" in where.getvalue()[before:]
        result_of(work(2))
        result_of(work(3))
    assert capsys.readouterr().out == "a line\n"
    assert ("3/3" if total else "3") in where.getvalue().split("\r")[-1]
    assert where.getvalue().endswith("\033[?25h\n")


def test_the_terminal_after_an_error():
    """The cursor is back then too."""
    where = Terminal()
    with pytest.raises(ValueError), Progress("copying", 3, where):
        raise ValueError
    assert "\033[?25h" in where.getvalue()
