"""The door: who is asking, whether that is proved, and what he may have."""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Any

import structlog
from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore

from athensd.doors.rules import ANONYMOUS, Access, Action, Asker
from athensd.doors.users import Login, Token, fits, parse_authorization
from athensd.errors import Forbidden, NotFound, NotLoggedIn, Overloaded, TooManyFailures

FAILURES = 5
"""So many are answered in ``A_WHILE``."""
A_WHILE = 60.0
PROVED = 300.0
"""So long a password that was right is not worked out again, in seconds."""
MOST = 10_000
"""Of clients with failures, of passwords that were right, and of verdicts; the oldest go."""
AT_ONCE = 2
"""So many threads work on passwords, and ``WAITING`` passwords wait for them at most."""
WAITING = 100
HOW = "this proxy wants a login: put one for its host into ~/.netrc, or see `go help goauth`"
log = structlog.get_logger()


@frozen
class Keys:
    """Who can be known and what each may have; unless the doors are ``closed``, anybody may have anything.

    ``user`` with ``password`` is the one of Athens; ``users`` have bcrypt hashes by their names, and ``tokens`` stand
    under their SHA-256.
    """

    closed: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    users: Mapping[str, bytes] = field(factory=dict, repr=False)
    tokens: Mapping[bytes, Token] = field(factory=dict, repr=False)
    access: Access = field(factory=Access)
    metrics: bool = True


