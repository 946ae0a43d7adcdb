"""Buckets on a real MinIO, and on servers that do what no MinIO does."""

from __future__ import annotations

import re
from itertools import count

import pytest
from attrs import define, field
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from athensd.blob import read_all
from athensd.bucket.s3 import PROBE, S3Bucket
from athensd.bucket.s3_credentials import S3Key, fixed_key
from athensd.bucket.s3_place import S3Place
from athensd.errors import Conflict, StorageFailed
from tests.bucket.contract import MIB, NAME, TYPE, RemoteBucketContract, Zeros, all_names, data_of, put
from tests.cutting import CuttingProxy
from tests.integration.process import free_ports
from tests.origin.fakes_http import answer
from tests.servers import minio

numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


def key_of(server):
    return S3Key(server.user, server.password)


def bucket_at(client, key, port, name, **more):
    place = S3Place(name, "us-east-1", f"http://127.0.0.1:{port}")
    return S3Bucket(client, reactor, fixed_key(key), place, **{"page_size": 100, **more})


def new_bucket(client, server):
    """A bucket of its own, which is empty but for what athensd itself has there."""
    bucket = bucket_at(client, key_of(server), server.port, f"bucket-{next(numbers)}", create=True)
    blockon(Deferred.fromCoroutine(bucket.check()))
    return bucket


class TestMinio(RemoteBucketContract):
    def takes(self, name):
        """MinIO keeps what lies below another object but does not list it.  No file of a module lies so."""
        return name != "example.com/a/b/c"

    @pytest.fixture
    def bucket(self, client, server):
        return new_bucket(client, server)

    @pytest.fixture
    def proxied(self, client, server, bucket):
        proxy = blockon(Deferred.fromCoroutine(CuttingProxy.listening(reactor, server.port)))
        yield proxy, bucket_at(client, key_of(server), proxy.port, bucket.place.bucket)
        blockon(Deferred.fromCoroutine(proxy.close()))

    @pytest.fixture
    def bucket_down(self, client):
        return bucket_at(client, S3Key("a", "b"), free_ports(1)[0], "bucket")

    @pytest.fixture(params=["wrong secret", "unknown key", "token"])
    def intruder(self, client, server, bucket, request):
        key = {
            "wrong secret": S3Key(server.user, "wrong"),
            "unknown key": S3Key("nobody", server.password),
            "token": S3Key(server.user, server.password, "token"),
        }[request.param]
        return bucket_at(client, key, server.port, bucket.place.bucket)


@ensureDeferred
async def test_bucket_that_is_not_there(client, server):
    """A bucket is made only where that is wanted, at the first check or write; else its absence is no emptiness."""
    name = f"bucket-{next(numbers)}"
    for ask in (
        lambda bucket: bucket.check(),
        lambda bucket: bucket.open(NAME),
        lambda bucket: put(bucket, NAME, b"x"),
        lambda bucket: all_names(bucket),
    ):
        with pytest.raises(StorageFailed, match="no such bucket"):
            await ask(bucket_at(client, key_of(server), server.port, name))
    bucket = bucket_at(client, key_of(server), server.port, name, create=True)
    await put(bucket, NAME, b"x")
    assert await all_names(bucket) == [PROBE, NAME]


@define
class LookAlike:
    """An S3 server as one would write it in an hour: objects by name, and what goes wrong with the next requests.

    ``heeds`` are the conditions that it knows.
    """

    heeds: tuple[str, ...] = ("if-none-match", "if-match")
    objects: dict[str, bytes] = field(factory=dict)
    mishaps: list = field(factory=list)
    asked: list[str] = field(factory=list)

    def __call__(self, request):
        self.asked.append(f"{request.method.decode()} {request.path.decode()}")
        mishap = self.mishaps.pop(0) if self.mishaps else None
        return mishap(self, request) if mishap else self.serve(request)

    def serve(self, request):
        name = request.path.decode()
        method = getattr(self, request.method.decode().lower())
        return method(request, name, self.objects.get(name))

    def put(self, request, name, there):
        wanted = {condition: request.getHeader(condition) for condition in self.heeds}
        if wanted.get("if-none-match") and there is not None:
            return failing(412, "PreconditionFailed")(self, request)
        if wanted.get("if-match") and (there is None or tag_of(there) != wanted["if-match"]):
            return failing(412, "PreconditionFailed")(self, request)
        self.objects[name] = request.content.read()
        return b""

    def get(self, request, name, there):
        if b"list-type" in request.args:
            return self.list(request)
        if there is None:
            return failing(404, "NoSuchKey")(self, request)
        request.setHeader("ETag", tag_of(there))
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.getHeader("range") or "")
        if span is None:
            return there
        start, stop = int(span[1]), min(int(span[2]) + 1, len(there))
        request.setResponseCode(206)
        request.setHeader("Content-Range", f"bytes {start}-{stop - 1}/{len(there)}")
        return there[start:stop]

    def list(self, request):
        """As MinIO did before August 2025: the token of a list that began at no name leads past the next name."""
        prefix, start, token, most = (
            request.args.get(key, [b""])[0].decode()
            for key in (b"prefix", b"start-after", b"continuation-token", b"max-keys")
        )
        known = sorted(name.removeprefix("/bucket/") for name in self.objects)
        found = [name for name in known if name.startswith(prefix) and name > (token or start)]
        page, rest = found[: int(most)], found[int(most) :]
        following = (rest[0] if start and start not in known else page[-1]) if rest else ""
        more = f"<NextContinuationToken>{following}</NextContinuationToken>" if rest else ""
        names = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in page)
        truncated = str(bool(rest)).lower()
        return f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{names}</ListBucketResult>".encode()


