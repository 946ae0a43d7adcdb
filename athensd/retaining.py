"""Wiring of what bounds the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from athensd.checksums.verifier import Exempt
from athensd.config.settings import Config
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IFlight, IOrigin, IStorage
from athensd.policy.download_mode import DownloadModes
from athensd.policy.revoked import Revoked
from athensd.retention.bounded import BoundedStorage
from athensd.retention.reasons import Pins, Reasons, parse_pins
from athensd.startup import Unusable
from athensd.stores import Ground


class SaysWhatIsFetched(Protocol):
    """What is fetched when it is asked for."""

    @property
    def modes(self) -> DownloadModes: ...

    @property
    def revoked(self) -> Revoked: ...


@frozen
class Private:
    """The paths of modules that are not everybody's: those of which no public server is told."""

    exempt: Exempt
    gonoproxy: str

    def __contains__(self, path: object) -> bool:
        return path in self.exempt or matches(self.gonoproxy, str(path))


def read_pins(config: Config) -> Pins:
    """What is never evicted.  Raises ``Unusable``."""
    try:
        return parse_pins(config.storage_pinned)
    except ValueError as error:
        raise Unusable(f"StoragePinned: {error}") from error


def make_reasons(
    config: Config,
    go_settings: Mapping[str, str],
    storage: IStorage,
    origin: IOrigin,
    exempt: Exempt,
    rules: Callable[[], SaysWhatIsFetched],
    clock: IReactorTime,
) -> Reasons:
    """Why zips stay, by the settings; ``rules`` are those of the time when it is asked."""

    def fetched(version: ModuleVersion) -> bool:
        now = rules()
        if config.network_mode == "offline" or now.revoked.of(version.path, version.version):
            return False
        return now.modes.of(version.path).mode.fetches_at_once

    return Reasons(storage, origin, read_pins(config), Private(exempt, go_settings["GONOPROXY"]), fetched, clock)


def make_bounded(
    config: Config, reasons: Reasons, ground: Ground, local: IFlight, changed: Callable[[str], None]
) -> BoundedStorage | None:
    """The store of the reasons within its bound, if it has one.

    ``local`` are the flights of this process, ``changed`` is told of modules.
    """
    if not config.storage_max_bytes:
        return None
    return BoundedStorage(
        reasons.storage,
        reasons,
        clock=ground.reactor,
        flight=local,
        in_thread=ground.in_thread,
        max_bytes=config.storage_max_bytes,
        changed=changed,
    )