class Doorkeeper:
    """Knows who is who by ``keys``.  ``now`` gives seconds; ``fits`` compares a password with its hash, in a thread."""

    def __init__(
        self,
        keys: Keys,
        now: Callable[[], float],
        in_thread: Callable[..., Awaitable[Any]],
        fits: Callable[[bytes, bytes], bool] = fits,
    ) -> None:
        self._now = now
        self._in_thread = in_thread
        self._fits = fits
        self._proved: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._under_way: dict[bytes, list[Deferred[bool]]] = {}
        self._turns = DeferredSemaphore(AT_ONCE)
        self.change(keys)

    @property
    def closed(self) -> bool:
        """Whether anybody is asked for anything."""
        return self._keys.closed

    def change(self, keys: Keys) -> None:
        """From now on these hold; what was proved by others is forgotten, and what failed by them."""
        self._keys = keys
        # Of these keys alone, so nobody joins a password that is being compared with an old hash.
        self._key = os.urandom(32)
        # A thousand rules take milliseconds, and the same few thousand modules are asked for all day.
        self._verdict_of = lru_cache(MOST)(keys.access.verdict)
        self._proved.clear()
        self._failures.clear()

    def stands_open(self, route: str) -> bool:
        """Whether a route is for everybody: probes are, as in Athens, and the metrics if they are to be."""
        return not self.closed or route in {"healthz", "readyz"} or (route == "metrics" and not self._keys.metrics)

    async def asker(self, authorization: str | None, client: str) -> Asker:
        """Who asks, by the header ``Authorization``.

        Raises ``NotLoggedIn``; ``TooManyFailures`` for a ``client`` (its address) that has guessed too often; and
        ``Overloaded``.
        """
        if authorization is None:
            if self._keys.access.lets_in_anonymous:
                return ANONYMOUS
            raise NotLoggedIn(HOW)
        login = parse_authorization(authorization)
        if login is None:
            raise NotLoggedIn(f"this login is in no form that is known here (Basic, Bearer); {HOW}")
        keys = self._keys
        token = keys.tokens.get(sha256(login.secret).digest())
        if token is not None and login.name in {"", token.name}:
            return Asker(token.name, token.groups)
        return await self._by_password(keys, login, client)

    async def _by_password(self, keys: Keys, login: Login, client: str) -> Asker:
        is_known = login.name in keys.users or (login.name == keys.user and bool(keys.password))
        # By the name too: whoever else is behind the same address is not shut out by one who has a wrong password.
        # What is no name of ours may be a password in the wrong place, so it is neither kept nor shown.
        name = login.name if is_known else ""
        who = _neighbourhood(client), name
        self._slow_down(who)
        if _is_basic_user(keys, login) or (keys.users and await self._is_proved(keys, login, who)):
            self._failures.pop(who, None)
            return Asker(login.name, keys.access.groups.get(login.name, frozenset()))
        if not keys.users:  # else it was counted before it was looked at
            self._count(who)
        log.warning("a login failed", client=client, user=name)
        raise NotLoggedIn("this login is not right; look into ~/.netrc, or see `go help goauth`")

    async def _is_proved(self, keys: Keys, login: Login, who: tuple[str, str]) -> bool:
        """Whether it is the password of the user; one that is being worked out already is not worked out twice."""
        proof = hmac.digest(self._key, login.name.encode() + b"\0" + login.secret, "sha256")
        if self._proved.get(proof, 0.0) > self._now():
            return True
        if proof in self._under_way:
            waiter: Deferred[bool] = Deferred()
            self._under_way[proof].append(waiter)
            return await waiter
        if len(self._under_way) >= WAITING:
            raise Overloaded("too many logins are being looked at; ask again in a few seconds")
        # First: however many are sent at once, no more are looked at.
        self._count(who)
        waiters = self._under_way[proof] = []
        right = False
        try:
            right = await self._work_out(keys, login)
        finally:
            del self._under_way[proof]
            for waiter in waiters:
                waiter.callback(right)
        if right and keys is self._keys:
            self._proved[proof] = self._now() + PROVED
            if len(self._proved) > MOST:
                self._proved.popitem(last=False)
        return right

    async def _work_out(self, keys: Keys, login: Login) -> bool:
        # Who is not there takes as long as who is.
        hashed = keys.users.get(login.name) or next(iter(keys.users.values()))
        async with self._turns:
            right: bool = await self._in_thread(self._fits, login.secret, hashed)
        return right and login.name in keys.users

    def _slow_down(self, who: tuple[str, str]) -> None:
        count, since = self._failures.get(who, (0, 0.0))
        left = since + A_WHILE - self._now()
        if left <= 0:
            self._failures.pop(who, None)
        elif count >= FAILURES:
            raise TooManyFailures(f"too many logins failed; ask again in {ceil(left)} seconds", ceil(left))

    def _count(self, who: tuple[str, str]) -> None:
        count, since = self._failures.get(who, (0, self._now()))
        self._failures[who] = count + 1, since
        if len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def admit(self, asker: Asker, path: str) -> None:
        """Let an asker have a module, or raise ``Forbidden``, ``NotLoggedIn``, or ``NotFound`` where it is hidden."""
        action, where = self._verdict(asker, path)
        if action is Action.HIDE:
            raise NotFound(f"{path}: not found")
        if action is Action.DENY:
            if not asker.name:
                raise NotLoggedIn(f"{path}: {HOW}")
            raise Forbidden(f"{path}: the rules of access keep it from {asker.name}, {where}")

    def sees(self, asker: Asker, path: str) -> bool:
        """Whether an asker may know that there is this module."""
        return self._verdict(asker, path)[0] is Action.ALLOW

    def _verdict(self, asker: Asker, path: str) -> tuple[Action, str]:
        return self._verdict_of(asker, path) if self.closed else (Action.ALLOW, "")


def _is_basic_user(keys: Keys, login: Login) -> bool:
    """Whether it is the user of Athens' settings; it takes the same time whatever is wrong."""
    if not keys.password:
        return False
    name = _same(login.name.encode(), keys.user.encode())
    secret = _same(login.secret, keys.password.encode())
    return name & secret


def _same(one: bytes, other: bytes) -> bool:
    """Whether they are; without showing, by the time it takes, how long either is."""
    return hmac.compare_digest(sha256(one).digest(), sha256(other).digest())


def _neighbourhood(client: str) -> str:
    """Where a client is: its address, or the network of an IPv6 one, who has them by the billion."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ip_network((address, 64), strict=False))
