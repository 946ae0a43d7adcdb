"""The door: who is let in, who is not, and what a guess costs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from attrs import evolve
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from athensd.doors.door import FAILURES, MOST, PROVED, WAITING, Doorkeeper, Keys
from athensd.doors.rules import ANONYMOUS, Action, Asker, parse_rules
from athensd.doors.users import Token
from athensd.errors import Forbidden, NotFound, NotLoggedIn, Overloaded, TooManyFailures
from tests.fakes import result_of, start

HERE = "192.0.2.7"
RULES = """
group pay alice
allow pay  corp.test
hide  *    corp.test
deny  *    bad.test
"""
KEYS = Keys(
    closed=True,
    user="go",
    password="athens",
    users={"alice": b"right", "bob": b"better"},
    tokens={sha256(b"t0ken").digest(): Token("ci", frozenset({"pay"}))},
    access=parse_rules(RULES, "rules"),
)


class Door:
    """A door whose hashes are the passwords; ``worked_out`` are those that were compared."""

    def __init__(self, keys: Keys = KEYS) -> None:
        self.clock = Clock()
        self.worked_out: list[tuple[bytes, bytes]] = []
        self.held: list[Deferred[None]] | None = None
        self.keeper = Doorkeeper(keys, self.clock.seconds, self.in_thread, self.fits)

    def fits(self, password: bytes, hashed: bytes) -> bool:
        self.worked_out.append((password, hashed))
        return password == hashed

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.held is not None:
            self.held.append(Deferred())
            await self.held[-1]
        return function(*arguments)

    def release(self) -> None:
        """Let all threads do their work, and those that come after them."""
        while self.held:
            self.held.pop(0).callback(None)

    def ask(self, authorization: str | None, client: str = HERE) -> Asker:
        return result_of(self.keeper.asker(authorization, client))


@pytest.fixture
def door() -> Door:
    """One with a user of each kind."""
    return Door()


def basic(name: str, password: str) -> str:
    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("authorization", "asker"),
    [
        (basic("go", "athens"), Asker("go")),
        (basic("alice", "right"), Asker("alice", frozenset({"pay"}))),
        (basic("bob", "better"), Asker("bob")),
        ("Bearer t0ken", Asker("ci", frozenset({"pay"}))),
        (basic("ci", "t0ken"), Asker("ci", frozenset({"pay"}))),
    ],
)
def test_who_is_let_in(door: Door, authorization: str, asker: Asker) -> None:
    """The user of Athens, users by password, tokens as bearers or as the password of their name."""
    assert door.ask(authorization) == asker


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Digest x",
        basic("go", "right"),
        basic("go", ""),
        basic("", "athens"),
        basic("alice", "better"),
        basic("eve", "right"),
        basic("bob", "t0ken"),
        "Bearer t0keN",
        "Bearer ",
        "Bearer right",
    ],
)
def test_who_is_not(door: Door, authorization: str | None) -> None:
    """Whoever has nothing, or something that is not his."""
    with pytest.raises(NotLoggedIn):
        door.ask(authorization)


def test_only_the_user_of_athens() -> None:
    """As with Athens' own two settings: this one, and nobody else."""
    door = Door(Keys(closed=True, user="go", password="athens"))
    assert door.ask(basic("go", "athens")) == Asker("go")
    for name, password in (("go", "wrong"), ("og", "athens"), ("go", "")):
        with pytest.raises(NotLoggedIn):
            door.ask(basic(name, password))
    assert door.worked_out == []


def test_an_empty_file_lets_nobody_in() -> None:
    """Nor do settings without a user make one of an empty name and password."""
    door = Door(Keys(closed=True))
    for authorization in (None, basic("x", ""), "Bearer ", "Bearer x"):
        with pytest.raises(NotLoggedIn):
            door.ask(authorization)


def test_anonymous() -> None:
    """Without a login one is let in where there is something for such; a wrong login is wrong even there."""
    door = Door(evolve(KEYS, access=parse_rules("allow anonymous open.test", "rules")))
    assert door.ask(None) is ANONYMOUS
    with pytest.raises(NotLoggedIn):
        door.ask(basic("alice", "wrong"))


def test_a_password_is_worked_out_once(door: Door) -> None:
    """For some minutes; what is remembered is no password."""
    for _ in range(3):
        door.ask(basic("alice", "right"))
    assert len(door.worked_out) == 1
    assert b"right" not in repr(vars(door.keeper)).encode()
    door.clock.advance(PROVED)
    door.ask(basic("alice", "right"))
    assert len(door.worked_out) == 2