def tag_of(data):
    return f'"{hash(data)}"'


def failing(status, code):
    """The request is refused with a word of S3."""

    def mishap(server, request):
        request.setResponseCode(status)
        return f"<Error><Code>{code}</Code></Error>".encode()

    return mishap


def lost(server, request):
    """The request is served, and the answer never arrives."""
    server.serve(request)
    request.channel.transport.abortConnection()
    return NOT_DONE_YET


def lost_and_another_one_wrote(server, request):
    """The request does not arrive, and somebody else's does."""
    server.objects[request.path.decode()] = b"another"
    request.channel.transport.abortConnection()
    return NOT_DONE_YET


def without_range(server, request):
    """The whole object, whatever part of it was asked for."""
    request.requestHeaders.removeHeader("range")
    return server.serve(request)


@pytest.fixture
def serve(client, room):
    """Makes the bucket of a server which answers so."""

    def serve(handler):
        return bucket_at(client, S3Key("key", "secret"), room.serve(handler).port, "bucket")

    return serve


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
@ensureDeferred
async def test_conditions_that_are_not_heeded(serve, condition):
    """A server that would overwrite is found out before anything of ours is written, and stays refused."""
    server = LookAlike(heeds=tuple({"if-none-match", "if-match"} - {condition.lower()}))
    bucket = serve(server)
    replacing = None if condition == "If-None-Match" else '"x"'
    for _ in range(2):
        with pytest.raises(StorageFailed, match=f"overwrites objects: it does not know {condition}"):
            await put(bucket, NAME, b"first", replacing=replacing)
    assert list(server.objects) == [f"/bucket/{PROBE}"]
    if condition == "If-None-Match":
        with pytest.raises(StorageFailed, match="overwrites objects"):
            await bucket.check()


@ensureDeferred
async def test_conditions_are_tried_once(serve):
    """That a server heeds conditions is found out once, and at a later start by a single request."""
    server = LookAlike()
    bucket = serve(server)
    for name in ("a", "b"):
        await put(bucket, name, b"x")
    assert server.asked == [f"PUT /bucket/{PROBE}"] * 2 + ["PUT /bucket/a", "PUT /bucket/b"]
    server.asked.clear()
    await put(serve(server), "c", b"x")
    assert server.asked == [f"PUT /bucket/{PROBE}", "PUT /bucket/c"]


@pytest.mark.parametrize(
    "mishap",
    [
        failing(503, "SlowDown"),
        failing(500, "InternalError"),
        failing(409, "ConditionalRequestConflict"),
        failing(400, "RequestTimeout"),
    ],
)
@ensureDeferred
async def test_passing_trouble(serve, mishap):
    """What passes is waited for, a few times."""
    server = LookAlike()
    bucket = serve(server)
    await put(bucket, "other", b"x")
    server.mishaps = [mishap, mishap]
    await put(bucket, NAME, b"data")
    server.mishaps = [mishap]
    assert await data_of(bucket, NAME) == b"data"


@ensureDeferred
async def test_trouble_that_stays(serve):
    """What does not pass is an error after some tries, which says what it is about."""
    server = LookAlike(mishaps=[failing(503, "SlowDown")] * 10)
    with pytest.raises(StorageFailed, match=f"{NAME} in bucket bucket: the server has too much to do"):
        await serve(server).open(NAME)
    assert len(server.asked) == 4


