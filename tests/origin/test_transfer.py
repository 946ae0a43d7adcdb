"""HTTP GETs against servers that fail in every way servers fail."""

from __future__ import annotations

import gzip
import os
import random
import resource
import socket
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from pytest_twisted import ensureDeferred
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.protocols.basic import FileSender
from twisted.web.client import Agent
from twisted.web.server import NOT_DONE_YET

from athensd.errors import (
    AthensError,
    Forbidden,
    Gone,
    NotFound,
    Overloaded,
    StorageFailed,
    TimedOut,
    UpstreamFailed,
    VerificationFailed,
)
from athensd.observe.traces import Traces
from athensd.origin.transfer import MOST_TRIES, Transfer, split_credentials
from athensd.steps import Step, watch
from tests.fakes import Steps
from tests.origin.fakes_http import Room, answer, cut, loop, silent, table

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does

WHAT = "example.test/m@v1.0.0 zip"
BODY = random.Random(7).randbytes(300_000)
LIMIT = 1 << 20


async def failure(work: Any, word: type[AthensError]) -> str:
    """The text of the error that the work must end in."""
    try:
        await work
    except AthensError as error:
        assert type(error) is word, repr(error)
        text = str(error)
        assert text.startswith(WHAT)
        assert text.replace("\n", "").isprintable()
        assert "Traceback" not in text
        assert "<twisted" not in text
        return text
    raise AssertionError("it did not fail")


@ensureDeferred
async def test_a_body(room: Room, tmp_path: Path) -> None:
    """A body of any length comes as it was sent, into memory or a file."""
    server = room.serve(table({"/empty": answer(), "/body": answer(BODY)}))
    transfer = room.transfer()
    for name, body in (("empty", b""), ("body", BODY)):
        assert await transfer.small(f"{server.url}/{name}", WHAT, LIMIT) == body
        assert await transfer.file(f"{server.url}/{name}", WHAT, LIMIT, tmp_path / name) == len(body)
        assert (tmp_path / name).read_bytes() == body
    assert {asked.headers["user-agent"] for asked in server.asked} == {"athensd"}


@ensureDeferred
async def test_connections_are_used_again(room: Room) -> None:
    """Question after question goes over one connection, after refusals and redirects too."""
    answers = {"/a": answer(b"x"), "/r": answer(b"moved", 302, Location="/a"), "/no": answer(b"no", 404)}
    server = room.serve(table(answers))
    transfer = room.transfer()
    for name in ("a", "r", "a"):
        assert await transfer.small(f"{server.url}/{name}", WHAT, LIMIT) == b"x"
    await failure(transfer.small(f"{server.url}/no", WHAT, LIMIT), NotFound)
    await transfer.small(f"{server.url}/a", WHAT, LIMIT)
    assert len(server.asked) == 6
    assert len({asked.peer.port for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, NotFound),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (408, TimedOut),
        (410, Gone),
        (429, Overloaded),
        (500, UpstreamFailed),
        (502, UpstreamFailed),
        (503, UpstreamFailed),
        (504, TimedOut),
        (204, UpstreamFailed),
        (206, UpstreamFailed),
        (304, UpstreamFailed),
    ],
)
@ensureDeferred
async def test_refusals(room: Room, tmp_path: Path, status: int, word: type[AthensError]) -> None:
    """A status is one word of ours, with the upstream's own text where there can be one."""
    server = room.serve(answer(b"go away, please\n", status, Content_Type="text/plain; charset=utf-8"))
    transfer = room.transfer()
    for work in (
        transfer.small(f"{server.url}/x", WHAT, LIMIT),
        transfer.file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"),
    ):
        text = await failure(work, word)
        assert server.host in text
        assert ("go away, please" in text) == (status not in {204, 304})


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("text/html", b"<h1>secret page</h1>"),
        ("application/json", b'{"secret":1}'),
        ("application/octet-stream", b"secret"),
        ("text/plain", b"\x00secret\x1b[2J"),
        ("text/plain", b"secret" * 100_000),
        ("text/plain\xff", b"secret"),
    ],
)
@ensureDeferred
async def test_what_is_no_text_is_not_shown(room: Room, type: str, body: bytes) -> None:
    """Pages, JSON, binary and endless bodies are no part of an error."""
    server = room.serve(answer(body, 404, Content_Type=type))
    assert "secret" not in await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), NotFound)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@ensureDeferred