def test_changed_keys_hold_at_once(door: Door) -> None:
    """A password that was right is looked at again."""
    door.ask(basic("alice", "right"))
    door.keeper.change(evolve(KEYS, users={"alice": b"new"}, tokens={}, password="other"))
    for authorization in (basic("alice", "right"), "Bearer t0ken", basic("go", "athens")):
        with pytest.raises(NotLoggedIn):
            door.ask(authorization)
    assert door.ask(basic("alice", "new")).name == "alice"


def test_changed_keys_slow_nobody(door: Door) -> None:
    """Whoever could not come in by the old ones need not wait."""
    fail(door, "alice", FAILURES)
    door.keeper.change(evolve(KEYS, users={"alice": b"new"}))
    assert door.ask(basic("alice", "new")).name == "alice"


def test_keys_that_change_meanwhile(door: Door) -> None:
    """What was proved by old ones is not remembered."""
    door.held = []
    asking = start(door.keeper.asker(basic("alice", "right"), HERE))
    door.keeper.change(evolve(KEYS, users={"alice": b"new"}))
    door.release()
    assert result_of(asking).name == "alice"
    door.held = None
    with pytest.raises(NotLoggedIn):
        door.ask(basic("alice", "right"))


def fail(door: Door, name: str, times: int, client: str = HERE) -> None:
    for number in range(times):
        with pytest.raises(NotLoggedIn):
            door.ask(basic(name, f"guess {number}"), client)


@pytest.mark.parametrize("name", ["alice", "go"])
def test_failures_are_slowed(door: Door, name: str) -> None:
    """After five in a minute even the right password is not looked at until the minute is over."""
    right = {"alice": "right", "go": "athens"}[name]
    fail(door, name, FAILURES)
    door.clock.advance(20.5)
    before = len(door.worked_out)
    with pytest.raises(TooManyFailures) as caught:
        door.ask(basic(name, right))
    assert (caught.value.retry_after, len(door.worked_out)) == (40, before)
    door.clock.advance(39.5)
    assert door.ask(basic(name, right)).name == name


def test_nobody_else_is_slowed(door: Door) -> None:
    """Neither another user behind the same address, nor a token, nor the same user elsewhere."""
    fail(door, "alice", FAILURES)
    fail(door, "eve", FAILURES)
    assert door.ask(basic("bob", "better")).name == "bob"
    assert door.ask("Bearer t0ken").name == "ci"
    assert door.ask(basic("alice", "right"), "192.0.2.8").name == "alice"


def test_names_that_are_not_there_count_together(door: Door) -> None:
    """So that trying names is slowed as well, and bearers with wrong tokens."""
    for name in "abc":
        fail(door, name, 1)
    for _ in range(2):
        with pytest.raises(NotLoggedIn):
            door.ask("Bearer wrong")
    with pytest.raises(TooManyFailures):
        door.ask(basic("d", "x"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("2001:db8::1", "2001:db8::2:3", True), ("2001:db8::1", "2001:db8:0:1::1", False), ("unix", "unix", True)],
)
def test_neighbours_are_one_client(door: Door, one: str, other: str, same: bool) -> None:
    """Who has one IPv6 address has 2 to the 64."""
    fail(door, "alice", FAILURES, one)
    with pytest.raises(TooManyFailures if same else NotLoggedIn):
        door.ask(basic("alice", "x"), other)


def test_success_wipes_the_slate(door: Door) -> None:
    """A typing mistake now and then slows nobody."""
    for _ in range(3):
        fail(door, "alice", FAILURES - 1)
        door.ask(basic("alice", "right"))


def test_what_is_remembered_is_bounded(door: Door) -> None:
    """However many clients fail."""
    for number in range(MOST + 10):
        fail(door, "go", 1, f"client {number}")
    assert len(door.keeper._failures) == MOST


def test_what_was_proved_is_bounded() -> None:
    """However many users there are."""
    door = Door(Keys(closed=True, users={f"user{number}": b"x" for number in range(MOST + 10)}))
    for number in range(MOST + 10):
        door.ask(basic(f"user{number}", "x"))
    assert len(door.keeper._proved) == MOST


