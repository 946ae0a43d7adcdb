"""Leases in Redis: a key that names its holder, and that Redis forgets when it is not renewed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import evolve, field, frozen
from twisted.internet.defer import DeferredSemaphore
from zope.interface import implementer

from athensd.errors import StorageFailed
from athensd.interfaces import ILeases

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

SILENCE = 2.0
"""How many seconds a connection, and an answer, may take."""
_AT_ONCE = 3
_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"
# The first of these texts that is in the library's error says what is wrong.
_REASONS = (
    ("ERTIFICATE", "its certificate is not trusted"),
    ("No master found", "its sentinels know of no master"),
    ("NOAUTH", "it wants a password"),
    ("Authentication required", "it wants a password"),
    ("without any password", "it has no password"),
    ("WRONGPASS", "it refuses this user or password"),
    ("invalid username-password pair", "it refuses this user or password"),
    ("NOPERM", "its user may not do this"),
    ("has no permissions", "its user may not do this"),
    ("can't run this command", "its user may not do this"),
    ("READONLY", "it can only be read"),
    ("read only replica", "it can only be read"),
)


@frozen
class RedisPlace:
    """One Redis, or the first nodes of a cluster, each a host and a port.  ``ca_file`` is instead of the system's."""

    nodes: Sequence[tuple[str, int]]
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    tls: bool = False
    ca_file: str = ""


Connect = Callable[[], "Redis | RedisCluster"]


@implementer(ILeases)
class RedisLeases:
    """Keys that begin with ``athensd/``, on the server that ``connect`` connects to.

    Calls are made ``in_thread(function, *arguments)``, a few at a time: while a server is silent each of them holds a
    thread for some seconds, and others need threads too.
    """

    def __init__(self, connect: Connect, in_thread: Callable[..., Awaitable[Any]]) -> None:
        """Raises ``ImportError`` without redis-py."""
        from redis.exceptions import RedisClusterException, RedisError, ResponseError, TimeoutError

        self._errors = (RedisError, RedisClusterException, OSError)
        self._kinds = ((TimeoutError, "it did not answer in time"), (ResponseError, "it refuses"))
        self._connect = connect
        self._in_thread = in_thread
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._connecting = Lock()
        self._client: Redis | RedisCluster | None = None

    async def take(self, key: str, holder: str, seconds: float) -> bool:
        return bool(await self._run(_TAKE, key, holder, max(1, round(seconds * 1000))))

    async def give_back(self, key: str, holder: str) -> None:
        await self._run(_GIVE_BACK, key, holder)

    async def _run(self, script: str, key: str, *arguments: str | int) -> Any:
        async with self._turns:
            return await self._in_thread(self._run_now, script, f"athensd/{key}", arguments)

    def _run_now(self, script: str, key: str, arguments: Sequence[str | int]) -> Any:
        try:
            with self._connecting:
                client = self._client = self._client or self._connect()
            return client.eval(script, 1, key, *arguments)
        except self._errors as error:
            raise StorageFailed(self._word(error)) from error

    def _word(self, error: Exception) -> str:
        """Never the library's text, which may quote the server's."""
        text = str(error)
        reason = next((reason for part, reason in _REASONS if part in text), "")
        if not reason and (code := re.match(r"[A-Z]{3,20}\b", text)):
            reason = f"it says {code[0]}"
        if not reason:
            reason = next(
                (word for kind, word in self._kinds if isinstance(error, kind)), "there is no connection to it"
            )
        return f"no lock from Redis: {reason}"


def redis_place(endpoint: str, password: str = "", *, cluster: bool = False) -> RedisPlace:
    """What ``SingleFlight.Redis`` says: host:port or a URL, of a cluster several with commas between them.

    Of a URL the user, password, number of the database and ``ssl_ca_certs`` count; what else Athens' library reads
    there has no meaning.  Raises ``ValueError`` for what makes no sense, as two passwords do.
    """
    places = [_place(each.strip()) for each in (endpoint.split(",") if cluster else [endpoint]) if each.strip()]
    if not places:
        raise ValueError("there is no address")
    passwords = {each.password for each in places} | {password}
    if len(passwords - {""}) > 1:
        raise ValueError("there are two different passwords")
    return evolve(
        places[0],
        nodes=[node for each in places for node in each.nodes],
        username=next((each.username for each in places if each.username), ""),
        password=max(passwords),
        tls=any(each.tls for each in places),
    )


def one_server(place: RedisPlace, silence: float = SILENCE) -> Connect:
    """Connects to one Redis.  Raises ``ImportError`` without redis-py."""
    from redis import Redis

    [(host, port)] = place.nodes
    options = {"db": place.db, "retry": _retry(1), **_options(place, silence)}
    return lambda: Redis(host=host, port=port, **options)


def cluster(place: RedisPlace, silence: float = SILENCE) -> Connect:
    """Connects to a cluster of which some nodes are known.  Raises ``ImportError`` without redis-py."""
    from redis.cluster import ClusterNode, RedisCluster

    options = _options(place, silence)
    return lambda: RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in place.nodes], retry=_retry(1), **options
    )


def sentinel(
    endpoints: Sequence[str],
    master: str,
    *,
    sentinel_password: str = "",
    username: str = "",
    password: str = "",
    db: int = 0,
    silence: float = SILENCE,
) -> Connect:
    """Connects to the Redis that sentinels, each a host:port, call ``master``.

    Raises ``ImportError`` without redis-py, ``ValueError`` for an address that is none.
    """
    from redis.sentinel import Sentinel

    sentinels = [_place(each.strip()).nodes[0] for each in endpoints]
    # Those that are away are to leave time for the others.
    asking = _options(RedisPlace(sentinels, password=sentinel_password), silence / 2)
    options = {"db": db, "retry": _retry(1), **_options(RedisPlace([], username, password), silence)}
    return lambda: Sentinel(sentinels, sentinel_kwargs={"retry": _retry(0), **asking}, **options).master_for(master)


def _place(endpoint: str) -> RedisPlace:
    """Raises ``ValueError`` that does not quote it, as there may be a password in it."""
    scheme, separator, _ = endpoint.partition("://")
    if separator and scheme not in {"redis", "rediss"}:
        raise ValueError("it must be host:port or begin with redis:// or rediss://")
    try:
        parts = urlsplit(endpoint if separator else f"redis://{endpoint}")
        node = parts.hostname or "localhost", parts.port or 6379
        query = parse_qs(parts.query)
        db = int(parts.path.strip("/") or query.get("db", ["0"])[0])
    except ValueError:
        raise ValueError("it is no address") from None
    return RedisPlace(
        [node],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        db,
        scheme == "rediss",
        query.get("ssl_ca_certs", [""])[0],
    )


def _options(place: RedisPlace, silence: float) -> dict[str, Any]:
    tls = {"ssl": True, "ssl_check_hostname": True, "ssl_ca_certs": place.ca_file or None} if place.tls else {}
    return {
        "username": place.username or None,
        "password": place.password or None,
        "protocol": 2,  # which every server speaks
        "socket_timeout": silence,
        "socket_connect_timeout": silence,
        **tls,
    }


def _retry(times: int) -> Any:
    """At once, for a connection that has become old; by default the library waits for seconds."""
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError
    from redis.retry import Retry

    return Retry(NoBackoff(), times, (ConnectionError,))