@pytest.mark.parametrize("replacing", [False, True])
@ensureDeferred
async def test_lost_answer(serve, replacing):
    """A write whose answer was lost is known to have been done, or not, by what is there."""
    server = LookAlike()
    bucket = serve(server)
    await put(bucket, NAME, b"old")
    old = await bucket.open(NAME)
    if replacing:
        await put(bucket, NAME, b"older", replacing=old.tag)
        old = await bucket.open(NAME)
    name, tag = (NAME, old.tag) if replacing else ("new", None)
    server.mishaps = [lost]
    await put(bucket, name, b"ours", replacing=tag)
    assert await data_of(bucket, name) == b"ours"

    name, tag = (NAME, (await bucket.open(NAME)).tag) if replacing else ("newer", None)
    server.mishaps = [lost_and_another_one_wrote]
    with pytest.raises(Conflict):
        await put(bucket, name, b"ours again", replacing=tag)
    assert await data_of(bucket, name) == b"another"


@ensureDeferred
async def test_lost_answer_to_a_large_write(serve):
    """Whether a large object is ours is for whoever compares them: it is there."""
    server = LookAlike()
    bucket = serve(server)
    await put(bucket, "other", b"x")
    server.mishaps = [lost]
    with pytest.raises(Conflict):
        await bucket.put(NAME, Zeros(MIB), TYPE)
    assert (await bucket.open(NAME)).length == MIB


@ensureDeferred
async def test_other_parts_than_asked_for(serve):
    """A server that does not know ranges is good for small objects; from a large one nothing wrong is read."""
    server = LookAlike()
    bucket = serve(server)
    await put(bucket, "small", b"x" * 1000)
    await bucket.put(NAME, Zeros(MIB), TYPE)
    server.mishaps = [without_range]
    assert await data_of(bucket, "small") == b"x" * 1000
    server.mishaps = [without_range]
    with pytest.raises(StorageFailed, match="something else than was asked for"):
        await bucket.open(NAME)
    stored = await bucket.open(NAME)
    server.mishaps = [without_range]
    with pytest.raises(StorageFailed, match=f"{NAME}.*something else than was asked for"):
        await read_all(stored)


@ensureDeferred
async def test_tokens_that_lose_names(client, room):
    """Lists are whole, wherever they begin, also where a server's own way of going on leaves out names."""
    server = LookAlike()
    bucket = bucket_at(client, S3Key("key", "secret"), room.serve(server).port, "bucket", page_size=3)
    names = sorted(f"{folder}/{number}" for folder in ("a/b", "a/b/c", "a/d", "b") for number in range(5))
    server.objects = {f"/bucket/{name}": b"" for name in names}
    assert await all_names(bucket) == names
    for after in (*names, "a/b/2x", "a/c", "a/b/", "a/b0"):
        assert await all_names(bucket, "", after) == [name for name in names if name > after]


@ensureDeferred
async def test_removed_while_it_is_read(serve):
    """An object that goes while it is read is an error that says so."""
    server = LookAlike()
    bucket = serve(server)
    await bucket.put(NAME, Zeros(MIB), TYPE)
    stored = await bucket.open(NAME)
    server.objects.clear()
    with pytest.raises(StorageFailed, match=f"{NAME}.*changed or removed while it was read"):
        await read_all(stored)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answer(b"<html>not found</html>", 404), "answered 404$"),
        (answer(b"", 301, x_amz_bucket_region="eu-west-3"), "the region eu-west-3"),
        (answer(b"<Error><Code>RequestTimeTooSkewed</Code></Error>", 403), "clocks"),
        (answer(b"<html>welcome</html>", 200), "makes no sense|something else"),
    ],
)
@ensureDeferred
async def test_no_s3_at_all(serve, handler, words):
    """What is no answer of S3, or an error, is never taken for an absence or for an empty list."""
    bucket = serve(handler)
    for ask in (lambda: bucket.open(NAME), lambda: all_names(bucket)):
        with pytest.raises(StorageFailed, match=words):
            await ask()


@ensureDeferred
async def test_signing_leaves_the_body_alone(serve, room):
    """Requests are signed, bodies are not, and the key is sent nowhere but as a signature."""
    bucket = serve(LookAlike())
    await put(bucket, NAME, b"data")
    for asked in room.servers[0].asked:
        assert asked.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
        assert "secret" not in str(asked)