async def test_redirects_are_followed(room: Room, status: int) -> None:
    """Every kind of redirect is followed, relative and to another host."""
    other = room.serve(table({"/b": answer(b"there")}))
    server = room.serve(
        table(
            {
                "/1": answer(b"moved", status, Location="/2?x=y"),
                "/2?x=y": answer(b"moved", status, Location=f"{other.url}/b"),
            }
        )
    )
    assert await room.transfer().small(f"{server.url}/1", WHAT, LIMIT) == b"there"


@ensureDeferred
async def test_redirects_end(room: Room) -> None:
    """Ten redirects are followed and no more."""

    def handle(request: Any) -> bytes:
        number = int(request.uri[1:])
        return b"there" if number == 0 else answer(b"", 302, Location=f"/{number - 1}")(request)

    server = room.serve(handle)
    assert await room.transfer().small(f"{server.url}/10", WHAT, LIMIT) == b"there"
    text = await failure(room.transfer().small(f"{server.url}/11", WHAT, LIMIT), UpstreamFailed)
    assert "redirects" in text


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://x.test/",
        "file:///etc/passwd",
        "http://",
        "https:///x",
        "http://[::1",
        "http://x:99999999/",
        "gopher:x",
        "http://\xff\x01/",
    ],
)
@ensureDeferred
async def test_a_redirect_to_nowhere(room: Room, location: str) -> None:
    """A redirect to what is no web address is the upstream's failure."""
    server = room.serve(answer(b"", 302, Location=location))
    await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), UpstreamFailed)


@ensureDeferred
async def test_no_way_down_from_https(room: Room) -> None:
    """A redirect from https to http is refused; the other host is not asked."""
    plain = room.serve(answer(b"x"))
    server = room.serve_tls(answer(b"", 302, Location=f"{plain.url}/x"))
    text = await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), UpstreamFailed)
    assert "https" in text
    assert plain.asked == []


@ensureDeferred
async def test_too_much_is_cut_off(room: Room, tmp_path: Path) -> None:
    """A body beyond the limit is a failed verification, the connection is closed and the rest does not come."""

    def endless(request: Any) -> Any:
        def more() -> None:
            if server.open:
                request.write(b"x" * 65536)
                loop.callLater(0, more)

        more()
        return NOT_DONE_YET

    server = room.serve(endless)
    await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), VerificationFailed)
    await failure(room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), VerificationFailed)
    assert (tmp_path / "x").stat().st_size <= LIMIT
    await closed(server)


async def closed(server: Any) -> None:
    for _ in range(100):
        if not server.open:
            return
        await deferLater(loop, 0.02)
    raise AssertionError("a request stays open")


@pytest.mark.parametrize("body", [b"", b"some"])
@ensureDeferred
async def test_silence_is_a_timeout(room: Room, tmp_path: Path, body: bytes) -> None:
    """A server that never answers, or stops in the middle, is given up after a while and the connection closed."""
    server = room.serve(silent(body))
    transfer = room.transfer(headers_timeout=0.1, idle_timeout=0.1)
    await failure(transfer.small(f"{server.url}/x", WHAT, LIMIT), TimedOut)
    await failure(transfer.file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), TimedOut)
    await closed(server)


@ensureDeferred
async def test_slow_is_not_silent(room: Room) -> None:
    """A body that takes longer than the idle time in all, but never pauses so long, is no timeout."""

    def trickle(request: Any) -> Any:
        for number in range(5):
            loop.callLater(0.05 * number, request.write, b"x")
        loop.callLater(0.3, request.finish)
        return NOT_DONE_YET

    server = room.serve(trickle)
    assert await room.transfer(idle_timeout=0.2).small(f"{server.url}/x", WHAT, LIMIT) == b"xxxxx"


@ensureDeferred
async def test_nobody_listens(room: Room) -> None:
    """A refused connection is said in words, with the host and without a traceback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    text = await failure(room.transfer().small(f"http://{host}/x", WHAT, LIMIT), UpstreamFailed)
    assert f"{host} (" in text
    assert "refused" in text


@ensureDeferred
async def test_no_such_host(room: Room) -> None:
    """A name that cannot be resolved is said in words; the reserved name needs no network to fail."""
    text = await failure(room.transfer().small("http://nowhere.invalid/x", WHAT, LIMIT), UpstreamFailed)
    assert "nowhere.invalid could not be resolved" in text


@ensureDeferred
async def test_tls_that_cannot_be_trusted(room: Room) -> None:
    """A certificate of another authority or for another name is a failure, told in a few words."""
    strange = room.serve_tls(answer(b"x"), authority=trustme.CA())
    misnamed = room.serve_tls(answer(b"x"), name="other.test")
    for server in (strange, misnamed):
        text = await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), UpstreamFailed)
        assert "certificate" in text.lower(), text
        assert "[(" not in text
        assert server.asked == []


@ensureDeferred
async def test_tls(room: Room) -> None:
    """A certificate of a trusted authority for the right name is accepted."""
    server = room.serve_tls(answer(b"x"))
    assert await room.transfer().small(f"{server.url}/x", WHAT, LIMIT) == b"x"


class Talker(Protocol):
    """Says what it has to say to whoever connects, and closes."""

    words = b""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.words)
        self.transport.loseConnection()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 999999 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
@ensureDeferred
async def test_what_is_no_http(room: Room, tmp_path: Path, words: bytes) -> None:
    """Whatever else speaks on a port, and whatever breaks off, is the upstream's failure and soon told."""
    factory = Factory.forProtocol(type("Words", (Talker,), {"words": words}))
    port = loop.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/x"
    transfer = room.transfer(idle_timeout=2)
    await failure(transfer.small(url, WHAT, LIMIT), UpstreamFailed)
    await failure(transfer.file(url, WHAT, LIMIT, tmp_path / "x"), UpstreamFailed)
    await port.stopListening()