def test_guesses_at_the_same_time(door: Door) -> None:
    """They are counted before they are looked at."""
    door.held = []
    asking = [start(door.keeper.asker(basic("alice", f"guess {number}"), HERE)) for number in range(50)]
    door.release()
    found = [outcome(each) for each in asking]
    assert len(door.worked_out) == FAILURES
    assert [type(each) for each in found] == [NotLoggedIn] * FAILURES + [TooManyFailures] * (50 - FAILURES)


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_the_same_at_the_same_time(door: Door, password: str) -> None:
    """A go command that asks over many connections has its password worked out once, and all get the same answer."""
    door.held = []
    asking = [start(door.keeper.asker(basic("alice", password), HERE)) for _ in range(50)]
    door.release()
    found = [outcome(each) for each in asking]
    assert len(door.worked_out) == 1
    assert {type(each) for each in found} == {Asker if password == "right" else NotLoggedIn}


def outcome(asking: Deferred[Asker]) -> object:
    try:
        return result_of(asking)
    except (NotLoggedIn, TooManyFailures, Overloaded) as error:
        return error


def test_guesses_from_everywhere(door: Door) -> None:
    """They are worked out two at a time, and no more than a hundred wait."""
    door.held = []
    asking = [start(door.keeper.asker(basic("alice", f"{n}"), f"client {n}")) for n in range(WAITING + 5)]
    assert (len(door.keeper._under_way), len(door.held)) == (WAITING, 2)
    door.release()
    found = [outcome(each) for each in asking]
    assert [type(each) for each in found] == [NotLoggedIn] * WAITING + [Overloaded] * 5
    assert door.keeper._under_way == {}


def test_a_thread_that_fails(door: Door) -> None:
    """It lets nobody in, and is no longer waited for."""
    door.held = []
    asking = [start(door.keeper.asker(basic("alice", "right"), HERE)) for _ in range(2)]
    door.held.pop().errback(RuntimeError("no threads"))
    with pytest.raises(RuntimeError):
        result_of(asking[0])
    with pytest.raises(NotLoggedIn):
        result_of(asking[1])
    door.held = None
    assert door.ask(basic("alice", "right")).name == "alice"


def test_who_is_not_there_takes_as_long(door: Door) -> None:
    """So that the time does not tell whether there is such a user; and he is not let in by another's password."""
    with pytest.raises(NotLoggedIn):
        door.ask(basic("eve", "right"))
    assert len(door.worked_out) == 1


def test_a_failure_is_logged_without_what_was_said(door: Door) -> None:
    """The client and a name that is ours; what is none may be a password."""
    with capture_logs() as lines:
        fail(door, "alice", 1)
        fail(door, "hunter2", 1)
    said = [(line["event"], line["client"], line["user"]) for line in lines]
    assert said == [("a login failed", HERE, "alice"), ("a login failed", HERE, "")]
    assert "hunter2" not in str(lines)
    assert "guess" not in str(lines)


def test_no_secret_is_shown() -> None:
    """Keys that are printed have none in them."""
    assert not [secret for secret in ("athens", "right", "better") if secret in repr(KEYS)]


@pytest.mark.parametrize(
    ("asker", "path", "error"),
    [
        (Asker("alice", frozenset({"pay"})), "corp.test/m", None),
        (Asker("bob"), "corp.test/m", NotFound),
        (ANONYMOUS, "corp.test/m", NotFound),
        (Asker("bob"), "bad.test/m", Forbidden),
        (ANONYMOUS, "bad.test/m", NotLoggedIn),
        (ANONYMOUS, "else.test/m", NotLoggedIn),
        (Asker("bob"), "else.test/m", None),
    ],
)
def test_modules(door: Door, asker: Asker, path: str, error: type[Exception] | None) -> None:
    """What is hidden is not there, what is denied is forbidden, or asks for a login; only what may be had is seen."""
    assert door.keeper.sees(asker, path) is (error is None)
    if error is None:
        door.keeper.admit(asker, path)
    else:
        with pytest.raises(error, match=path):
            door.keeper.admit(asker, path)


def test_a_rule_is_named(door: Door) -> None:
    """Whoever may know that there is a rule is told which."""
    with pytest.raises(Forbidden, match="the rules of access keep it from bob, line 5"):
        door.keeper.admit(Asker("bob"), "bad.test/m")


@pytest.mark.parametrize("metrics", [True, False])
def test_what_stands_open(metrics: bool) -> None:
    """Probes always, the metrics if they are to, and everything where there are no doors."""
    keeper = Door(evolve(KEYS, metrics=metrics)).keeper
    assert [keeper.stands_open(route) for route in ("healthz", "readyz", "metrics")] == [True, True, not metrics]
    assert not [route for route in ("home", "list", "zip", "sumdb", "catalog", "version") if keeper.stands_open(route)]
    keeper.change(Keys())
    assert keeper.stands_open("zip")
    assert keeper._verdict(ANONYMOUS, "corp.test/m") == (Action.ALLOW, "")
