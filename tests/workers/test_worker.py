"""What a parent says to a worker that it starts, and lines in pieces; and who takes the next client."""

from __future__ import annotations

import os

import pytest

from athensd.workers.balance import Balance, make_balance
from athensd.workers.worker import VARIABLE, Lines, Worker, this_worker


def test_who_we_are() -> None:
    """The variable is read once, and no process that we start sees it; without it we are nobody's worker."""
    worker = Worker(2, 8, 9, 10, [["tcp 3000 ", 5]])  # type: ignore[list-item]  # JSON has no tuples
    environ = {VARIABLE: worker.text, "HOME": "/"}
    assert this_worker(environ) == worker
    assert environ == {"HOME": "/"}
    assert this_worker(environ) == Worker()


@pytest.mark.parametrize(
    "pieces", [[b"one\ntwo\nthr"], [b"one", b"\n", b"two\nt", b"hr"], [b"o", b"ne\ntwo", b"\nthr"]]
)
def test_lines(pieces: list[bytes]) -> None:
    """However they come."""
    lines = Lines()
    assert [line for piece in pieces for line in lines.feed(piece).splitlines()] == [b"one", b"two"]
    assert lines.feed(b"ee\nfour\n") == b"three\nfour"


def test_balance() -> None:
    """Whoever has more than another gives way; nobody waits for one that is not there."""
    one = make_balance(3)
    two = Balance(os.dup(one.descriptor))  # of another process
    assert not one.gives_way(1, 7)
    assert not two.gives_way(2, 3)
    assert one.gives_way(1, 7)
    assert not one.gives_way(1, 3)
    assert two.gives_way(2, 4)
    two.gone(1)
    assert not two.gives_way(2, 4)
