"""The fast lane: what is answered by it, and that nobody can tell, by any byte, whether it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from athensd.blob import BytesBlob, FileBlob
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.web.hot_channel import HotChannel
from tests.fakes import Steps, result_of, start
from tests.web.fakes import ESCAPED, PATH, VERSION, Connection, Daemon, parse
from tests.web.odd_streams import (
    INFO,
    LIST,
    NOTHING,
    PLAIN,
    TAKEN,
    ZIP,
    masked,
    streams,
    warmed,
)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """One with the lane, in which all is stored and has been asked for once."""
    return warmed(Daemon(tmp_path))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went on to the parser."""
    seen: list[bytes] = []
    parser = HotChannel.__mro__[1]
    original: Any = parser.dataReceived

    def note(self: Any, data: bytes) -> None:
        seen.append(data)
        original(self, data)

    monkeypatch.setattr(parser, "dataReceived", note)
    return seen


@pytest.mark.parametrize("path", TAKEN)
def test_a_hit_is_not_parsed(daemon: Daemon, parsed: list[bytes], path: str) -> None:
    """What was found once is given again by the lane: same status, body and headers, but for id and date."""
    before = daemon.ask(path)
    assert parsed == []
    other = warmed(Daemon(daemon.root / "other"))
    other.site.rendered = None
    after = other.ask(path)
    assert parsed[-1] == PLAIN % path.encode()
    assert (before.status, list(before.headers)) == (after.status, list(after.headers))
    differs = {"athens-request-id", "date"}
    assert {name: value for name, value in before.headers.items() if name not in differs} == {
        name: value for name, value in after.headers.items() if name not in differs
    }
    assert masked(before.body) == masked(after.body)


@pytest.mark.parametrize(
    "head",
    [
        b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET %b HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET %b HTTP/1.1\r\n\r\n",
        b"GET %b?x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x%b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  %b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET %b HTTP/1.1\nHost: x\n\n",
        b"\r\nGET %b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: x\r\nA:\r\n folded\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 4096 + b"\r\n\r\n",
        *(
            b"GET %%b HTTP/1.1\r\nHost: x\r\n%b: 1\r\n\r\n" % name
            for name in (
                *(b"Range", b"if-none-match", b"If-Range", b"If-Modified-Since", b"CONNECTION", b"Content-Length"),
                *(b"Transfer-Encoding", b"Expect", b"Upgrade", b"TE", b"Trailer", b"Authorization", b"Traceparent"),
                *(b"Tracestate", b"Athens-Request-ID", b"Disable-Module-Fetch", b"Range "),
            )
        ),
    ],
)
def test_what_is_parsed(daemon: Daemon, parsed: list[bytes], head: bytes) -> None:
    """Whatever is out of the ordinary is for the parser, untouched."""
    raw = head.replace(b"%b", INFO.encode())
    daemon.connect().send(raw)
    assert parsed == [raw]


