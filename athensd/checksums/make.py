"""The checksum databases that the settings name: those for clients, and the one that we ask ourselves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime

from athensd.checksums.cache import Cache
from athensd.checksums.database import Database, ProvenDatabase, UnprovenDatabase
from athensd.checksums.served import Served, parse_sumdbs
from athensd.checksums.source import Asks, Gets, NoSource, Place, Source
from athensd.interfaces import IFlight
from athensd.spool import Spool
from athensd.sumdb.names import parse_gosumdb
from athensd.sumdb.note import Verifier


@frozen
class World:
    """What databases need: ``proxies`` are asked first, in their order; ``None``: nobody may be asked."""

    root: Path
    spool: Spool
    gets: Gets
    flight: IFlight
    clock: IReactorTime
    in_thread: Callable[..., Awaitable[Any]]
    proxies: Sequence[Place] | None


def make_databases(
    sumdbs: Sequence[str], gosumdb: str, fresh: float, world: World
) -> tuple[Mapping[str, Database], ProvenDatabase | None]:
    """The databases of the setting ``SumDBs`` by their names, and that of ``GOSUMDB``, ``None`` when that is off.

    The newest head of each is asked for when it is older than ``fresh`` seconds.  Raises ``ValueError`` when a setting
    cannot be used.
    """
    wanted = parse_sumdbs(sumdbs)
    ours = parse_gosumdb(gosumdb)
    same = wanted.get(ours.name) if ours else None
    if ours is not None and same is not None:
        if same.verifier not in {None, ours.verifier}:
            raise ValueError(f"SumDBs and GOSUMDB have different keys for {ours.name}")
        wanted[ours.name] = evolve(same, verifier=ours.verifier)
    served = {name: _database(each, fresh, world) for name, each in wanted.items()}
    if ours is None:
        return served, None
    shared = served.get(ours.name)
    if isinstance(shared, ProvenDatabase):
        return served, shared
    return served, _proven(ours.verifier, _source(Served(ours.name, ours.url), world), fresh, world)


def make_carried(name: str, sumdbs: Sequence[str], gosumdb: str, source: Asks, world: World) -> ProvenDatabase | None:
    """The database of this name, asked at ``source``; ``None`` when neither setting has its key.

    Raises ``ValueError`` when a setting cannot be used.
    """
    served, ours = parse_sumdbs(sumdbs).get(name), parse_gosumdb(gosumdb)
    known = ours if ours and ours.name == name else served
    return _proven(known.verifier, source, 0, world) if known and known.verifier else None


def _database(served: Served, fresh: float, world: World) -> Database:
    source = _source(served, world)
    return _proven(served.verifier, source, fresh, world) if served.verifier else UnprovenDatabase(served.name, source)


def _proven(verifier: Verifier, source: Asks, fresh: float, world: World) -> ProvenDatabase:
    return ProvenDatabase(
        verifier,
        source,
        Cache(world.root / verifier.name, world.spool),
        world.flight,
        world.in_thread,
        time.monotonic,
        fresh=fresh,
    )


def _source(served: Served, world: World) -> Asks:
    if world.proxies is None:
        return NoSource()
    return Source(
        served.name,
        Place(served.url or f"https://{served.name}"),
        world.gets,
        world.flight,
        world.clock,
        time.monotonic,
        # One with a URL is asked there, and nowhere else.
        proxies=() if served.url else world.proxies,
    )
