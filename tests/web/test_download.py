"""The five endpoints, from the request's bytes to the answer's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from athensd.errors import Forbidden, Gone, NotFound, Overloaded, TimedOut, UpstreamFailed
from athensd.web.download import JSON, TEXT, ZIP
from tests.web.fakes import ESCAPED, INFO, MOD, PATH, VERSION, Daemon, Response, check_refusal

LIST = f"{ESCAPED}/@v/list"
LATEST = f"{ESCAPED}/@latest"
FILES = [f"{ESCAPED}/@v/{VERSION}.{kind}" for kind in ("info", "mod", "zip")]
ALL = [LIST, LATEST, *FILES]
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("target", "type", "caching", "body"),
    [
        (LIST, TEXT, "public, max-age=60", b"v1.0.0\n"),
        (LATEST, JSON, "public, max-age=60", b'{"Version":"v1.0.0"}'),
        (FILES[0], JSON, FOR_EVER, INFO),
        (FILES[1], TEXT, FOR_EVER, MOD),
        (FILES[2], ZIP, FOR_EVER, None),
        (f"{ESCAPED}/@v/main.info", JSON, "public, max-age=60", b'{"Version":"v1.0.0"}'),
        (f"{ESCAPED}/@v/main.mod", TEXT, "public, max-age=60", MOD),
        (f"{ESCAPED}/@v/main.zip", ZIP, "public, max-age=60", None),
    ],
)
def test_the_endpoints(daemon: Daemon, target: str, type: str, caching: str, body: bytes | None) -> None:
    """Each answers with its bytes, their type, length and ETag, and how long they may be kept."""
    answer = daemon.ask(target)
    assert answer.status == 200
    assert answer.body == (daemon.origin.zip if body is None else body)
    headers = answer.headers
    assert (headers["content-type"], headers["cache-control"]) == (type, caching)
    assert headers["content-length"] == str(len(answer.body))
    assert headers["etag"][0] == headers["etag"][-1] == '"' != headers["etag"][1]
    assert headers["accept-ranges"] == "bytes"
    assert headers["server"].startswith("athensd/")
    assert datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert ("age" in headers) == (caching != FOR_EVER)


@pytest.mark.parametrize("target", [*ALL, f"{ESCAPED}/@v/main.zip", f"{ESCAPED}/@v/v9.9.9.zip", "/nodot/@v/list", "/x"])
def test_head_is_get_without_its_body(daemon: Daemon, target: str) -> None:
    """HEAD has the status and every header of GET, the length too, and no body, for refusals as well."""
    daemon.ask(target)
    got, head = (steady(daemon.ask(target, method, {"Athens-Request-ID": "same"})) for method in ("GET", "HEAD"))
    assert got.body
    assert head == evolve(got, body=b"")


def steady(answer: Response) -> Response:
    return evolve(answer, headers={name: value for name, value in answer.headers.items() if name != "date"})


def test_the_second_time_is_a_hit(daemon: Daemon) -> None:
    """What was fetched once is served from the store; X-Cache says which it was."""
    first, second = daemon.ask(FILES[2]), daemon.ask(FILES[2])
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.body == second.body
    assert daemon.origin.asked.count(f"{PATH}@{VERSION}.zip") == 1


def test_a_changeable_answer_has_an_age(daemon: Daemon) -> None:
    """An answer that may change says how old it is, so that caches below do not add up."""
    daemon.ask(LIST)
    daemon.clock.advance(42)
    assert daemon.ask(LIST).headers["age"] == "42"


@pytest.mark.parametrize("target", ALL)
def test_a_client_that_has_it_gets_no_body(daemon: Daemon, target: str) -> None:
    """If-None-Match with the ETag that was given out is answered 304: no body, the same ETag and caching."""
    whole = daemon.ask(target)
    for known in (whole.headers["etag"], f"W/{whole.headers['etag']}", "*", f'"x", {whole.headers["etag"]}'):
        again = daemon.ask(target, headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b"")
        assert {"content-length", "content-type", "transfer-encoding"} & set(again.headers) == set()
        assert [again.headers[name] for name in ("etag", "cache-control")] == [
            whole.headers[name] for name in ("etag", "cache-control")
        ]
    assert daemon.ask(target, headers={"If-None-Match": '"x"'}).body == whole.body


@pytest.mark.parametrize("target", ALL)
def test_a_part_can_be_had(daemon: Daemon, target: str) -> None:
    """Range is answered 206 with the bytes asked for and where they are."""
    whole = daemon.ask(target).body
    part = daemon.ask(target, headers={"Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, whole[2:5])
    assert part.headers["content-range"] == f"bytes 2-4/{len(whole)}"
    assert part.headers["content-length"] == "3"
    tail = daemon.ask(target, headers={"Range": "bytes=-3"})
    assert (tail.status, tail.body) == (206, whole[-3:])


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,3-4"},
        {"Range": "nonsense"},
        {"Range": f"bytes=0-{'9' * 5000}"},
        {"Range": "bytes=0-1", "If-Range": '"other"'},
        {"Range": "\xff"},
        {"If-None-Match": "\xff"},
    ],
)
def test_what_is_not_understood_gets_the_whole(daemon: Daemon, headers: Mapping[str, str]) -> None:
    """Several ranges, a bad one, and one of other bytes are answered with everything, and never with an error."""
    answer = daemon.ask(FILES[1], headers=headers)
    assert (answer.status, answer.body) == (200, MOD)


def test_if_range_with_the_right_bytes(daemon: Daemon) -> None:
    """A broken transfer is resumed with the ETag that its beginning had."""
    etag = daemon.ask(FILES[2]).headers["etag"]
    rest = daemon.ask(FILES[2], headers={"Range": "bytes=100-", "If-Range": etag})
    assert (rest.status, rest.body) == (206, daemon.origin.zip[100:])


def test_a_range_beyond_the_end(daemon: Daemon) -> None:
    """A part that is not there is 416 with the true length, and nobody keeps that."""
    answer = daemon.ask(FILES[1], headers={"Range": "bytes=1000-"})
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(MOD)}"
    assert (answer.headers["content-length"], answer.headers["cache-control"]) == ("0", "no-store")


def test_private_modules_are_kept_by_their_client_only(tmp_path: Path) -> None:
    """Answers about a private module, its absence too, are for no shared cache."""
    daemon = Daemon(tmp_path, private="example.test")
    for target in [*ALL, f"{ESCAPED}/@v/v9.9.9.zip", "/example.test/other/@v/list"]:
        assert daemon.ask(target).headers["cache-control"].startswith("private, max-age=")
    assert daemon.ask("/other.test/m/@v/list").headers["cache-control"].startswith("public, max-age=")


@pytest.mark.parametrize(
    ("error", "status", "caching"),
    [
        (NotFound("no such module"), 404, "public, max-age=60"),
        (Gone("gone"), 410, "public, max-age=60"),
        (Forbidden("not for you"), 403, "no-store"),
        (UpstreamFailed("broken"), 502, "no-store"),
        (TimedOut("too slow"), 504, "no-store"),
        (Overloaded("busy", 17), 503, "no-store"),
    ],
)
@pytest.mark.parametrize("target", ALL)
def test_errors_are_told(daemon: Daemon, target: str, error: Exception, status: int, caching: str) -> None:
    """Whatever the endpoint, an error has its status, its caching and its cause as the first line."""
    daemon.origin.failing = error
    answer = daemon.ask(target)
    assert (answer.status, answer.headers["cache-control"]) == (status, caching)
    assert answer.lines[0] == str(error)
    check_refusal(answer)
    assert answer.headers.get("retry-after") == ("17" if status == 503 else None)
    assert not {"etag", "accept-ranges", "content-range", "age"} & set(answer.headers)


@pytest.mark.parametrize("target", [*ALL, f"{ESCAPED}/@v/main.info", f"{ESCAPED}/@v/v1.info", "/other.test/m/@v/list"])
@pytest.mark.parametrize("wish", ["true", "TRUE", " true "])
def test_no_fetching_when_it_is_not_wanted(daemon: Daemon, target: str, wish: str) -> None:
    """With ``Disable-Module-Fetch: true`` the origin is never asked: what is not here is 404."""
    answer = daemon.ask(target, headers={"Disable-Module-Fetch": wish})
    assert answer.status == 404
    check_refusal(answer)
    assert daemon.origin.asked == []


@pytest.mark.parametrize("target", ALL)
def test_what_is_stored_needs_no_fetching(daemon: Daemon, target: str) -> None:
    """What is here is served with ``Disable-Module-Fetch: true`` as without it."""
    wanted = daemon.ask(FILES[2])
    assert wanted.status == 200
    daemon.origin.asked.clear()
    assert daemon.ask(target, headers={"Disable-Module-Fetch": "true"}).status == 200
    assert daemon.origin.asked == []