@ensureDeferred
async def test_a_body_that_ends_with_its_connection(room: Room) -> None:
    """A server of old days that tells no length is believed when it closes."""
    factory = Factory.forProtocol(type("Words", (Talker,), {"words": b"HTTP/1.0 200 OK\r\n\r\nbody"}))
    port = loop.listenTCP(0, factory, interface="127.0.0.1")
    assert await room.transfer().small(f"http://127.0.0.1:{port.getHost().port}/x", WHAT, LIMIT) == b"body"
    await port.stopListening()


@ensureDeferred
async def test_gzip(room: Room, tmp_path: Path) -> None:
    """A compressed answer is unpacked, and its limit is that of what comes out."""
    server = room.serve(answer(gzip.compress(b"v1.0.0\n" * 10_000), Content_Encoding="gzip"))
    transfer = room.transfer()
    assert await transfer.small(f"{server.url}/x", WHAT, LIMIT) == b"v1.0.0\n" * 10_000
    assert await transfer.file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x") == 70_000
    assert "gzip" in server.asked[0].headers["accept-encoding"]
    await failure(transfer.small(f"{server.url}/x", WHAT, 60_000), VerificationFailed)


@pytest.mark.parametrize(
    "body", [b"", b"nope", gzip.compress(b"v1.0.0\n" * 10_000)[:-20], gzip.compress(BODY)[: 1 << 17]]
)
@ensureDeferred
async def test_broken_gzip(room: Room, tmp_path: Path, body: bytes) -> None:
    """A compressed answer that cannot be unpacked or breaks off is a failure, and never an empty or a short answer."""
    server = room.serve(answer(body, Content_Encoding="gzip"))
    await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), UpstreamFailed)
    await failure(room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), UpstreamFailed)


