"""What clients might send on a connection, well or badly made, and what is the same of all answers to it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.web.fakes import ESCAPED, VERSION, Daemon

INFO, MOD, ZIP = (f"{ESCAPED}/@v/{VERSION}.{kind}" for kind in ("info", "mod", "zip"))
LIST, LATEST, BRANCH = f"{ESCAPED}/@v/list", f"{ESCAPED}/@latest", f"{ESCAPED}/@v/main.info"
NOTHING = "/example.test/nothing/@v/list"
TAKEN = [INFO, MOD, ZIP, LIST, LATEST, BRANCH, NOTHING]
PLAIN = b"GET %b HTTP/1.1\r\nHost: proxy.test\r\n\r\n"


def warmed(daemon: Daemon) -> Daemon:
    """Each path of ``TAKEN`` twice: fetched, then found."""
    for path in TAKEN * 2:
        daemon.ask(path)
    return daemon


HEADERS = [
    *("Host: x", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip", "Range: bytes=0-4", "If-None-Match: *"),
    *("Connection: close", "Connection: keep-alive", "Content-Length: 0", "Content-Length: 3", "X:", "X: \xff", ": x"),
    *(
        "X : y",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Host: y",
        "X: a\tb",
        "X: \0",
        "no colon",
        " fold",
    ),
    *("Authorization: Basic eDp5", "Authorization:  Basic eDp5 ", "authorization: Bearer x", "Authorization:"),
    *("Disable-Module-Fetch: true", "Athens-Request-ID: fixed", "traceparent: x", "\u00e9: x", "A" * 5000 + ": x"),
]
LINES = ["GET %s HTTP/1.1"] * 12 + [
    *("HEAD %s HTTP/1.1", "GET %s HTTP/1.0", "POST %s HTTP/1.1", "get %s HTTP/1.1", "GET %s", "GET  %s HTTP/1.1"),
    *("GET %s HTTP/1.1 ", "GET %s HTTP/2.0", "GET %s?a=b HTTP/1.1", "GET http://x%s HTTP/1.1", "", "GET %s#f HTTP/1.1"),
]


def streams(count: int) -> Iterator[Sequence[bytes]]:
    """What clients might send on a connection, in the pieces in which it arrives."""
    chance = random.Random(7)
    for _ in range(count):
        data = b"".join(_request(chance) for _ in range(chance.choice((1, 1, 2, 3, 5))))
        cuts = sorted(chance.sample(range(len(data)), min(len(data) - 1, chance.choice((0, 0, 1, 2)))))
        cuts = [*cuts, *_ends(data)] if chance.random() < 0.6 else cuts
        places = pairwise([0, *sorted(set(cuts)), len(data)])
        yield [piece for first, last in places if (piece := data[first:last])]


def _request(chance: random.Random) -> bytes:
    line = chance.choice(LINES)
    line = line % chance.choice(TAKEN) if "%s" in line else line
    headers = ["Host: proxy.test"] * (chance.random() < 0.9)
    headers += chance.sample(HEADERS, chance.choice((0, 0, 0, 1, 2)))
    end = "\n" if chance.random() < 0.02 else "\r\n"
    return end.join([line, *headers, "", ""]).encode("latin-1")


def _ends(data: bytes) -> list[int]:
    """Where a request may end: most clients send the next one when the answer has come."""
    return [match.end() for match in re.finditer(rb"\r\n\r\n", data)]


def masked(raw: bytes) -> bytes:
    """Without what differs each time."""
    return re.sub(rb"(?i)(?<=date: )[^\r]*|(?<=request-id: )[0-9a-f]{32}|(?<=request id: )[0-9a-f]{32}", b"*", raw)
