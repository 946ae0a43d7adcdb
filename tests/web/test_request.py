"""Each request: its id, its early refusals, its line in the log, and its end, whatever that is."""

from __future__ import annotations

import gc
import re
import socket
import uuid
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from attrs import frozen
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from athensd.blob import BytesBlob
from athensd.errors import Redirected, StorageFailed
from athensd.interfaces import Kind
from athensd.whose import whose
from tests.fakes import Steps
from tests.web.fakes import ESCAPED, PATH, VERSION, Daemon, check_refusal, parse

reactor: Any = _reactor  # its static type knows only what all reactors can
Lines = list[MutableMapping[str, Any]]
MODULE = f"{ESCAPED}/@v/{VERSION}.mod"


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as lines:
        yield lines


def requests(lines: Lines) -> Lines:
    return [line for line in lines if line["event"] == "incoming request"]


@pytest.mark.parametrize("given", ["x", "req-1.2:3_4", "A" * 64, str(uuid.UUID(int=7))])
@pytest.mark.parametrize("target", [MODULE, "/healthz", "/../x"])
def test_a_sane_id_is_taken_over(daemon: Daemon, lines: Lines, given: str, target: str) -> None:
    """The id that a client or a proxy before us gave is echoed, and is the one in the log."""
    assert daemon.ask(target, headers={"Athens-Request-ID": given}).headers["athens-request-id"] == given
    assert requests(lines)[0]["request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a\xffb", "é", '"', "a;b", "\x7f"])
@pytest.mark.parametrize("target", [MODULE, "/../x"])
def test_another_id_is_made_anew(daemon: Daemon, given: str, target: str) -> None:
    """What does not look like an id is not repeated; the request has one of our own."""
    answer = daemon.ask(target, headers={"Athens-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["athens-request-id"])


def test_the_ids_log_lines(daemon: Daemon) -> None:
    """Whatever is logged on the way to an answer bears the request's id."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        daemon.ask(MODULE, headers={"Athens-Request-ID": "id-1"})
    assert {(line["event"], line["request-id"]) for line in lines} == {("fetch", "id-1"), ("incoming request", "id-1")}
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("target", [MODULE, f"{ESCAPED}/@v/list", "/", "/healthz", "/catalog", "/robots.txt"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND"])
def test_other_methods_are_not_allowed(daemon: Daemon, target: str, method: str) -> None:
    """Only GET and HEAD exist; every other method is 405 with an Allow header, whatever the path."""
    answer = daemon.ask(target, method)
    assert (answer.status, answer.headers["allow"], answer.headers["cache-control"]) == (405, "GET, HEAD", "no-store")
    check_refusal(answer)
    assert daemon.origin.asked == []


def test_a_body_is_not_kept(daemon: Daemon) -> None:
    """Whatever comes as a body, forms too, is read past without being stored, and the connection goes on."""
    connection = daemon.connect()
    form = b"Content-Type: multipart/form-data; boundary=x\r\n"
    head = b"POST /catalog HTTP/1.1\r\nHost: x\r\n%bContent-Length: 300000\r\n\r\n" % form
    connection.send(head)
    channel = connection.protocol
    for _ in range(30):
        connection.send(b"x" * 10_000)
    assert connection.transport.value().startswith(b"HTTP/1.1 405 ")
    connection.transport.clear()
    assert not channel.requests
    assert connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_the_body_goes_nowhere(daemon: Daemon) -> None:
    """While a body comes nothing of it is held, in memory or in a file."""
    connection = daemon.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000)
    (request,) = connection.protocol.requests
    assert request.content.tell() == 0


def test_one_line_for_each_request(daemon: Daemon, lines: Lines) -> None:
    """The line has what was asked, what it meant, what came of it, how long it took and for whom."""
    daemon.ask(f"{MODULE}?x=secret", headers={"Athens-Request-ID": "id-1"})
    (line,) = requests(lines)
    assert line.pop("ms") >= 0
    assert line == {
        "event": "incoming request",
        "log_level": "info",
        "http-method": "GET",
        "http-path": MODULE,
        "http-status": 200,
        "module": PATH,
        "version": VERSION,
        "bytes": len(f"module {PATH}\n"),
        "cache": "miss",
        "client": "192.0.2.7",
        "request-id": "id-1",
    }


def test_for_whom(daemon: Daemon) -> None:
    """Whoever has to wait does so on behalf of the client's address; after the request we are on our own again."""
    assert daemon.ask(MODULE).status == 200
    assert set(daemon.origin.clients) == {"192.0.2.7"}
    assert whose() == ""


def test_each_request_is_a_step(daemon: Daemon, steps: Steps) -> None:
    """All that is done for it is part of it, and when it is over all is known of it."""
    daemon.ask(MODULE, headers={"Athens-Request-ID": "id-1", "Traceparent": "00-1-2-01", "Tracestate": "a=b"})
    daemon.ask(f"{ESCAPED}/@v/list")
    daemon.ask("/../x", "DELETE")
    miss, listed, refused = steps.named("request")
    assert miss.facts == {
        "method": "GET",
        "path": MODULE,
        "client": "192.0.2.7",
        "request_id": "id-1",
        "route": "mod",
        "module": PATH,
        "version": VERSION,
        "cache": "miss",
        "age": None,
        "status": 200,
        "bytes": len(f"module {PATH}\n"),
    }
    assert miss.caller == {"traceparent": "00-1-2-01", "tracestate": "a=b"}
    assert (miss.apart, miss.error) == (True, None)
    assert (listed.facts["route"], listed.facts["age"], listed.caller) == ("list", 0.0, {})
    assert (refused.facts["route"], refused.facts["method"], refused.facts["status"]) == ("none", "other", 404)


@ensureDeferred
async def test_how_many_connections_are_open(daemon: Daemon) -> None:
    """Each counts from its beginning to its end, whether anything is asked or not."""
    listening = reactor.listenTCP(0, daemon.site, interface="127.0.0.1")
    clients = [socket.create_connection(("127.0.0.1", listening.getHost().port)) for _ in range(3)]
    for number, client in zip((3, 2, 1, 0), [*clients, None], strict=True):
        until = reactor.seconds() + 5
        while daemon.site.connections != number and reactor.seconds() < until:
            await deferLater(reactor, 0.01)
        assert daemon.site.connections == number
        if client is not None:
            client.close()
    await listening.stopListening()


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        ("/../x", "GET", {"http-status": 404, "module": "", "http-path": "/../x"}),
        ("/nodot/@v/list", "GET", {"http-status": 404, "module": ""}),
        (f"{ESCAPED}/@v/v9.9.9.zip", "GET", {"http-status": 404, "module": PATH, "version": "v9.9.9"}),
        ("/", "DELETE", {"http-status": 405, "http-method": "DELETE"}),
        ("/healthz", "GET", {"http-status": 200, "bytes": 0}),
        (MODULE, "HEAD", {"http-status": 200, "bytes": 0, "http-method": "HEAD"}),
        ("/" + "a" * 5000, "GET", {"http-status": 404, "http-path": "/" + "a" * 2047}),
        ("http://me:secret@x.test/y", "GET", {"http-status": 404, "http-path": "http://x.test/y"}),
    ],
)
def test_refusals_have_their_line_too(
    daemon: Daemon, lines: Lines, target: str, method: str, expected: dict[str, Any]
) -> None:
    """Early refusals, errors and empty answers leave exactly one line like any other."""
    daemon.ask(target, method)
    (line,) = requests(lines)
    assert {name: line[name] for name in expected} == expected
    assert (line["client"], len(line["request-id"])) == ("192.0.2.7", 32)