@ensureDeferred
async def test_a_gzip_bomb(room: Room) -> None:
    """What a small answer would unpack to is not unpacked beyond the limit."""
    server = room.serve(answer(gzip.compress(bytes(100 * LIMIT)), Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        await failure(room.transfer().small(f"{server.url}/x", WHAT, LIMIT), VerificationFailed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * LIMIT


@ensureDeferred
async def test_a_file_is_never_whole_in_memory(room: Room, tmp_path: Path) -> None:
    """A large body goes to its file piece by piece."""
    length = 32 * LIMIT
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, length)

    def handle(request: Any) -> Any:
        FileSender().beginFileTransfer(source.open("rb"), request).addCallback(lambda _: request.finish())
        return NOT_DONE_YET

    server = room.serve(handle)
    tracemalloc.start()
    try:
        assert await room.transfer().file(f"{server.url}/x", WHAT, length, tmp_path / "x") == length
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT


class Ranged:
    """Cuts its first answers at random places and then knows Range and If-Range, as far as it has an ETag."""

    def __init__(self, etag: str, cuts: int, change: bool = False) -> None:
        self.etag, self.cuts, self.change = etag, cuts, change
        self.chance = random.Random(3)
        self.bodies = [BODY]

    def __call__(self, request: Any) -> Any:
        body, start = BODY, 0
        if self.change and self.cuts == 0:
            body, self.etag = BODY[::-1], '"changed"'
        headers = {"ETag": self.etag} if self.etag else {}
        asked = request.getHeader("range")
        if asked and request.getHeader("if-range") == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            request.setResponseCode(206)
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        status = 206 if start else 200
        if self.cuts == 0:
            return answer(rest, status, **headers)(request)
        self.cuts -= 1
        handled = cut(rest, self.chance.randrange(1, len(rest)), status=status, **headers)  # type: ignore[arg-type]
        return handled(request)


@pytest.mark.parametrize(
    ("etag", "resumed"),
    [('"strong"', True), ('W/"weak"', False), ("", False), ("bare", False)],
)
@pytest.mark.parametrize("cuts", [1, 2])
@ensureDeferred
async def test_a_broken_transfer_goes_on(room: Room, tmp_path: Path, etag: str, resumed: bool, cuts: int) -> None:
    """Cut at any byte, a body with a strong ETag is resumed where it broke, any other is begun again."""
    server = room.serve(Ranged(etag, cuts))
    assert await room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x") == len(BODY)
    assert (tmp_path / "x").read_bytes() == BODY
    assert len(server.asked) == cuts + 1
    again = [asked.headers for asked in server.asked[1:]]
    assert [headers.get("if-range") for headers in again] == [etag if resumed else None] * cuts
    assert ["range" in headers for headers in again] == [resumed] * cuts


@ensureDeferred
async def test_a_file_that_changes_in_between_is_begun_anew(room: Room, tmp_path: Path) -> None:
    """When the bytes behind an ETag have changed, the whole new file comes and nothing is put together."""
    server = room.serve(Ranged('"strong"', 1, change=True))
    assert await room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x") == len(BODY)
    assert (tmp_path / "x").read_bytes() == BODY[::-1]


@ensureDeferred
async def test_tries_are_bounded(room: Room, tmp_path: Path) -> None:
    """A body that has to be begun anew each time is given up soon, and one that never ends in the end."""
    server = room.serve(Ranged("", 100))
    await failure(room.transfer(tries=3).file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), UpstreamFailed)
    assert len(server.asked) == 3
    drops = Ranged('"strong"', 1000)
    drops.chance = SimpleNamespace(randrange=lambda *_: 1)  # type: ignore[assignment]
    server = room.serve(drops)
    await failure(room.transfer(tries=3).file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), UpstreamFailed)
    assert len(server.asked) == MOST_TRIES


@ensureDeferred
async def test_every_answer_is_cut(room: Room, tmp_path: Path) -> None:
    """An upstream that cuts every answer somewhere costs nothing but time, as long as something comes."""
    server = room.serve(Ranged('"strong"', 9))
    assert await room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x") == len(BODY)
    assert (tmp_path / "x").read_bytes() == BODY
    assert len(server.asked) == 10


def hang_up(request: Any) -> Any:
    """Close the connection without a word."""
    request.channel.transport.abortConnection()
    return NOT_DONE_YET


@ensureDeferred
async def test_a_small_body_that_breaks(room: Room) -> None:
    """It is asked for again, whether the head came or not, and given up after so many tries."""
    for breaks in (cut(b"x" * 100, 7), hang_up):
        left = [breaks, breaks]
        server = room.serve(lambda request, left=left: (left.pop() if left else answer(b"whole"))(request))
        assert await room.transfer().small(f"{server.url}/x", WHAT, LIMIT) == b"whole"
        broken = room.serve(breaks)
        await failure(room.transfer().small(f"{broken.url}/x", WHAT, LIMIT), UpstreamFailed)
        assert len(broken.asked) >= 3


@pytest.mark.parametrize("span", [(5, len(BODY) - 1), (1000, len(BODY) - 2)])
@ensureDeferred
async def test_another_range_than_asked_for_is_no_answer(room: Room, tmp_path: Path, span: tuple[int, int]) -> None:
    """A 206 of other bytes, or not of all that are left, is not put behind those that are there."""
    begin, last = span
    first = iter([True])

    def handle(request: Any) -> Any:
        if next(first, False):
            return cut(BODY, 1000, ETag='"e"')(request)
        rest = BODY[begin : last + 1]
        return answer(rest, 206, Content_Range=f"bytes {begin}-{last}/{len(BODY)}", ETag='"e"')(request)

    server = room.serve(handle)
    await failure(room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"), UpstreamFailed)


@ensureDeferred
async def test_a_disk_that_cannot_be_written(room: Room, tmp_path: Path) -> None:
    """A full disk or a missing directory of ours is not the upstream's failure, and closes the connection."""
    server = room.serve(answer(BODY))
    with pytest.raises(StorageFailed) as error:
        await room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "none" / "x")
    assert str(tmp_path) not in str(error.value)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, limits[1]))
    try:
        with pytest.raises(StorageFailed, match="File too large"):
            await room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await closed(server)


