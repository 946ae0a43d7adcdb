"""The door in front of all routes: what is answered to whom, with the fast lane and without it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from athensd.doors.door import FAILURES, Doorkeeper, Keys
from athensd.doors.rules import Access, parse_rules
from athensd.doors.users import Token
from athensd.gomod.version import ModuleVersion
from tests.fakes import result_of
from tests.web.fakes import ESCAPED, PATH, VERSION, Daemon, Response, at_once, check_refusal

INFO, MOD, ZIP = (f"{ESCAPED}/@v/{VERSION}.{kind}" for kind in ("info", "mod", "zip"))
OURS = [INFO, MOD, ZIP, f"{ESCAPED}/@v/list", f"{ESCAPED}/@latest", f"{ESCAPED}/@v/main.info"]
PAGES = ["/", "/version", "/robots.txt", "/catalog", "/index", "/metrics", "/sumdb/sum.test/supported"]
PROBES = ["/healthz", "/readyz"]
TOKEN = {"Authorization": "Bearer t0ken"}


def login(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


ALICE, BOB, EVE = login("alice", "right"), login("bob", "better"), login("eve", "x")


def equal(password: bytes, hashed: bytes) -> bool:
    return password == hashed


Close = Callable[..., Doorkeeper]


@pytest.fixture
def close(daemon: Daemon) -> Close:
    """Puts a door before the daemon, with these rules; a user's hash is the password."""

    def close(rules: str = "", in_thread: Any = at_once, **more: Any) -> Doorkeeper:
        keys = Keys(
            closed=True,
            users={"alice": b"right", "bob": b"better"},
            tokens={sha256(b"t0ken").digest(): Token("ci", frozenset({"pay"}))},
            access=parse_rules(f"group pay alice\n{rules}", "rules") if rules else Access(),
            **more,
        )
        daemon.site.door = Doorkeeper(keys, daemon.clock.seconds, in_thread, equal)
        return daemon.site.door

    return close


