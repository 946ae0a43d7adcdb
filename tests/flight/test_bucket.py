"""Leases in a bucket."""

from __future__ import annotations

import time

import pytest
from twisted.internet.task import Clock

from athensd.blob import BytesBlob
from athensd.errors import StorageFailed
from athensd.flight.bucket import PREFIX, BucketLeases
from tests.bucket.memory import MemoryBucket
from tests.fakes import result_of
from tests.flight.contract import LeasesContract

KEY = "fetch example.com/m@v1.2.3 zip"


@pytest.fixture
def bucket():
    return MemoryBucket()


class TestBucketLeases(LeasesContract):
    @pytest.fixture
    def process(self, bucket):
        return lambda: BucketLeases(bucket, time.monotonic)


def two_processes(bucket):
    """Two clocks that have nothing to do with each other, and the leases of each."""
    clocks = [Clock(), Clock()]
    clocks[1].advance(1_000_000)
    return [(clock, BucketLeases(bucket, clock.seconds)) for clock in clocks]


def test_no_clocks_are_compared(bucket):
    """Dead is who has written nothing for as long as a lease lasts, by the clock of who waits."""
    (_, mine), (clock, other) = two_processes(bucket)
    assert result_of(mine.take(KEY, "me", 8))
    assert not result_of(other.take(KEY, "other", 8))
    clock.advance(7.9)
    assert not result_of(other.take(KEY, "other", 8))
    assert result_of(mine.take(KEY, "me", 8))
    clock.advance(0.2)
    assert not result_of(other.take(KEY, "other", 8))
    clock.advance(7.9)
    assert not result_of(other.take(KEY, "other", 8))
    clock.advance(0.2)
    assert result_of(other.take(KEY, "other", 8))
    assert not result_of(mine.take(KEY, "me", 8))


def test_one_takes_over_from_the_dead(bucket):
    """Of many who see at once that a holder is dead, one gets its lease."""
    result_of(BucketLeases(bucket, Clock().seconds).take(KEY, "dead", 8))
    clock = Clock()
    waiters = [BucketLeases(bucket, clock.seconds) for _ in range(10)]
    for number, waiter in enumerate(waiters):
        assert not result_of(waiter.take(KEY, f"waiter {number}", 8))
    clock.advance(8)
    assert [result_of(waiter.take(KEY, f"waiter {number}", 8)) for number, waiter in enumerate(waiters)] == [
        True,
        *[False] * 9,
    ]


def test_nothing_stays(bucket):
    """With no lease held there is no object; while one is, its name is that of no module."""
    leases = BucketLeases(bucket, Clock().seconds)
    for number in range(20):
        assert result_of(leases.take(f"{KEY} {number}", "me", 8))
        assert result_of(leases.take(f"{KEY} {number}", "me", 8))
    assert len(bucket.objects) == 20
    assert all(name.startswith(PREFIX) for name in bucket.objects)
    for number in range(20):
        result_of(leases.give_back(f"{KEY} {number}", "me"))
    assert bucket.objects == {}


@pytest.mark.parametrize(
    "data", [b"", b"no JSON", b"[1]", b"{}", b"null", b"\xff", b'{"holder": "me"}' + b" " * 20_000]
)
def test_something_else_there(bucket, data):
    """An object that is no lease is as good as a dead holder's."""
    clock = Clock()
    leases = BucketLeases(bucket, clock.seconds)
    assert result_of(leases.take(KEY, "me", 8))
    [name] = bucket.objects
    result_of(bucket.put(name, BytesBlob(data), "text/plain", replacing=bucket.objects[name].tag))
    assert not result_of(leases.take(KEY, "me", 8))
    clock.advance(8)
    assert result_of(leases.take(KEY, "me", 8))


def test_bucket_away(bucket):
    """What the bucket cannot do is said in its words."""
    leases = BucketLeases(bucket, Clock().seconds)
    bucket.failure = "the bucket is away"
    for question in (leases.take(KEY, "me", 8), leases.give_back(KEY, "me")):
        with pytest.raises(StorageFailed, match="the bucket is away"):
            result_of(question)