@pytest.mark.parametrize("body", [b"", b"some"])
@ensureDeferred
async def test_who_leaves_closes_the_connection(room: Room, tmp_path: Path, body: bytes) -> None:
    """Cancelled before the head or in the middle of the body, a transfer ends and its connection with it."""
    server = room.serve(silent(body))
    for work in (
        room.transfer().small(f"{server.url}/x", WHAT, LIMIT),
        room.transfer().file(f"{server.url}/x", WHAT, LIMIT, tmp_path / "x"),
    ):
        asking = Deferred.fromCoroutine(work)
        while not server.open:
            await deferLater(loop, 0.01)
        await deferLater(loop, 0.05)
        asking.cancel()
        with pytest.raises(CancelledError):
            await asking
        await closed(server)


@pytest.mark.parametrize(
    ("url", "bare", "authorization"),
    [
        ("https://a.test/go", "https://a.test/go", ""),
        ("https://a.test/x@v", "https://a.test/x@v", ""),
        ("https://user:pass@a.test:3000/go", "https://a.test:3000/go", "Basic dXNlcjpwYXNz"),
        ("https://user@a.test", "https://a.test", "Basic dXNlcjo="),
        ("https://us%40er:p%3Aa%2Fss@a.test", "https://a.test", "Basic dXNAZXI6cDphL3Nz"),
        ("https://:token@a.test", "https://a.test", "Basic OnRva2Vu"),
        ("https://u:p@[::1]:3000/x", "https://[::1]:3000/x", "Basic dTpw"),
    ],
)
def test_credentials_are_no_part_of_an_address(url: str, bare: str, authorization: str) -> None:
    """User and password of a URL become a header (RFC 7617), decoded."""
    assert split_credentials(url) == (bare, authorization)


@ensureDeferred
async def test_credentials_stay_with_their_host(room: Room) -> None:
    """On a redirect to another host the credentials are not sent along, nor those that a redirect names."""
    other = room.serve(answer(b"there"))
    location = f"http://evil:evil@{other.host}/b"
    server = room.serve(table({"/1": answer(b"", 302, Location="/2"), "/2": answer(b"", 302, Location=location)}))
    assert await room.transfer().small(f"{server.url}/1", WHAT, LIMIT, "Basic xyz") == b"there"
    assert [asked.headers.get("authorization") for asked in server.asked] == ["Basic xyz", "Basic xyz"]
    assert "authorization" not in other.asked[0].headers


def test_the_defaults_are_patient_but_not_for_ever() -> None:
    """Without settings every wait and every repetition has a bound."""
    transfer = Transfer(HTTPClient(Agent(loop)), loop)
    assert 0 < transfer.idle_timeout <= 60
    assert 0 < transfer.headers_timeout <= 120
    assert (transfer.redirects, 1 <= transfer.tries <= 5) == (10, True)


@ensureDeferred
async def test_each_exchange_is_a_step(room: Room, tmp_path: Path, steps: Steps) -> None:
    """With its address and no credentials, its status and how many bytes came; each try of a broken one is its own."""
    answers = {"/a?secret": answer(b"x"), "/r": answer(b"moved", 302, Location="/a?secret"), "/no": answer(b"no", 404)}
    server = room.serve(table(answers))
    transfer = room.transfer()
    await transfer.small(f"{server.url}/r", WHAT, LIMIT, "Basic c2VjcmV0")
    await failure(transfer.small(f"{server.url}/no", WHAT, LIMIT), NotFound)
    broken = room.serve(cut(BODY, 1000))
    await failure(room.transfer(tries=2).file(f"{broken.url}/z", WHAT, LIMIT, tmp_path / "z"), UpstreamFailed)
    moved, absent, *tries = steps.named("http")
    host = server.url.removeprefix("http://")
    assert moved.facts == {"method": "GET", "url": f"{server.url}/r", "host": host, "status": 200, "bytes": 1}
    assert (absent.facts["status"], type(absent.error)) == (404, NotFound)
    assert [type(step.error) for step in tries] == [type(None), UpstreamFailed]
    assert all(0 < step.facts["bytes"] <= 1000 for step in tries)


@ensureDeferred
async def test_the_trace_goes_on_upstream(room: Room) -> None:
    """An upstream is told which trace its answer is part of."""
    spans: list[ReadableSpan] = []
    watch(tracer=Traces(spans.append, Resource({}), fraction=1, slow=60))
    server = room.serve(table({"/a": answer(b"x")}))
    with Step("request", {}, apart=True):
        await room.transfer().small(f"{server.url}/a", WHAT, LIMIT)
    watch()
    http = next(span for span in spans if span.name == "http")
    sent = f"00-{http.context.trace_id:032x}-{http.context.span_id:016x}-01"
    assert [asked.headers["traceparent"] for asked in server.asked] == [sent]
