"""The page of what is being fetched now."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen
from twisted.web.template import Tag, tags

from athensd.steps import Step
from athensd.web.html.page import frame, moment

ROOT = "./"
MOST = 100
"""So many fetches are shown, those that take longest."""
REFRESH = 5
"""Every so many seconds the page comes anew, if it is to."""
FETCHES = {"fetch", "pass"}
QUESTIONS = {"origin.list", "origin.resolve"}
_FETCH_KEY = re.compile("fetch ([^ @]+)@([^ ]+) ([a-z]+)")
"""The key of the flight of a fetch: the path, the version, the file."""
_STAGES = {
    "queue": "waits for its turn at {origin}",
    "origin.list": "asks {origin}",
    "origin.resolve": "asks {origin}",
    "origin.fetch": "comes from {origin}",
    "go": "the go command works on it",
    "verify": "is verified",
    "sumdb": "is looked up in {database}",
    "storage.put": "is stored",
    "index.add": "is put into the index",
}


@frozen
class Fetch:
    """What is being fetched: ``file`` is that of a version (``zip``), or the ``list`` of a module, or a ``query``.

    So many ``askers`` wait for it, as far as is known.
    """

    path: str
    version: str
    file: str
    seconds: float
    stage: str
    askers: int = 0


def fetches(steps: Sequence[Step], now: float) -> list[Fetch]:
    """What these open steps, the oldest first, say of it at ``now``, a time of ``time.perf_counter`` (pure)."""
    askers = Counter(str(step.facts["key"]) for step in steps if step.name == "flight")
    stages = {_about(step): (place, _said(step)) for place, step in enumerate(steps) if step.name in _STAGES}
    found = []
    for step in steps:
        path, version = str(step.facts.get("module")), str(step.facts.get("version", ""))
        seconds = now - step.began
        if step.name in FETCHES:
            file = str(step.facts["kind"])
            # The step that was begun last says what is being done.
            of_file, of_version = (stages.get((path, version, kind), (-1, "begins")) for kind in (file, ""))
            stage = max(of_file, of_version)[1]
            found.append(Fetch(path, version, file, seconds, stage, askers[f"{step.name} {path}@{version} {file}"]))
        elif step.name == "lease" and (key := _FETCH_KEY.fullmatch(str(step.facts["key"]))):
            found.append(Fetch(key[1], key[2], key[3], seconds, "waits for other instances", askers[key[0]]))
        elif step.name in QUESTIONS or (step.name == "queue" and "module" in step.facts and "kind" not in step.facts):
            found.append(Fetch(path, version, "query" if version else "list", seconds, _said(step)))
    return found


def _about(step: Step) -> tuple[str, str, str]:
    """The module and version that a step is about, and the file, where its like are begun for each by itself."""
    facts = step.facts
    kind = facts.get("kind", "") if step.name in {"queue", "origin.fetch"} else ""
    return str(facts.get("module", "")), str(facts.get("version", "")), str(kind)


def _said(step: Step) -> str:
    return _STAGES[step.name].format_map({"origin": "", "database": "", **step.facts})


@frozen
class Now:
    """What is on it: fetches that may be seen, as they were at ``when``; ``refresh`` has it come anew by itself."""

    fetches: Sequence[Fetch]
    when: datetime
    refresh: bool


def now_page(now: Now) -> Tag:
    """The whole page."""
    count = len(now.fetches)
    return frame(
        f"{count} being fetched - athensd",
        ROOT,
        tags.h1("Being fetched now"),
        tags.p("As it was at ", moment(now.when, seconds=True), ". ", *_refresh(now), class_="less"),
        *(_list(now) if count else [tags.p("Nothing is being fetched.", class_="empty")]),
        refresh=REFRESH if now.refresh else 0,
        here="now",
    )


def _refresh(now: Now) -> Iterator[Any]:
    if now.refresh:
        yield f"It comes anew every {REFRESH} seconds. "
        yield tags.a("Let it stand", href=f"{ROOT}now")
    else:
        yield tags.a("Look again", href=f"{ROOT}now")
        yield " or "
        yield tags.a(f"every {REFRESH} seconds", href=f"{ROOT}now?refresh=1")


def _list(now: Now) -> Iterator[Any]:
    longest = sorted(now.fetches, key=lambda fetch: -fetch.seconds)
    yield tags.ul(*(tags.li(*_fetch(fetch, now.when)) for fetch in longest[:MOST]), class_="plain rows", id="fetches")
    if len(longest) > MOST:
        yield tags.p(f"{len(longest) - MOST} more are not shown.", class_="less")


def _fetch(fetch: Fetch, when: datetime) -> Iterator[Any]:
    name = f"{fetch.path}@{fetch.version}" if fetch.version else fetch.path
    yield tags.strong(name)
    yield " "
    yield tags.span(fetch.file, class_="tag")
    began = moment(when - timedelta(seconds=fetch.seconds), seconds=True)
    waiting = f"; {fetch.askers} wait for it" if fetch.askers > 1 else ""
    yield tags.p(f"{fetch.stage}, {duration(fetch.seconds)} so far (since ", began, f"){waiting}", class_="less")


def duration(seconds: float) -> str:
    """Seconds, as people read them."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s"
