"""Leases in a bucket: objects that are written only instead of those that were read.

No two clocks are compared: a holder writes its object anew with each renewal, and is dead for whoever has seen the
object unchanged for as long as the lease lasts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import count

from zope.interface import implementer

from athensd.blob import BytesBlob, read_all
from athensd.errors import Conflict, NotFound
from athensd.interfaces import IBucket, ILeases, StoredBlob

PREFIX = ".athensd/leases/"
_LARGEST = 10_000  # bytes; a lease is much smaller
_MOST_SEEN = 10_000


@implementer(ILeases)
class BucketLeases:
    """An object for each lease that is held; ``now`` gives seconds that only ever grow."""

    def __init__(self, bucket: IBucket, now: Callable[[], float]) -> None:
        self._bucket = bucket
        self._now = now
        self._turns = count()
        # Leases of others: the tag, and since when it is the same.
        self._seen: dict[str, tuple[str, float]] = {}

    async def take(self, key: str, holder: str, seconds: float) -> bool:
        name = _name(key)
        try:
            lease = await self._bucket.open(name)
        except NotFound:
            return await self._write(name, key, holder, None)
        if await _holder(lease) == holder or self._is_dead(name, lease.tag, seconds):
            return await self._write(name, key, holder, lease.tag)
        return False

    async def give_back(self, key: str, holder: str) -> None:
        name = _name(key)
        try:
            lease = await self._bucket.open(name)
        except NotFound:
            return
        if await _holder(lease) == holder:
            # Had it run out, another may take it just now, and loses it here: then some work is done twice.
            await self._bucket.delete(name)

    async def _write(self, name: str, key: str, holder: str, replacing: str | None) -> bool:
        # With the turn no two are the same, as tags may be hashes of what is written.
        data = json.dumps({"holder": holder, "key": key, "turn": next(self._turns)}).encode()
        try:
            await self._bucket.put(name, BytesBlob(data), "application/json", replacing=replacing)
        except Conflict:
            return False
        self._seen.pop(name, None)
        return True

    def _is_dead(self, name: str, tag: str, seconds: float) -> bool:
        now = self._now()
        seen, since = self._seen.get(name, ("", now))
        if seen == tag:
            return now - since >= seconds
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = (tag, now)
        return False


def _name(key: str) -> str:
    return f"{PREFIX}{sha256(key.encode()).hexdigest()[:40]}"


async def _holder(lease: StoredBlob) -> str:
    """Who wrote it; nobody, when it is something else."""
    if lease.length > _LARGEST:
        return ""
    try:
        return str(json.loads(await read_all(lease))["holder"])
    except (ValueError, KeyError, TypeError):
        return ""
