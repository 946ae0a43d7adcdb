"""Where a database is asked, over HTTP on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from athensd.checksums.source import SMALL, Place, Source
from athensd.errors import Forbidden, NotFound, TimedOut, UpstreamFailed, VerificationFailed
from athensd.flight.memory import MemoryFlight
from tests.origin.fakes_http import Room, answer, silent, table
from tests.rig.sumdb import Server

NAME = "sum.example.test"
SUPPORTED = f"/sumdb/{NAME}/supported"
LATEST = f"/sumdb/{NAME}/latest"
NOBODY = Place("http://127.0.0.1:9")


def source(room: Room, direct: Place, *proxies: Place, clock: Any = None, **settings: Any) -> Source:
    clock = clock or Clock()
    return Source(NAME, direct, room.transfer(), MemoryFlight(), reactor, clock.seconds, proxies=proxies, **settings)


@ensureDeferred
async def test_a_database_with_a_url(room: Room, server: Server) -> None:
    """It is asked there, below whatever path the URL has, and nobody else is."""
    found = await source(room, Place(server.url)).ask("latest", SMALL)
    assert found == server.database.head()
    assert server.asked == ["/latest"]


@ensureDeferred
async def test_the_first_proxy_that_has_it(room: Room, server: Server) -> None:
    """Proxies are asked in their order; the one that offers the database is asked from then on."""
    without = [room.serve(answer(status=status)) for status in (404, 410)]
    asks = source(room, NOBODY, *(Place(each.url) for each in without), Place(server.url), NOBODY)
    for _ in range(2):
        assert await asks.ask("latest", SMALL) == server.database.head()
    assert [each.targets for each in without] == [[SUPPORTED], [SUPPORTED]]
    assert server.asked == [SUPPORTED, LATEST, LATEST]


@ensureDeferred
async def test_no_proxy_has_it(room: Room, server: Server) -> None:
    """When none offers it, the database is asked itself; that is remembered too."""
    without = room.serve(answer(status=404))
    asks = source(room, Place(server.url), Place(without.url))
    for _ in range(2):
        await asks.ask("latest", SMALL)
    assert (without.targets, server.asked) == ([SUPPORTED], ["/latest", "/latest"])


@ensureDeferred
async def test_a_proxy_that_fails(room: Room, server: Server) -> None:
    """It is not passed over, as the database's own server may learn more than it should; unless ``|`` says so."""
    failing = room.serve(answer(status=500))
    asks = source(room, NOBODY, Place(failing.url), Place(server.url))
    for _ in range(2):
        with pytest.raises(UpstreamFailed, match="not known where the checksum database can be asked"):
            await asks.ask("latest", SMALL)
    assert (failing.targets, server.asked) == ([SUPPORTED, SUPPORTED], [])
    await source(room, NOBODY, Place(failing.url, after_any_error=True), Place(server.url)).ask("latest", SMALL)
    assert server.asked == [SUPPORTED, LATEST]


@ensureDeferred
async def test_it_is_found_out_again(room: Room, server: Server) -> None:
    """Who has the database is asked anew after an hour, and after a failure."""
    clock = Clock()
    asks = source(room, NOBODY, Place(server.url), clock=clock)
    await asks.ask("latest", SMALL)
    clock.advance(3600)
    await asks.ask("latest", SMALL)
    assert server.asked.count(SUPPORTED) == 2
    server.faults["latest"] = 500
    with pytest.raises(UpstreamFailed):
        await asks.ask("latest", SMALL)
    server.faults = {}
    await asks.ask("latest", SMALL)
    assert server.asked.count(SUPPORTED) == 3


@ensureDeferred
async def test_many_ask_once_where(room: Room, server: Server) -> None:
    """Who has it is asked by the first one, for all."""
    asks = source(room, NOBODY, Place(server.url))
    await gatherResults([Deferred.fromCoroutine(asks.ask("latest", SMALL)) for _ in range(10)])
    assert server.asked.count(SUPPORTED) == 1


@ensureDeferred
async def test_what_goes_out(room: Room) -> None:
    """A proxy is given its own credentials and the database none; nothing else is said than what is asked."""
    proxy = room.serve(table({SUPPORTED: answer(), f"/sumdb/{NAME}/lookup/example.test/!big@v1.0.0+x": answer(b"1")}))
    await source(room, NOBODY, Place(proxy.url, "Basic secret")).ask("lookup/example.test/!big@v1.0.0+x", SMALL)
    assert [asked.headers.get("authorization") for asked in proxy.asked] == ["Basic secret"] * 2
    assert {name for asked in proxy.asked for name in asked.headers} == {
        "host",
        "user-agent",
        "accept-encoding",
        "authorization",
    }
    assert "secret" not in repr(Place(proxy.url, "Basic secret"))


@ensureDeferred
@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (410, NotFound), (403, Forbidden), (500, UpstreamFailed)]
)
async def test_refusals(room: Room, server: Server, status: int, error: type[Exception]) -> None:
    """ "Not there" and "could not find out" are told apart."""
    server.faults["lookup"] = status
    with pytest.raises(error, match=f"{NAME}/lookup/x"):
        await source(room, Place(server.url)).ask("lookup/x", SMALL)


@ensureDeferred
async def test_bounds(room: Room, server: Server) -> None:
    """An answer may be so long and take so long, and no more."""
    with pytest.raises(VerificationFailed):
        await source(room, Place(server.url)).ask("latest", 10)
    mute = room.serve(silent())
    with pytest.raises(TimedOut, match=rf"asking for {NAME}/latest took longer than 0\.1 seconds"):
        await source(room, Place(mute.url), timeout=0.1).ask("latest", SMALL)