@pytest.mark.parametrize("headers", [{}, EVE, login("alice", "better"), {"Authorization": "Digest x"}])
@pytest.mark.parametrize("target", [*OURS, *PAGES])
def test_nobody_comes_in(daemon: Daemon, close: Close, target: str, headers: dict[str, str]) -> None:
    """Without a login, or with a wrong one, all but the probes is a challenge that clients understand."""
    close()
    answer = daemon.ask(target, headers=headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="athensd"')
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Authorization")
    check_refusal(answer)
    assert daemon.origin.asked == []
    assert [daemon.ask(probe, headers=headers).status for probe in PROBES] == [200, 200]


@pytest.mark.parametrize("headers", [ALICE, BOB, TOKEN])
def test_who_has_a_login(daemon: Daemon, close: Close, headers: dict[str, str]) -> None:
    """He may have all, and no shared cache may keep it for others."""
    close()
    for target in OURS:
        for method in ("GET", "HEAD"):
            answer = daemon.ask(target, method, headers=headers)
            assert (answer.status, answer.headers["vary"]) == (200, "Authorization")
            assert "private" in answer.headers["cache-control"]
            assert "public" not in answer.headers["cache-control"]
    assert len(set(daemon.origin.clients)) == 1
    assert set(daemon.origin.clients) <= {"alice", "bob", "ci"}, "users wait in turn, and not the addresses they share"
    missing = daemon.ask("/example.test/nothing/@v/list", headers=headers)
    assert (missing.status, missing.headers["cache-control"]) == (404, "private, max-age=60")


def test_a_hit_of_who_has_logged_in(daemon: Daemon, close: Close, lane: bool) -> None:
    """The lane gives it to who sends the very same login, with his name in the log, and to nobody else."""
    door = close(f"allow pay {PATH}\ndeny * {PATH}\nallow anonymous *")
    asked: list[str | None] = []

    async def asker(authorization: str | None, client: str) -> Any:
        asked.append(authorization)
        return await type(door).asker(door, authorization, client)

    door.asker = asker  # type: ignore[method-assign]
    found = [daemon.ask(INFO, headers=ALICE) for _ in range(2)][-1]
    asked.clear()
    with capture_logs() as lines:
        again = daemon.ask(INFO, headers=ALICE)
    assert asked == ([] if lane else [ALICE["Authorization"]])
    assert (again.status, again.body, list(again.headers)) == (200, found.body, list(found.headers))
    assert [line["user"] for line in lines if line["event"] == "incoming request"] == ["alice"]
    assert [daemon.ask(INFO, headers=each).status for each in (TOKEN, BOB, {}, EVE)] == [200, 403, 401, 401]
    shouted = {"AUTHORIZATION": ALICE["Authorization"]}
    both = {"authorization": EVE["Authorization"], **ALICE}
    assert [daemon.ask(INFO, headers=each).status for each in (shouted, both, {**ALICE, **shouted})] == [200] * 3
    assert daemon.ask(INFO, headers={**ALICE, "authorization": EVE["Authorization"]}).status == 401


def test_without_doors_nothing_changes(daemon: Daemon) -> None:
    """Keys that close nothing add not a header."""
    before = daemon.ask(INFO).headers.keys()
    daemon.site.door = Doorkeeper(Keys(), daemon.clock.seconds, at_once, equal)
    answer = daemon.ask(INFO, headers=EVE)
    assert (answer.status, answer.headers.keys()) == (200, before)


@pytest.mark.parametrize("open", [True, False])
def test_metrics(daemon: Daemon, close: Close, open: bool) -> None:
    """They are behind the door or before it, as the settings want; never is anything else."""

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"up 1\n", "text/plain"

    daemon.pages._metrics = exposition
    close(metrics=not open)
    assert daemon.ask("/metrics").status == (200 if open else 401)
    assert daemon.ask("/metrics", headers=BOB).status == 200
    assert daemon.ask("/catalog").status == 401


HIDDEN = f"allow pay {PATH}\nhide * {PATH}\nallow anonymous *"


def known(answer: Response, path: str) -> tuple[int, dict[str, str], bytes]:
    """What an answer shows, but for the name that was asked for and the id and time of the request."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "athens-request-id"}}
    headers["content-length"] = str(int(headers["content-length"]) - len(path))
    return answer.status, headers, answer.lines[0].replace(path, "").encode()


def test_hidden_is_not_there(daemon: Daemon, close: Close) -> None:
    """What is stored, what is not, and what no origin has: under a pattern that is hidden, all are the same."""
    for headers in ({}, BOB):
        daemon.site.door = None
        for target in OURS:
            daemon.ask(target)
        daemon.origin.asked.clear()
        close(HIDDEN)
        ending = [target.removeprefix(ESCAPED) for target in OURS]
        for end in [*ending, "/@v/v1.9.9.zip"]:
            there = daemon.ask(f"{ESCAPED}{end}", headers=headers)
            other = daemon.ask(f"{ESCAPED}/nothing{end}", headers=headers)
            assert there.status == 404
            check_refusal(there)
            assert known(there, PATH) == known(other, f"{PATH}/nothing")
        assert daemon.origin.asked == []
        assert [daemon.ask(target, headers=ALICE).status for target in OURS] == [200] * len(OURS)


def test_the_body_is_as_of_what_is_unknown(daemon: Daemon, close: Close) -> None:
    """A module that is hidden is told in the status, the headers and the form of one that there is not."""
    close(HIDDEN)
    hidden, unknown = daemon.ask(INFO, headers=BOB), daemon.ask("/example.test/no/@v/v1.0.0.info", headers=BOB)
    assert (hidden.status, hidden.headers.keys()) == (unknown.status, unknown.headers.keys())
    assert hidden.headers["cache-control"] == unknown.headers["cache-control"]
    assert len(hidden.lines) == len(unknown.lines)


def test_denied(daemon: Daemon, close: Close) -> None:
    """Who is logged in is refused and told the rule; who is not is asked who he is."""
    close(f"allow pay {PATH}\ndeny * {PATH}\nallow anonymous *")
    for target in OURS:
        refused = daemon.ask(target, headers=BOB)
        assert (refused.status, refused.lines[0]) == (403, f"{PATH}: the rules of access keep it from bob, line 3")
        assert daemon.ask(target).status == 401
        assert daemon.ask(target, headers=TOKEN).status == 200


def test_the_lane_gives_nobody_more(daemon: Daemon, close: Close, lane: bool) -> None:
    """However often others were given something, who may not have it is not given it."""
    close(HIDDEN)
    for _ in range(3):
        for target in OURS:
            assert daemon.ask(target, headers=ALICE).status == 200
            assert daemon.ask(target, headers=TOKEN).status == 200
            assert daemon.ask(target).status == 404
            assert daemon.ask(target, headers=BOB).status == 404
            assert daemon.ask(target, headers=EVE).status in {401, 429}
    assert (daemon.rendered.bytes > 0) is lane
    assert not [secret for secret in ("t0ken", ALICE["Authorization"][6:]) if secret in str(vars(daemon.rendered))]


def test_what_is_open_to_all_may_use_the_lane(daemon: Daemon, close: Close, lane: bool) -> None:
    """Until the rules change: then nothing of what was given before is given again."""
    door = close("allow anonymous *")
    for target in OURS * 2:
        assert daemon.ask(target).status == 200
    assert (daemon.rendered.bytes > 0) is lane
    assert daemon.ask(INFO).headers["vary"] == "Authorization"
    door.change(Keys(closed=True))
    daemon.rendered.clear()  # as whoever reads the rules again does
    assert {daemon.ask(target).status for target in OURS} == {401}


def test_an_open_proxy_that_is_closed(daemon: Daemon, lane: bool) -> None:
    """From one moment to the next, on a connection that is open."""
    door = daemon.site.door = Doorkeeper(Keys(), daemon.clock.seconds, at_once, equal)
    connection = daemon.connect()
    raw = f"GET {INFO} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for _ in range(3):
        connection.send(raw)
    assert connection.transport.value().count(b" 200 OK") == 3
    connection.transport.clear()
    door.change(Keys(closed=True))
    daemon.rendered.clear()
    assert connection.send(raw).startswith(b"HTTP/1.1 401 ")


def store(daemon: Daemon, path: str) -> None:
    """One version, in the store and the index."""
    folder = daemon.root / "store" / path / "@v"
    folder.mkdir(parents=True)
    for kind in ("info", "mod", "zip", "ziphash"):
        (folder / f"v1.0.0.{kind}").write_bytes(b"x")
    result_of(daemon.index.add(ModuleVersion(path, "v1.0.0")))


NAMES = [f"{host}.test/{number}" for number in range(3) for host in ("corp", "open", "secret")]


def catalog(daemon: Daemon, headers: dict[str, str], size: int) -> tuple[list[str], bytes]:
    """All the modules in it, and all that was sent."""
    found, sent, token = [], b"", ""
    while True:
        answer = daemon.ask(f"/catalog?pagesize={size}&token={token}", headers=headers)
        sent += answer.body
        page = json.loads(answer.body)
        found += [each["module"] for each in page["modules"]]
        token = page.get("next", "")
        if not token:
            return found, sent


def index(daemon: Daemon, headers: dict[str, str], limit: int) -> tuple[list[str], bytes]:
    """The same of the index, asked as go.dev's crawlers do: from the time of the last line."""
    found: dict[str, None] = {}
    sent, since = b"", "1970-01-01T00:00:00Z"
    while True:
        answer = daemon.ask(f"/index?limit={limit}&since={since}", headers=headers)
        sent += answer.body
        lines = [json.loads(line) for line in answer.body.splitlines()]
        found |= {line["Path"]: None for line in lines}
        if len(lines) < limit:
            return list(found), sent
        since = lines[-1]["Timestamp"]


@pytest.mark.parametrize("ask", [catalog, index])
@pytest.mark.parametrize("size", [2, 3, 100])
def test_lists_show_what_may_be_had(
    daemon: Daemon, close: Close, ask: Callable[..., tuple[list[str], bytes]], size: int
) -> None:
    """Each sees his own, whole; and no byte, of a token neither, names another."""
    for name in NAMES:
        store(daemon, name)
    close("allow pay corp.test,secret.test\ndeny * corp.test\nhide * secret.test\nallow anonymous open.test")
    everything, _ = ask(daemon, ALICE, size)
    assert sorted(everything) == sorted(NAMES)
    for headers in ({}, BOB):
        found, sent = ask(daemon, headers, size)
        assert sorted(found) == [name for name in sorted(NAMES) if name.startswith("open")]
        assert b"secret" not in sent
        assert b"corp" not in sent


def test_failures_are_slowed(daemon: Daemon, close: Close) -> None:
    """429 with the time to wait, and the same for the right password until then."""
    close()
    for number in range(FAILURES):
        assert daemon.ask(INFO, headers=login("alice", f"{number}")).status == 401
    slowed = daemon.ask(INFO, headers=ALICE)
    assert (slowed.status, slowed.headers["retry-after"], slowed.headers["cache-control"]) == (429, "60", "no-store")
    check_refusal(slowed)
    assert daemon.ask(INFO, headers=BOB).status == 200
    daemon.clock.advance(60)
    assert daemon.ask(INFO, headers=ALICE).status == 200


def test_the_log_says_who(daemon: Daemon, close: Close) -> None:
    """The name of who was let in, and no credential of anybody."""
    close()
    with capture_logs() as lines:
        for headers in (ALICE, TOKEN, login("hunter2", "hunter3"), {"Authorization": "Bearer hunter4"}, {}):
            daemon.ask(INFO, headers=headers)
    asked = [line for line in lines if line["event"] == "incoming request"]
    assert [(line.get("user"), line["http-status"]) for line in asked] == [
        *(("alice", 200), ("ci", 200)),
        *((None, 401),) * 3,
    ]
    assert not [secret for secret in ("right", "t0ken", "hunter", ALICE["Authorization"][6:]) if secret in str(lines)]


@pytest.mark.parametrize("leaves", [True, False])
def test_while_a_password_is_worked_out(daemon: Daemon, close: Close, leaves: bool) -> None:
    """The client may leave, and nothing is done for him then; what he sends behind it waits for its turn."""
    held: Deferred[None] = Deferred()

    async def later(function: Callable[..., Any], *arguments: Any) -> Any:
        await held
        return function(*arguments)

    close(in_thread=later)
    connection = daemon.connect()
    raw = f"GET {MOD} HTTP/1.1\r\nHost: x\r\nAuthorization: {ALICE['Authorization']}\r\n\r\n".encode()
    assert connection.send(raw) == b""
    assert connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    if leaves:
        connection.hang_up()
        held.callback(None)
        assert (connection.transport.value(), daemon.origin.asked, daemon.site.busy) == (b"", [], set())
    else:
        held.callback(None)
        module, health = connection.transport.value().split(b"HTTP/1.1 ")[1:]
        assert module.startswith(b"200 ")
        assert module.endswith(f"module {PATH}\n".encode())
        assert health.startswith(b"200 ")


def test_a_door_that_breaks_lets_nobody_in(daemon: Daemon, close: Close) -> None:
    """A fault of ours is 500 and in the log."""

    async def broken(function: Callable[..., Any], *arguments: Any) -> Any:
        raise RuntimeError("no threads")

    close(in_thread=broken)
    with capture_logs() as lines:
        answer = daemon.ask(INFO, headers=ALICE)
    assert answer.status == 500
    check_refusal(answer)
    assert [line["log_level"] for line in lines if line["event"] == "unexpected error"] == ["error"]
    assert daemon.origin.asked == []
