"""What every bucket promises (``athensd.interfaces.IBucket``).

A provider's tests are a subclass whose fixture ``bucket`` gives an empty one; those of a bucket on another machine are
a subclass of ``RemoteBucketContract``, which says what else it needs.
"""

from __future__ import annotations

import hashlib
import random
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from attrs import define, frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from zope.interface.verify import verifyObject

from athensd.blob import CHUNK, BytesBlob, FileBlob, read_all
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.interfaces import Blob, IBucket
from tests.storage.contract import BrokenBlob

MIB = 1 << 20
NAME = "example.com/m/@v/v1.2.3.zip"
TYPE = "application/octet-stream"
NAMES = [
    "Example.com/A!b/@v/v1.0.0.mod",
    "example.com/!caps/@v/v1.0.0.mod",
    "example.com/Caps/@v/v1.0.0.mod",
    "example.com/a b/c",
    "example.com/a%20b/c",
    "example.com/a+b/@v/v2.0.0+incompatible.info",
    "example.com/a-b/c",
    "example.com/a.b/c",
    "example.com/a/b",
    "example.com/a/b/c",
    "example.com/a@b",
    "example.com/ab",
    "example.com/a~b/c",
    "example.com/q?x=1&y=2#z",
    "example.com/ü",
    "example.com/\uff21",
    "example.com/\U0001f600",
]
"""Names in the order of their UTF-8 bytes; the last two are in another order as UTF-16."""


@frozen
class Zeros:
    """A large blob that is nowhere; ``seed`` makes two of them different."""

    length: int
    seed: int = 0

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        piece = bytes([self.seed]) * CHUNK
        for at in range(0, self.length, CHUNK):
            yield piece[: self.length - at]


@define
class Weighed:
    """A blob that knows the most memory that this process had while it was read."""

    blob: Blob
    most: int = 0

    @property
    def length(self) -> int:
        return self.blob.length

    def file(self) -> BinaryIO | None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        async for piece in self.blob.chunks(start, stop):
            self.most = max(self.most, resident())
            yield piece


def resident() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def put(bucket: Any, name: str, data: bytes, **more: Any) -> None:
    await bucket.put(name, BytesBlob(data), TYPE, **more)


async def data_of(bucket: Any, name: str) -> bytes:
    return await read_all(await bucket.open(name))


async def all_names(bucket: Any, prefix: str = "", after: str = "") -> list[str]:
    return [name async for name in bucket.names(prefix, after)]


async def in_turns(works: list[Any], at_once: int = 50) -> None:
    """Do many things, some at a time."""
    for at in range(0, len(works), at_once):
        await gatherResults([Deferred.fromCoroutine(work) for work in works[at : at + at_once]])


async def digest_of(blob: Blob) -> str:
    digest = hashlib.sha256()
    async for piece in blob.chunks():
        digest.update(piece)
    return digest.hexdigest()