def test_a_remembered_absence_is_told_in_the_log(daemon: Daemon, lines: Lines) -> None:
    """The second "not there" comes from memory, and its line says so."""
    for _ in range(2):
        daemon.ask(f"{ESCAPED}/@v/v9.9.9.mod")
    assert [line["cache"] for line in requests(lines)] == ["", "negative"]


def test_an_unexpected_error_is_ours_to_see(daemon: Daemon, lines: Lines) -> None:
    """A fault of ours is 500 without a word of it, and one error line with its traceback."""
    daemon.origin.failing = RuntimeError("the password is hunter2")
    answer = daemon.ask(f"{ESCAPED}/@v/list")
    assert answer.status == 500
    assert answer.headers["cache-control"] == "no-store"
    check_refusal(answer)
    assert b"hunter2" not in answer.body
    assert b"RuntimeError" not in answer.body
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["exc_info"][0] is RuntimeError
    assert line["exc_info"][2] is not None
    assert len(requests(lines)) == 1


def test_a_client_that_leaves_is_in_the_log(daemon: Daemon, lines: Lines) -> None:
    """Who hangs up while waiting leaves one line that says so, no error, and no request under way."""
    daemon.origin.waiting = Deferred()
    connection = daemon.connect()
    assert connection.send(f"GET {MODULE} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == b""
    assert len(daemon.site.busy) == 1
    connection.hang_up()
    (line,) = requests(lines)
    assert line["client-left"] is True
    assert (line["module"], line["bytes"], line["client"], line["http-status"]) == (PATH, 0, "192.0.2.7", 499)
    assert daemon.site.busy == set()
    daemon.origin.waiting.callback(None)
    gc.collect()
    assert [line for line in lines if line["log_level"] != "info"] == []


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_request_that_never_arrives_whole(daemon: Daemon, lines: Lines, sent: bytes) -> None:
    """Who hangs up in the middle of asking leaves nothing: no line, no request under way, no failure."""
    connection = daemon.connect()
    connection.send(sent)
    connection.hang_up()
    assert lines == []
    assert daemon.site.busy == set()


def test_the_fetch_outlives_its_first_asker(daemon: Daemon) -> None:
    """Two ask for one file, the first leaves: the second gets it, and the origin was asked once."""
    daemon.origin.waiting = Deferred()
    raw = f"GET {MODULE} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    first, second = daemon.connect(), daemon.connect()
    first.send(raw)
    second.send(raw)
    first.hang_up()
    daemon.origin.waiting.callback(None)
    assert parse(second.transport.value()).status == 200
    assert daemon.origin.asked == [f"{PATH}@{VERSION}.mod"]


@frozen
class Breaking:
    """Bytes that end too early, as those of a machine elsewhere can."""

    length: int
    error: Exception
    pieces: int = 1

    def file(self) -> None:
        return None

    async def chunks(self, start: int = 0, stop: int | None = None) -> Any:
        for _ in range(self.pieces):
            yield b"PK" * 50
        raise self.error


@pytest.mark.parametrize(
    ("error", "level"), [(StorageFailed("the bucket is gone"), "warning"), (OSError("broken"), "error")]
)
def test_an_answer_that_cannot_be_ended_is_cut_off(tmp_path: Path, lines: Lines, error: Exception, level: str) -> None:
    """When the bytes give out behind the head, the connection is aborted: nothing is appended, nothing is padded."""
    daemon = Daemon(tmp_path, storage=lambda disk: Holding(disk, Breaking(1000, error)))
    connection = daemon.connect()
    raw = connection.send(f"GET {ESCAPED}/@v/{VERSION}.zip HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert parse(raw).body == b"PK" * 50
    assert connection.transport.disconnected
    connection.hang_up()
    assert [line["log_level"] for line in lines if line["event"] != "incoming request"] == [level]
    (line,) = requests(lines)
    assert (line["bytes"], line["client-left"]) == (100, True)
    assert daemon.site.busy == set()


def test_an_answer_that_cannot_be_begun_is_an_error(tmp_path: Path) -> None:
    """When not even the first byte can be had, the refusal says nothing of the answer that was meant."""
    daemon = Daemon(
        tmp_path, storage=lambda disk: Holding(disk, Breaking(1000, StorageFailed("the bucket is gone"), 0))
    )
    answer = daemon.ask(f"{ESCAPED}/@v/{VERSION}.zip")
    assert (answer.status, answer.lines[0]) == (500, "the bucket is gone")
    assert answer.headers["cache-control"] == "no-store"
    assert not {"etag", "accept-ranges", "content-range", "age"} & set(answer.headers)
    check_refusal(answer)


class Holding:
    """A disk store in which one zip is something else."""

    def __init__(self, disk: Any, zip: Any) -> None:
        self._disk, self._zip = disk, zip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    async def open(self, version: Any, kind: Kind) -> Any:
        return self._zip if kind is Kind.ZIP else BytesBlob(b"h1:x")


def test_what_is_given_up_at_the_end_is_worth_another_try(daemon: Daemon, lines: Lines) -> None:
    """A request that the ending daemon cannot finish is 503 with Retry-After, and no error in the log."""
    daemon.origin.waiting = Deferred()
    connection = daemon.connect()
    connection.send(f"GET {MODULE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    daemon.flight.stop()
    answer = parse(connection.transport.value())
    assert (answer.status, answer.headers["cache-control"]) == (503, "no-store")
    assert int(answer.headers["retry-after"]) > 0
    check_refusal(answer)
    assert [line for line in lines if line["log_level"] == "error"] == []


def test_requests_end_before_the_daemon_does(daemon: Daemon) -> None:
    """Draining waits for the request under way, answers it whole, and closes its connection."""
    daemon.origin.waiting = Deferred()
    connection = daemon.connect()
    connection.send(f"GET {MODULE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    drained = Deferred.fromCoroutine(daemon.site.drained())
    assert not drained.called
    daemon.origin.waiting.callback(None)
    assert parse(connection.transport.value()).status == 200
    assert drained.called


def test_a_draining_site_keeps_no_connection(daemon: Daemon) -> None:
    """Whoever still asks is answered and told to go."""
    daemon.site.draining = True
    connection = daemon.connect()
    answer = parse(connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert connection.transport.disconnecting


@pytest.mark.parametrize("status", [303, 307])
def test_a_redirection(daemon: Daemon, status: int) -> None:
    """The client is told where to go, and nobody remembers it."""

    class Elsewhere:
        async def fetch(self, *_: Any) -> Any:
            raise Redirected("https://up.test/x", status)

    daemon.proxy._stash = Elsewhere()
    answer = daemon.ask(MODULE)
    assert (answer.status, answer.headers["location"]) == (status, "https://up.test/x")
    assert answer.headers["cache-control"] == "no-store"
