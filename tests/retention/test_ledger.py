"""Bookkeeping of what a bounded store holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from athensd.gomod.version import ModuleVersion
from athensd.retention.ledger import Ledger

A, B, C = (ModuleVersion("example.com/m", f"v1.{number}.0") for number in range(3))


def filled() -> Ledger:
    ledger = Ledger(100)
    for version in (A, B, C):
        ledger.keep(version, 10)
    ledger.add(5)
    return ledger


def test_promises_are_within_the_limit() -> None:
    """There is room for what fits beside what is kept and what was promised before."""
    ledger = filled()
    assert ledger.kept == 35
    assert ledger.promise(60)
    assert not ledger.promise(6)
    assert ledger.promise(5)
    ledger.settle(60)
    assert ledger.promise(60)


def test_the_one_used_least_recently_is_the_oldest() -> None:
    """Use makes young; as many are named as have the bytes, and never more than so many."""
    ledger = filled()
    ledger.use(A)
    ledger.use(ModuleVersion("example.com/pinned", "v1.0.0"))
    assert list(ledger.oldest(10, 8, 0)) == [B]
    assert ledger.oldest(11, 8, 0) == {B: 10, C: 10}
    assert list(ledger.oldest(1000, 2, 0)) == [B, C]
    assert ledger.oldest(0, 8, 0) == {}


def test_put_aside() -> None:
    """What is put aside is not named until its time has come, and is the oldest then; if it was used, it is young."""
    ledger = filled()
    ledger.put_aside(A, 50)
    ledger.put_aside(B, 10)
    assert list(ledger.oldest(1000, 8, 0)) == [C]
    assert list(ledger.oldest(1000, 8, 10)) == [B, C]
    ledger.use(A)
    assert list(ledger.oldest(1000, 8, 100)) == [B, C, A]
    assert ledger.kept == 35


def test_gone() -> None:
    """What is gone counts no more, once."""
    ledger = filled()
    assert (ledger.drop(A), ledger.drop(A), ledger.kept) == (10, 0, 25)
    ledger.lose(5)
    assert ledger.kept == 20


def test_counting_takes_time() -> None:
    """What happens during a count is true after it, whether it was seen or not; what is put aside stays so."""
    ledger = filled()
    ledger.put_aside(C, 50)
    ledger.begin_count()
    other = ModuleVersion("example.com/other", "v1.0.0")
    ledger.keep(other, 20)
    ledger.drop(A)
    ledger.use(B)
    ledger.counted([(A, 10), (B, 10), (C, 10)], 35)
    assert ledger.kept == 45
    assert list(ledger.oldest(1000, 8, 0)) == [other, B]
    ledger.begin_count()
    ledger.drop(B)
    ledger.counted([(C, 10), (other, 20)], 35)  # B was gone when he came by
    assert ledger.kept == 35
    assert list(ledger.oldest(1000, 8, 100)) == [C, other]


NAMES = st.sampled_from([A, B, C])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), NAMES, st.integers(1, 30)),
        st.tuples(st.just("use"), NAMES),
        st.tuples(st.just("drop"), NAMES),
        st.tuples(st.just("put_aside"), NAMES, st.integers(0, 9)),
    )
)


@given(CHANGES, st.integers(0, 9))
def test_the_sum_is_right(changes: list[tuple[str, object]], now: int) -> None:
    """Whatever happens, what is kept is the sum of the zips that are there."""
    ledger = Ledger(1000)
    there: dict[object, object] = {}
    for name, *arguments in changes:
        getattr(ledger, name)(*arguments)
        if name == "keep":
            there[arguments[0]] = arguments[1]
        elif name == "drop":
            there.pop(arguments[0], None)
        ledger.oldest(50, 8, now)
    assert ledger.kept == sum(there.values())  # type: ignore[arg-type]
    assert ledger.oldest(1000, 8, 9) == there