class BucketContract:
    """Inherit from this and give the fixture ``bucket``."""

    def test_interface(self, bucket):
        """It is a bucket."""
        assert verifyObject(IBucket, bucket)

    @ensureDeferred
    async def test_ready(self, bucket):
        """A bucket that works says so, as often as it is asked, and has nothing in it that would be found by others."""
        await bucket.check()
        await bucket.check()
        assert await all_names(bucket, "example.com") == []

    @pytest.mark.parametrize("size", [0, 1, 1000, 65535, 65536, 65537, CHUNK - 1, CHUNK, CHUNK + 1, 3 * MIB])
    @ensureDeferred
    async def test_byte_identical(self, bucket, size):
        """What is read is what was put, its length is known, and it can be read again."""
        data = random.Random(size).randbytes(size)
        await put(bucket, NAME, data)
        stored = await bucket.open(NAME)
        assert stored.length == size
        assert stored.tag
        assert await read_all(stored) == data
        assert await read_all(stored) == data

    @ensureDeferred
    async def test_from_a_file(self, bucket, tmp_path):
        """A local file is put as it is, and stays."""
        data = random.Random(1).randbytes(5 * MIB)
        (tmp_path / "file").write_bytes(data)
        await bucket.put(NAME, FileBlob(tmp_path / "file", len(data)), TYPE)
        assert await data_of(bucket, NAME) == data
        assert (tmp_path / "file").read_bytes() == data

    @pytest.mark.parametrize("size", [10, 300_000])
    @ensureDeferred
    async def test_parts(self, bucket, size):
        """Any part of an object can be read, from its start up to, and without, its stop."""
        data = random.Random(1).randbytes(size)
        await put(bucket, NAME, data)
        stored = await bucket.open(NAME)
        for start, stop in [
            (0, 1),
            (1, 1),
            (3, 7),
            (0, 65536),
            (65535, 65537),
            (65536, 70000),
            (7, None),
            (size - 1, None),
            (size, None),
        ]:
            assert b"".join([piece async for piece in stored.chunks(start, stop)]) == data[start:stop]

    @ensureDeferred
    async def test_not_there(self, bucket):
        """What was never put is certainly not there, also where others have names like it."""
        await put(bucket, "example.com/m/x", b"x")
        for name in ("example.com/m", "example.com/m/", "example.com/m/x/y", "example.com/M/x", "never", "l/" * 2000):
            with pytest.raises(NotFound):
                await bucket.open(name)

    @ensureDeferred
    async def test_put_twice(self, bucket):
        """Who comes second is told so, even with the same bytes, and changes nothing."""
        await put(bucket, NAME, b"first")
        tag = (await bucket.open(NAME)).tag
        for data in (b"other", b"first", b"a longer one", b""):
            with pytest.raises(Conflict):
                await put(bucket, NAME, data)
        assert await data_of(bucket, NAME) == b"first"
        assert (await bucket.open(NAME)).tag == tag

    @ensureDeferred
    async def test_replacing(self, bucket):
        """Who names the object that is there replaces it, and its tag becomes another one."""
        await put(bucket, NAME, b"first")
        first = await bucket.open(NAME)
        await put(bucket, NAME, b"second", replacing=first.tag)
        second = await bucket.open(NAME)
        assert await read_all(second) == b"second"
        assert second.tag != first.tag
        with pytest.raises(Conflict):
            await put(bucket, NAME, b"third", replacing=first.tag)
        assert await data_of(bucket, NAME) == b"second"

    @ensureDeferred
    async def test_replacing_what_is_gone(self, bucket):
        """An object that is there no longer cannot be replaced."""
        await put(bucket, NAME, b"first")
        tag = (await bucket.open(NAME)).tag
        await bucket.delete(NAME)
        with pytest.raises(Conflict):
            await put(bucket, NAME, b"second", replacing=tag)
        with pytest.raises(NotFound):
            await bucket.open(NAME)

    @ensureDeferred
    async def test_replaced_while_it_is_read(self, bucket):
        """What was opened is read as it was, or it is an error: never half of the one and half of the other."""
        old, new = random.Random(1).randbytes(3 * MIB), random.Random(2).randbytes(3 * MIB)
        await put(bucket, NAME, old)
        stored = await bucket.open(NAME)
        await put(bucket, NAME, new, replacing=stored.tag)
        try:
            assert await read_all(stored) == old
        except StorageFailed as error:
            assert NAME in str(error)

    @ensureDeferred
    async def test_delete(self, bucket):
        """What was deleted is gone, and can be put again; deleting what is not there is no error."""
        await bucket.delete(NAME)
        await put(bucket, NAME, b"first")
        await put(bucket, NAME + ".other", b"other")
        await bucket.delete(NAME)
        await bucket.delete(NAME)
        with pytest.raises(NotFound):
            await bucket.open(NAME)
        await put(bucket, NAME, b"second")
        assert await data_of(bucket, NAME) == b"second"
        assert await data_of(bucket, NAME + ".other") == b"other"

    @ensureDeferred
    async def test_names(self, bucket):
        """Names of all kinds are kept apart and listed in the order of their UTF-8 bytes, from anywhere on."""
        assert sorted(NAMES, key=str.encode) == NAMES
        names = [name for name in NAMES if self.takes(name)]
        await in_turns([put(bucket, name, name.encode()) for name in random.Random(1).sample(names, len(names))])
        for name in names:
            assert await data_of(bucket, name) == name.encode()
        # A bucket may have something of its own, under a name that no module has.
        assert [name for name in await all_names(bucket) if "xample.com" in name] == names
        assert await all_names(bucket, "example.com/") == names[1:]
        assert await all_names(bucket, "example.com/a") == [name for name in names if name.startswith("example.com/a")]
        assert await all_names(bucket, "example.com/a/") == [name for name in names if "/a/" in name]
        assert await all_names(bucket, "never") == []
        for at, name in enumerate(names[1:], 2):
            assert await all_names(bucket, "example.com/", name) == names[at:]
            assert await all_names(bucket, "example.com/", name[:-1]) == [
                each for each in names[1:] if each.encode() > name[:-1].encode()
            ]
        assert await all_names(bucket, "example.com/a", "zzz") == []
        assert await all_names(bucket, "example.com/a", "a") == await all_names(bucket, "example.com/a")

    def takes(self, name: str) -> bool:
        """Whether there can be an object of this name beside the others; a provider may know better."""
        return True

    @ensureDeferred
    async def test_names_of_many(self, bucket):
        """A listing is whole, however many answers the server gives it in; whoever has seen enough may stop."""
        folders = ("a.io/m-x", "a.io/m", "a.io/m/sub", "a.io/m0", "b.io/m")
        names = [f"{folder}/@v/v1.{number}.0.info" for folder in folders for number in range(120)]
        await in_turns([put(bucket, name, b"") for name in (*names, "a.io/n", "a.io/m/sub0")])
        names = sorted([*names, "a.io/n", "a.io/m/sub0"])
        for prefix in ("a.io/", "a.io/m", "a.io/m/", "a.io/m/sub/@v/"):
            begun = [name for name in names if name.startswith(prefix)]
            assert await all_names(bucket, prefix) == begun
            for after in names[20::50]:
                assert await all_names(bucket, prefix, after) == [name for name in begun if name > after]
        seen = 0
        async for _ in bucket.names("a.io/"):
            seen += 1
            if seen == 120:
                break

    @pytest.mark.slow
    @ensureDeferred
    async def test_names_of_thousands(self, bucket):
        """The same with more names than any server gives in one answer."""
        names = [f"example.com/m/@v/v1.{number:04}.0.info" for number in range(2500)]
        await in_turns([put(bucket, name, b"") for name in names])
        assert await all_names(bucket, "example.com/m/") == names

    @ensureDeferred
    async def test_many_writers(self, bucket):
        """Of many who put at once one succeeds; of many who replace the same one, too."""
        for replacing in (False, True):
            tag = (await bucket.open(NAME)).tag if replacing else None
            writers = [
                Deferred.fromCoroutine(put(bucket, NAME, b"%d %d" % (replacing, number), replacing=tag))
                for number in range(20)
            ]
            outcomes = await DeferredList(writers, consumeErrors=True)
            [winner] = [number for number, (success, _) in enumerate(outcomes) if success]
            assert await data_of(bucket, NAME) == b"%d %d" % (replacing, winner)
            assert all(failure.check(Conflict) for success, failure in outcomes if not success)

    @pytest.mark.parametrize("length", [2000, 10 * MIB])
    @ensureDeferred
    async def test_a_source_that_breaks_off(self, bucket, length):
        """Of what cannot be read to its end nothing is to be seen, and it can be put again."""
        with pytest.raises(StorageFailed):
            await bucket.put(NAME, BrokenBlob(length), TYPE)
        with pytest.raises(NotFound):
            await bucket.open(NAME)
        assert await all_names(bucket, "example.com/") == []
        await put(bucket, NAME, b"whole")
        assert await data_of(bucket, NAME) == b"whole"


