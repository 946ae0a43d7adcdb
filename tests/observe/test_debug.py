"""/debug: what it shows of a process that is busy."""

from __future__ import annotations

import json
import os
import pstats
import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import treq
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.web.client import HTTPConnectionPool

from athensd.observe.debug import LONGEST_PROFILE, DebugListener
from athensd.observe.underway import UnderWay
from athensd.steps import Step, step, watch


@contextmanager
def watched() -> Iterator[UnderWay]:
    """The open steps while this lasts."""
    under_way = UnderWay()
    watch(under_way)
    try:
        yield under_way
    finally:
        watch()


class Debug:
    """A listener on a free port of loopback, and how to ask it."""

    def __init__(self, listener: DebugListener, url: str) -> None:
        self.listener = listener
        self.url = url

    def ask(self, page: str) -> Deferred[Any]:
        """The response."""
        pool = HTTPConnectionPool(reactor, persistent=False)
        return treq.get(self.url + page, pool=pool, timeout=20, allow_redirects=False)

    async def text(self, page: str) -> str:
        """A page that is there."""
        response = await self.ask(page)
        assert response.code == 200
        assert response.headers.getRawHeaders("content-type") == ["text/plain; charset=utf-8"]
        return str(await response.text())


@asynccontextmanager
async def debugging(under_way: UnderWay | None = None, **counts: Callable[[], int]) -> AsyncIterator[Debug]:
    """One that is served, and stopped at the end."""
    listener = DebugListener(reactor, "127.0.0.1", 0, under_way or UnderWay(), counts)
    with capture_logs() as lines:
        listener.start()
    [line] = lines
    assert (line["event"], line["log_level"]) == ("/debug is served", "info")
    try:
        yield Debug(listener, line["url"])
    finally:
        await listener.stop()


def fail() -> None:
    raise ZeroDivisionError


def test_steps_under_way() -> None:
    """A step is under way from when it begins to when it ends, however that is; the oldest comes first."""
    with watched() as under_way:
        with step("fetch", module="a") as fetch:
            this = Step("request", {}).open()
            assert under_way.steps() == [fetch, this]
            with suppress(ZeroDivisionError), step("verify") as verify:
                assert under_way.steps() == [fetch, this, verify]
                fail()
            this.close()
            assert under_way.steps() == [fetch]
        assert under_way.steps() == []


def test_a_step_that_began_before_anybody_watched() -> None:
    """It ends like another."""
    early = Step("fetch", {}).open()
    with watched() as under_way:
        early.close()
        assert under_way.steps() == []


@ensureDeferred
async def test_the_page_of_steps() -> None:
    """Each has a line with how long it has been under way, and with what is known of it; nothing in it is obeyed."""
    with watched() as under_way:
        with step("fetch", module="example.test/a", version="") as fetch, step("go", arguments="mod\x1b[31m down"):
            fetch.began -= 100
            async with debugging(under_way) as debug:
                first, second = (await debug.text("steps")).splitlines()
    assert re.fullmatch(r" +100\.\d{3} s  fetch +module=example.test/a", first)
    assert re.fullmatch(r" +0\.\d{3} s  go +arguments='mod\\x1b\[31m down'", second)


@ensureDeferred
async def test_the_steps_as_json() -> None:
    """The same for a program."""
    with watched() as under_way:
        with step("fetch", module="example.test/a", bytes=1) as fetch:
            fetch.began -= 100
            async with debugging(under_way) as debug:
                [row] = json.loads(await debug.text("steps?format=json"))
    assert 100 <= row.pop("seconds") < 120
    assert row == {"step": "fetch", "module": "example.test/a", "bytes": 1}


@ensureDeferred
async def test_counts_are_those_of_now() -> None:
    """A number is asked for when somebody looks."""
    queue: list[int] = []
    async with debugging(queue=lambda: len(queue)) as debug:
        assert await debug.text("counts") == "         0  queue\n"
        queue += [1, 2]
        assert await debug.text("counts") == "         2  queue\n"