def test_headers_that_do_not_matter(daemon: Daemon, parsed: list[bytes]) -> None:
    """What go, curl and browsers send along changes nothing."""
    headers = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip", "Accept": "*/*", "X": "\xff", "T": "1"}
    assert daemon.ask(INFO, headers=headers).status == 200
    assert parsed == []


def test_a_request_in_pieces_and_two_at_once(daemon: Daemon, parsed: list[bytes]) -> None:
    """Only one whole request at a time is for the lane; after it, or others, the next one is again."""
    whole = PLAIN % INFO.encode()
    connection = daemon.connect()
    for data in (whole[:9], whole[9:], whole + whole, whole + whole[:5], whole[5:], whole):
        connection.send(data)
    assert parsed == [whole[:9], whole[9:], whole + whole, whole + whole[:5], whole[5:]]
    assert connection.transport.value().count(b"HTTP/1.1 200 OK\r\n") == 6


def test_how_long(daemon: Daemon, parsed: list[bytes]) -> None:
    """A changeable answer has its age, and is given as long as a route would give it; any is looked up each minute."""
    daemon.clock.advance(59)
    assert daemon.ask(LIST).headers["age"] == "59"
    assert daemon.ask(NOTHING).status == 404
    assert daemon.ask(INFO).status == 200
    assert parsed == []
    daemon.clock.advance(1)
    for path in (LIST, NOTHING, INFO):
        daemon.ask(path)
    assert len(parsed) == 3


def test_a_new_version(daemon: Daemon, parsed: list[bytes]) -> None:
    """As soon as a version was stored, nothing is said of its module that does not know it."""
    daemon.origin.versions.append("v1.1.0")
    assert daemon.ask(LIST).body == b"v1.0.0\n"
    parsed.clear()
    daemon.published(ModuleVersion(PATH, "v1.1.0"))
    assert daemon.ask(LIST).body == b"v1.0.0\nv1.1.0\n"
    assert daemon.ask(NOTHING).status == 404
    assert len(parsed) == 1, "of other modules nothing has changed"


def test_a_change_while_a_request_is_answered(tmp_path: Path, parsed: list[bytes]) -> None:
    """What was found out before a change, and is sent after it, is given to nobody else."""
    daemon = Daemon(tmp_path)
    daemon.ask(LIST)
    connection = daemon.connect()
    original = daemon.proxy.list

    async def list_and_change(path: str, *, stored_only: bool = False) -> Any:
        answer = await original(path, stored_only=stored_only)
        daemon.published(ModuleVersion(PATH, "v1.1.0"))
        return answer

    daemon.proxy.list = list_and_change  # type: ignore[method-assign]
    connection.send(PLAIN % LIST.encode())
    daemon.proxy.list = original  # type: ignore[method-assign]
    parsed.clear()
    assert daemon.ask(LIST).body == b"v1.0.0\nv1.1.0\n"
    assert len(parsed) == 1


def test_new_rules(daemon: Daemon, parsed: list[bytes]) -> None:
    """When the rules were read again, each answer is decided anew."""
    daemon.rendered.clear()
    for path in TAKEN:
        daemon.ask(path)
    assert len(parsed) == len(TAKEN)
    assert daemon.rendered.bytes > 0


def test_while_draining(daemon: Daemon, parsed: list[bytes]) -> None:
    """A connection that is to be closed is told so."""
    start(daemon.site.drained())
    assert daemon.ask(INFO).headers["connection"] == "close"
    assert len(parsed) == 1


def test_who_does_not_read(daemon: Daemon, parsed: list[bytes]) -> None:
    """As long as something waits to be taken, the parser is asked, which knows when to stop reading."""
    connection = daemon.connect()
    connection.transport.dataBuffer = b"waiting"  # type: ignore[attr-defined]
    connection.send(PLAIN % INFO.encode())
    assert len(parsed) == 1


def test_a_file_that_was_deleted(daemon: Daemon) -> None:
    """A zip is sent from the file that was open, and asked for anew after a minute."""
    result_of(start(daemon.disk.delete(ModuleVersion(PATH, VERSION))))
    assert daemon.ask(ZIP).body == daemon.origin.zip
    daemon.clock.advance(60)
    daemon.origin.versions.clear()
    assert daemon.ask(ZIP).status == 404


def test_a_file_that_became_shorter(daemon: Daemon) -> None:
    """What was promised and is not there breaks the connection."""
    (file,) = (daemon.root / "store").rglob("*.zip")
    file.write_bytes(b"short")
    connection = daemon.connect()
    connection.send(PLAIN % ZIP.encode())
    assert connection.transport.disconnected or connection.transport.disconnecting or aborted(connection)


def aborted(connection: Connection) -> bool:
    return bool(getattr(connection.transport, "disconnectReason", None) or connection.transport.aborting)  # type: ignore[attr-defined]


def test_what_is_said(daemon: Daemon, steps: Steps) -> None:
    """Log and steps say of a hit in the lane what they say of any other."""
    lines = []
    for rendered in (daemon.rendered, None):
        daemon.site.rendered = rendered
        with capture_logs() as said:
            for path in TAKEN:
                daemon.ask(path)
        lines.append([{name: line[name] for name in line.keys() - {"ms", "request-id"}} for line in said])
    assert lines[0] == lines[1]
    requests = [step.facts for step in steps.named("request")]
    for facts in requests:
        assert facts.pop("request_id")
    assert requests[: len(TAKEN)] == requests[len(TAKEN) :]


def test_nobody_can_tell(tmp_path: Path) -> None:
    """Two of them, one with the lane and one without, are sent the same bytes and answer with the same."""
    with_lane, without = warmed(Daemon(tmp_path / "one")), warmed(Daemon(tmp_path / "other"))
    without.site.rendered = None
    taken = 0
    for pieces in streams(2000):
        connections = [daemon.connect() for daemon in (with_lane, without)]
        for piece in pieces:
            for connection in connections:
                if not connection.transport.disconnecting:
                    connection.send(piece)
        one, other = connections
        assert masked(one.transport.value()) == masked(other.transport.value()), pieces
        assert one.transport.disconnecting == other.transport.disconnecting, pieces
        taken += one.transport.value().count(b"HTTP/1.1 200 OK\r\n")
    assert taken > 600
    assert parse(with_lane.connect().send(PLAIN % INFO.encode())).status == 200


def test_a_file_that_cannot_be_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an answer cannot be kept is no matter of who has got it: his connection goes on."""
    daemon = Daemon(tmp_path)
    daemon.ask(ZIP)
    opened = FileBlob.file
    left = [FileBlob.file]

    def once(blob: FileBlob) -> Any:
        if not left:
            raise OSError(24, "Too many open files")
        return left.pop()(blob)

    monkeypatch.setattr(FileBlob, "file", once)
    connection = daemon.connect()
    connection.send(PLAIN % ZIP.encode())
    monkeypatch.setattr(FileBlob, "file", opened)
    assert daemon.site.busy == set()
    connection.transport.clear()
    assert connection.send(PLAIN % INFO.encode()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_was_learned(daemon: Daemon) -> None:
    """As soon as one answer names a version no other may lack it, not even one that was rendered."""
    daemon.clock.advance(30)
    daemon.origin.versions.append("v1.1.0")
    assert daemon.ask(LIST).body == b"v1.0.0\n"
    daemon.ask(f"{ESCAPED}/@v/v1.1.info")
    daemon.freshness.learn(ModuleVersion(PATH, "v1.1.0"))
    assert daemon.ask(LIST).body == b"v1.0.0\nv1.1.0\n"


def test_what_another_instance_has_stored(daemon: Daemon) -> None:
    """A file that was not there is looked for in the store each time: another may have put it there."""
    version = ModuleVersion(PATH, "v3.0.0+incompatible")
    path = f"{ESCAPED}/@v/{version.version}.mod"
    assert [daemon.ask(path).status for _ in range(3)] == [404, 404, 404]
    result_of(start(daemon.disk.put(version, Kind.MOD, BytesBlob(b"module m\n"))))
    assert daemon.ask(path).status == 200


def test_many_headers(daemon: Daemon, parsed: list[bytes]) -> None:
    """A request with more headers than anybody sends is for the parser, which has a limit."""
    daemon.connect().send(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (INFO.encode(), b"a:\r\n" * 600))
    assert len(parsed) == 1