class RemoteBucketContract(BucketContract):
    """For a bucket on another machine.  Inherit from this and give, besides ``bucket``:

    ``proxied``, a pair of a ``CuttingProxy`` and the same bucket reached through it; ``bucket_down``, a bucket on a
    server that is not there; ``intruder``, the same bucket with wrong credentials.
    """

    @pytest.mark.slow
    @ensureDeferred
    async def test_large(self, bucket, tmp_path: Path):
        """200 MB go both ways in constant memory."""
        path = tmp_path / "large"
        with path.open("wb") as file:
            for seed in range(200):
                file.write(random.Random(seed).randbytes(MIB))
        large = Weighed(FileBlob(path, 200 * MIB))
        before = resident()
        await bucket.put(NAME, large, TYPE)
        stored = Weighed(await bucket.open(NAME))
        assert stored.length == large.length
        assert await digest_of(stored) == await digest_of(large)
        assert max(large.most, stored.most) - before < 40 * MIB

    @ensureDeferred
    async def test_large_one_that_is_there(self, bucket):
        """Who comes second with something large is told so as well, whatever the server does in mid-upload."""
        await bucket.put(NAME, Zeros(20 * MIB), TYPE)
        for seed in range(1, 6):
            with pytest.raises(Conflict):
                await bucket.put(NAME, Zeros(20 * MIB, seed), TYPE)
        assert await digest_of(await bucket.open(NAME)) == await digest_of(Zeros(20 * MIB))

    @ensureDeferred
    async def test_cut_upload(self, bucket, proxied):
        """Of an upload whose connection is cut nothing is to be seen; later it can be put."""
        proxy, cut_off = proxied
        proxy.cut(upstream=3 * MIB, connections=100)
        with pytest.raises(StorageFailed, match=NAME):
            await cut_off.put(NAME, Zeros(10 * MIB), TYPE)
        with pytest.raises(NotFound):
            await bucket.open(NAME)
        assert await all_names(bucket, "example.com/") == []
        proxy.mend()
        await cut_off.put(NAME, Zeros(10 * MIB), TYPE)
        assert (await bucket.open(NAME)).length == 10 * MIB

    @ensureDeferred
    async def test_upload_cut_once(self, bucket, proxied):
        """An upload that breaks off is tried again."""
        proxy, cut_off = proxied
        proxy.cut(upstream=3 * MIB, connections=1)
        await cut_off.put(NAME, Zeros(10 * MIB), TYPE)
        assert (await bucket.open(NAME)).length == 10 * MIB

    @ensureDeferred
    async def test_cut_download(self, bucket, proxied):
        """A download that breaks off is resumed where it was, and what is read is right to the byte."""
        proxy, cut_off = proxied
        data = random.Random(1).randbytes(5 * MIB)
        await put(bucket, NAME, data)
        proxy.cut(downstream=2 * MIB, connections=2)
        assert await data_of(cut_off, NAME) == data

    @ensureDeferred
    async def test_download_cut_again_and_again(self, bucket, proxied):
        """When it breaks off all the time it is an error, and that soon; what was read until then was right."""
        proxy, cut_off = proxied
        data = random.Random(1).randbytes(20 * MIB)
        await put(bucket, NAME, data)
        proxy.cut(downstream=1 * MIB, connections=100)
        read = b""
        with pytest.raises(StorageFailed, match=NAME):
            async for piece in (await cut_off.open(NAME)).chunks():
                read += piece
        assert read == data[: len(read)]

    @ensureDeferred
    async def test_down(self, bucket_down):
        """A server that is not there is known to be so at once, whatever it is asked, and is never taken for empty."""
        for ask in (
            lambda: bucket_down.check(),
            lambda: bucket_down.open(NAME),
            lambda: put(bucket_down, NAME, b"x"),
            lambda: bucket_down.delete(NAME),
            lambda: all_names(bucket_down),
        ):
            started = time.monotonic()
            with pytest.raises(StorageFailed, match="refused"):
                await ask()
            assert time.monotonic() - started < 1

    @ensureDeferred
    async def test_wrong_credentials(self, bucket, intruder):
        """Who is not let in is told what is wrong, and never that there is nothing."""
        await put(bucket, NAME, b"secret")
        for ask in (
            lambda: intruder.check(),
            lambda: intruder.open(NAME),
            lambda: intruder.open("never"),
            lambda: put(intruder, "new", b"x"),
            lambda: intruder.delete(NAME),
            lambda: all_names(intruder),
        ):
            with pytest.raises(StorageFailed, match=r"key|credentials|access"):
                await ask()
        assert await data_of(bucket, NAME) == b"secret"
