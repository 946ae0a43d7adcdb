"""Wiring of what answers: the five verbs, with all that stands before and behind them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from treq.client import HTTPClient

from athensd.ahead import Ahead
from athensd.checksums.quarantine import Quarantine
from athensd.config.settings import Config
from athensd.flight.memory import MemoryFlight
from athensd.flight.watched import WatchedFlight
from athensd.freshness import Freshness
from athensd.gate import Gate, Validate, allow
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IFlight, IIndex, IOrigin, IStorage
from athensd.misses import Misses
from athensd.passing import Passing
from athensd.policy.revoked import Revoked
from athensd.proxy import Network, Proxy
from athensd.startup import Rules, tombstone_file
from athensd.stash import Fetches, Stash, Sums
from athensd.storage.nothing import NoStorage
from athensd.stores import Ground
from athensd.tombstones import TombstoneWatch
from athensd.validator import Validator

Act = Callable[[ModuleVersion], None]


@frozen
class Parts:
    """What the verbs are made of.

    ``local`` are the flights of this process, ``shared`` those of all instances.  ``changed`` is told of each module of
    which something was stored or is revoked.  ``everywhere`` has what is done about a version done by all workers.
    ``looks_ahead``: what will be asked for next is fetched.  ``heavy`` calls in a thread what takes a processor for a
    while.
    """

    storage: IStorage
    index: IIndex
    origin: IOrigin
    sums: Sums
    local: IFlight
    shared: IFlight
    client: HTTPClient
    changed: Callable[[str], None]
    everywhere: Callable[[str, Act], Act]
    looks_ahead: bool
    heavy: Callable[..., Awaitable[Any]]


@frozen
class Answering:
    """What answers, what SIGHUP changes of it, and what begins and ends it."""

    gate: Gate
    misses: Misses
    freshness: Freshness
    start: Sequence[Callable[[], None]]
    stop: Sequence[Callable[[], None]]


def make_answering(
    config: Config, go_settings: Mapping[str, str], rules: Rules, parts: Parts, ground: Ground
) -> Answering:
    """The verbs as the settings want them."""
    freshness = _freshness(config, parts.local, parts.changed)

    def published(version: ModuleVersion) -> None:
        freshness.learn(version)
        parts.changed(version.path)

    def wanted(version: ModuleVersion) -> bool:
        public = not matches(go_settings["GONOPROXY"], version.path)
        return public and misses.fetches(version.path) and gate.keeps(version)

    stash = Stash(
        storage=parts.storage,
        origin=parts.origin,
        index=parts.index,
        flight=parts.shared,
        spool=ground.spool,
        clock=ground.reactor,
        in_thread=parts.heavy,
        published=parts.everywhere("stored", published),
        sums=parts.sums,
        timeout=config.stash_timeout,
        set_aside=Quarantine(parts.storage, ground.store_place / "quarantine", ground.in_thread).set_aside,
    )
    ahead = Ahead(stash, parts.storage, wanted)
    misses = Misses(ahead if parts.looks_ahead else stash, rules.modes, rules.revoked)
    # What is not to be stored has a memory and flights of its own: the same questions have other answers there.
    flight = MemoryFlight()
    watched = WatchedFlight(flight)
    passing = Passing(parts.origin, watched, ground.spool, ground.reactor, config.stash_timeout)
    gate = Gate(
        _proxy(config, parts.storage, parts.origin, misses, freshness, ground),
        rules.filter,
        _proxy(config, NoStorage(), parts.origin, passing, _freshness(config, watched, parts.changed), ground),
        config.global_endpoint.rstrip("/") if config.filter_direct == "redirect" else "",
        _validate(config, parts.client, ground.reactor),
        rules.revoked,
    )

    def revoke(revoked: Revoked) -> None:
        paths = {stone.version.path for stone in (*gate.revoked, *revoked)}
        gate.revoked = misses.revoked = revoked
        for path in paths:
            parts.changed(path)

    file = tombstone_file(config)
    watches = [TombstoneWatch(file, ground.reactor, ground.in_thread, revoke)] if file else []
    return Answering(
        gate,
        misses,
        freshness,
        start=[watch.start for watch in watches],
        stop=[*(watch.stop for watch in watches), ahead.stop, flight.stop],
    )


def _proxy(
    config: Config, storage: IStorage, origin: IOrigin, stash: Fetches, freshness: Freshness, ground: Ground
) -> Proxy:
    return Proxy(
        storage=storage,
        origin=origin,
        stash=stash,
        freshness=freshness,
        clock=ground.reactor,
        timeout=config.timeout,
        network=Network(config.network_mode),
    )


def _freshness(config: Config, flight: IFlight, changed: Callable[[str], None]) -> Freshness:
    return Freshness(
        flight,
        time.monotonic,
        fresh=config.list_fresh,
        stale=config.list_stale,
        absent=config.not_found_fresh,
        changed=changed,
    )


def _validate(config: Config, client: HTTPClient, reactor: Any) -> Validate:
    if not config.validator_hook:
        return allow
    return Validator(
        config.validator_hook,
        client,
        reactor,
        time.monotonic,
        timeout=config.validator_timeout,
        fresh=config.validator_fresh,
    ).check
