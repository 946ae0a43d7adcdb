"""Leases in etcd, by the JSON form of its API: a key with a lease of etcd's own, made only if it is absent."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from athensd.blob import BytesBlob
from athensd.errors import StorageFailed
from athensd.interfaces import ILeases
from athensd.streams import Broken, exchange, read_bounded

_LARGEST = 100_000  # bytes of an answer; they have some hundred
_HEADERS = {"Content-Type": "application/json", "User-Agent": "athensd"}
Answer = Mapping[str, Any]


@implementer(ILeases)
class EtcdLeases:
    """The members of one cluster at ``urls``, of which the first that answers within ``silence`` seconds is asked.

    ``client`` is a ``plain_client``.  What is not given back is removed by etcd.
    """

    def __init__(self, urls: Sequence[str], client: HTTPClient, clock: IReactorTime, *, silence: float = 2.0) -> None:
        self._urls = urls
        self._client = client
        self._clock = clock
        self._silence = silence
        self._first = 0

    async def take(self, key: str, holder: str, seconds: float) -> bool:
        found, lease = await self._find(key)
        if found:
            return found == _base64(holder) and await self._renewed(lease)
        lease = _text(await self._ask("lease/grant", {"TTL": ceil(seconds)}), "ID")
        if not lease:
            raise StorageFailed("etcd answers something else")
        if await self._made(key, holder, lease):
            return True
        await self._ask("lease/revoke", {"ID": lease})
        return False

    async def give_back(self, key: str, holder: str) -> None:
        found, lease = await self._find(key)
        if found == _base64(holder):
            # The key goes with its lease, which nobody else's key has.
            await self._ask("lease/revoke", {"ID": lease})

    async def _find(self, key: str) -> tuple[str, str]:
        """Who has the key, and by which lease; empty when nobody has it."""
        kvs = (await self._ask("kv/range", {"key": _name(key)})).get("kvs")
        if not isinstance(kvs, list) or not kvs:
            return "", ""
        return _text(kvs[0], "value"), _text(kvs[0], "lease")

    async def _made(self, key: str, holder: str, lease: str) -> bool:
        absent = {"key": _name(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
        put = {"request_put": {"key": _name(key), "value": _base64(holder), "lease": lease}}
        return (await self._ask("kv/txn", {"compare": [absent], "success": [put]})).get("succeeded") is True

    async def _renewed(self, lease: str) -> bool:
        answer = (await self._ask("lease/keepalive", {"ID": lease})).get("result", {})
        return _text(answer, "TTL") not in {"", "0"}

    async def _ask(self, path: str, question: Answer) -> Answer:
        """The answer of the first member that gives one; an empty one for a lease that has ended."""
        failure = StorageFailed("there is no etcd to ask")
        for at in range(self._first, self._first + len(self._urls)):
            try:
                answer = await self._ask_one(f"{self._urls[at % len(self._urls)]}/v3/{path}", question)
            except (StorageFailed, CancelledError) as error:
                # The next question begins with another member, also when nobody waited for this one to be silent.
                self._first = (at + 1) % len(self._urls)
                if isinstance(error, CancelledError):
                    raise
                failure = error
            else:
                return answer
        raise failure

    async def _ask_one(self, url: str, question: Answer) -> Answer:
        try:
            return await self._send(url, question)
        except Broken:
            # The connection may have been an old one.  Asked twice, nothing here does harm.
            return await self._send(url, question)

    async def _send(self, url: str, question: Answer) -> Answer:
        body = BytesBlob(json.dumps(question).encode())
        response = await exchange(self._client, self._clock, "POST", url, _HEADERS, blob=body, idle=self._silence)
        text = await read_bounded(response, _LARGEST, self._silence, self._clock)
        if response.code == 404:
            return {}
        if response.code != 200:
            raise StorageFailed(f"etcd refuses ({response.code})")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise StorageFailed("etcd answers something else")
        return answer


def etcd_urls(endpoints: str) -> list[str]:
    """``SingleFlight.Etcd.Endpoints``: addresses with commas between them, by plain HTTP unless they say ``https``.

    Raises ``ValueError`` when there is none.
    """
    urls = [each.strip().rstrip("/") for each in endpoints.split(",") if each.strip()]
    if not urls:
        raise ValueError("there is no address")
    return [url if "://" in url else f"http://{url}" for url in urls]


def _name(key: str) -> str:
    return _base64(f"athensd/{key}")


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _text(answer: Any, name: str) -> str:
    """A value of an answer, in which long numbers are text."""
    return str(answer.get(name, "")) if isinstance(answer, dict) else ""