@ensureDeferred
async def test_children_and_theirs() -> None:
    """Processes under this one are shown by name, not by their arguments, which may hold a password."""
    script = 'sleep 60 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; echo; wait'
    with subprocess.Popen(["sh", "-c", script, "sekret"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        async with debugging() as debug:
            text = await debug.text("children")
        [grandchild] = re.findall(r"(?m)^ *(\d+) .*  {3}sleep$", text)
        os.kill(int(grandchild), 9)
    assert re.search(rf"(?m)^ *{child.pid} .* s .* MB  sh$", text)
    assert "sekret" not in text
    assert str(os.getpid()) not in text.split()


async def inner_wait(deferred: Deferred[None]) -> None:
    await deferred


async def outer_wait(deferred: Deferred[None]) -> None:
    await inner_wait(deferred)


@ensureDeferred
async def test_stacks() -> None:
    """Where each thread is; and where coroutines wait, counted if it is the same place."""
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait, name="idler")
    thread.start()
    deferreds: list[Deferred[None]] = [Deferred() for _ in range(3)]
    waiting = [Deferred.fromCoroutine(outer_wait(deferred)) for deferred in deferreds]
    async with debugging() as debug:
        text = await debug.text("stacks")
    go_on.set()
    thread.join()
    for deferred in deferreds:
        deferred.callback(None)
    for each in waiting:
        await each
    assert re.search(r"thread idler\n(  .*\n)+.*in wait\n", text)
    assert "thread MainThread\n" in text
    assert re.search(r"3 x coroutine\n  File .*, in outer_wait\n  File .*, in inner_wait\n\n", text + "\n")


@ensureDeferred
async def test_memory() -> None:
    """How much there is, and on demand of what."""

    class Peculiar:
        pass

    kept = [[Peculiar()] for _ in range(10_000)]
    async with debugging() as debug:
        assert "Peculiar" not in await debug.text("memory")
        text = await debug.text("memory?types=1")
    assert re.search(r"(?m)^ +[1-9]\d*\.\d  MB resident$", text)
    assert re.search(r"(?m)^ +1\d{4}  .*Peculiar$", text)
    assert len(kept) == 10_000


def busy_here(until: float) -> None:
    while time.monotonic() < until:
        pass


def profiles(debug: Debug) -> bool:
    """Whether a profile is being taken."""
    return debug.listener._profile._profile is not None


async def until(true: Callable[[], bool]) -> None:
    """Wait for something, 10 seconds at most."""
    for _ in range(1000):
        if true():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it never came true")


async def long_profile(debug: Debug) -> Deferred[Any]:
    """Ask for one, and wait until it is being taken."""
    asked = debug.ask("profile?seconds=50")
    asked.addErrback(lambda failure: None)
    await until(lambda: profiles(debug))
    return asked


async def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy_here(time.monotonic() + 0.01)
        await deferLater(reactor, 0.001)


@ensureDeferred
async def test_a_profile() -> None:
    """It shows what the reactor's thread did while it was taken, and only then."""
    async with debugging() as debug:
        asked = debug.ask("profile?seconds=0.3")
        await busy(0.5)
        text = await (await asked).text()
        assert text.startswith("0.3 seconds, in which this process used 0.")
        assert "(busy_here)" in text
        assert "(busy_here)" not in await debug.text("profile?seconds=0.05")


@ensureDeferred
async def test_a_profile_for_pstats(tmp_path: Path) -> None:
    """The file is one that Python's own tool reads."""
    async with debugging() as debug:
        asked = debug.ask("profile?seconds=0.2&format=pstats")
        await busy(0.4)
        response = await asked
        (tmp_path / "profile").write_bytes(await response.content())
    assert response.headers.getRawHeaders("content-type") == ["application/octet-stream"]
    functions = pstats.Stats(str(tmp_path / "profile")).get_stats_profile().func_profiles
    assert "busy_here" in functions


@ensureDeferred
async def test_one_profile_at_a_time() -> None:
    """Who comes second is told so; when the first has left, which ends its profile, it is his turn."""
    async with debugging() as debug:
        first = await long_profile(debug)
        response = await debug.ask("profile?seconds=0.01")
        assert response.code == 409
        assert await response.text() == "a profile is being taken already; come back later\n"
        first.cancel()
        await until(lambda: not profiles(debug))
        assert (await debug.ask("profile?seconds=0.01")).code == 200


@ensureDeferred
async def test_profiles_of_no_length() -> None:
    """A length that makes no sense is refused."""
    async with debugging() as debug:
        for seconds in ("0", "-1", "nan", "inf", "ten", str(LONGEST_PROFILE + 1)):
            response = await debug.ask(f"profile?seconds={seconds}")
            assert (response.code, await response.text()) == (400, "seconds must be more than 0 and at most 60\n")


@ensureDeferred
async def test_the_index_leads_to_every_page() -> None:
    """Each link of the index is a page."""
    async with debugging() as debug:
        response = await debug.ask("")
        assert response.headers.getRawHeaders("content-type") == ["text/html; charset=utf-8"]
        links = re.findall(r'href="/debug/([^"]+)"', await response.text())
        assert len(links) == 9
        for link in links:
            page = link.replace("&amp;", "&").replace("seconds=10", "seconds=0.01")
            page = page.replace("profile?format", "profile?seconds=0.01&format")
            assert (await debug.ask(page)).code == 200


@ensureDeferred
async def test_all_ways_lead_to_the_index() -> None:
    """What is no page, such as one of Athens', leads to where the pages are named."""
    async with debugging() as debug:
        for page in ("..", "../debug", "pprof/heap", "nothing"):
            response = await debug.ask(page)
            assert (response.code, response.headers.getRawHeaders("location")) == (302, ["/debug/"])


@ensureDeferred
async def test_a_port_that_is_taken() -> None:
    """It costs one warning with the address and the reason, and stopping works all the same."""
    taken: Any = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    port = taken.getHost().port
    listener = DebugListener(reactor, "127.0.0.1", port, UnderWay(), {})
    with capture_logs() as lines:
        listener.start()
        await listener.stop()
    await taken.stopListening()
    assert lines == [
        {
            "event": "/debug is not served",
            "log_level": "warning",
            "address": f"127.0.0.1:{port}",
            "reason": "Address already in use",
        }
    ]


@ensureDeferred
async def test_stopping_ends_a_profile() -> None:
    """Whoever waits for one is not waited for."""
    async with debugging() as debug:
        asked = await long_profile(debug)
        await debug.listener.stop()
        assert not profiles(debug)
        asked.cancel()
