"""The verb that makes a store smaller."""

from __future__ import annotations

from typing import Any

import click

from athensd.cli.stores import Judges, opened
from athensd.gomod.pattern import matches
from athensd.interfaces import IEvictable
from athensd.retaining import make_reasons
from athensd.startup import Unusable, read_configuration, read_rules
from athensd.upkeep.evicting import Evictor
from athensd.upkeep.tally import Tally

STILL_TOO_LARGE = 1


async def evict_zips(
    reactor: Any, *, config_file: str | None, to: int | None, patterns: str, dry_run: bool, jobs: int
) -> int:
    """``athensd evict``."""
    config = read_configuration(config_file)
    most = config.storage_max_bytes if to is None else to
    if to is None and not most:
        raise Unusable("the store has no bound: say --to BYTES, or set StorageMaxBytes")
    rules = read_rules(config)
    with opened(reactor, config) as store:
        if not IEvictable.providedBy(store.storage):
            raise Unusable(f'nothing can be evicted from a store of StorageType "{config.storage_type}"')
        judges = Judges(store)
        async with judges.origin() as origin:
            reasons = make_reasons(
                config, judges.go_settings, store.storage, origin, judges.exempt(), lambda: rules, reactor
            )
            tally = Tally(click.echo)
            evictor = Evictor(
                store.storage, reasons, tally, lambda path: not patterns or matches(patterns, path), jobs, dry_run
            )
            left = await evictor.evict(most)
    click.echo(f"{tally}, bytes {'that would be ' if dry_run else ''}left: {left} of {most}")
    return STILL_TOO_LARGE if left > most else 0
