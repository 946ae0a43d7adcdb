"""Wiring: the stores that the words of a command line name, and whom they are held against."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from treq.client import HTTPClient
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IAgent

from athensd.checksums.database import ProvenDatabase
from athensd.checksums.make import World, make_carried, make_databases
from athensd.checksums.quarantine import Quarantine
from athensd.checksums.source import Asks
from athensd.checksums.verifier import Exempt
from athensd.config.backends import Disk
from athensd.config.load import ConfigError, load
from athensd.config.settings import Config
from athensd.fetching import make_chain, make_credentials, make_exempt, outgoing, proxies
from athensd.flight.memory import MemoryFlight
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import ICatalog, IOrigin, IStorage
from athensd.origin.direct import DirectOrigin
from athensd.origin.go_process import GoCommand, launcher
from athensd.origin.leash import Leash
from athensd.origin.transfer import Transfer
from athensd.origin.turns import Turns
from athensd.origin.vcs_cache import VcsCache
from athensd.startup import GO_ACCESS, Unusable, ask_go, find_go, open_spools, read_configuration, work_places
from athensd.stores import Ground, make_bucket, make_storage
from athensd.streams import plain_client
from athensd.upkeep.inspection import Inspector
from athensd.upkeep.mending import Mender
from athensd.upkeep.source import catalog
from athensd.upkeep.sums import Sums


@frozen
class Store:
    """A store that is open, and what it stands on."""

    config: Config
    ground: Ground
    agent: IAgent
    storage: IStorage

    @property
    def folder(self) -> Path | None:
        """The directory that it is, if it is one."""
        return Path(self.config.storage.disk.root_path) if self.config.storage_type == "disk" else None

    def versions(self) -> AsyncIterator[ModuleVersion]:
        """Its complete versions.  Raises ``Unusable`` when it cannot name them."""
        if not ICatalog.providedBy(self.storage):
            raise Unusable(f'a store of StorageType "{self.config.storage_type}" cannot say what it holds')
        return catalog(self.storage)


def named(word: str) -> Config:
    """The settings that a word of ``copy`` stands for."""
    scheme, colon, rest = word.partition(":")
    if colon and scheme == "disk":
        if not rest:
            raise Unusable("disk: needs a directory, as in disk:/var/lib/athens")
        return evolve(Config(), storage_type="disk", storage=evolve(Config().storage, disk=Disk(rest)))
    if colon and scheme == "env":
        return read_configuration(rest or None)
    try:
        # Variables of the environment would make two files name the same store.
        return load(Path(word).read_text(), {}, word)
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{word} cannot be read: {getattr(error, 'strerror', 'not UTF-8 text')}") from error
    except ConfigError as error:
        raise Unusable(str(error)) from error


def place(config: Config) -> object:
    """What tells one store from another."""
    if config.storage_type == "disk":
        return Path(config.storage.disk.root_path).resolve()
    return config.storage_type, getattr(config.storage, config.storage_type.replace("azureblob", "azure_blob"), None)


@contextmanager
def opened(reactor: Any, config: Config, *, new: bool = False) -> Iterator[Store]:
    """The store of these settings; only a ``new`` one may be a directory that is not there yet.

    Raises ``Unusable``.
    """
    if config.storage_type == "memory":
        raise Unusable('StorageType "memory" is gone with its process; name another store (athensd COMMAND --help)')
    root = Path(config.storage.disk.root_path)
    if config.storage_type == "disk" and not new and not root.is_dir():
        raise Unusable(f"there is no directory {root}")
    agent = outgoing(reactor, config)

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return await deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)

    work_place, store_place = work_places(config)
    spool, store_spool = open_spools(work_place, store_place, "; be the user that the daemon runs as")
    try:
        ground = Ground(reactor, plain_client(agent), in_thread, spool, work_place, store_spool, store_place)
        storage = make_storage(config, ground, make_bucket(config, ground))
        yield Store(config, ground, agent, storage)
    finally:
        for each in {spool, store_spool}:
            each.close()


class Judges:
    """Who says which bytes are right: the checksum database of a store's settings, and the origin of its modules."""

    def __init__(self, store: Store) -> None:
        """Asks the go command for its settings.  Raises ``Unusable``."""
        self._store = store
        self._go = find_go(store.config.go_binary)
        self.go_settings = ask_go(self._go, store.config.go_binary_env_vars)
        self._flight = MemoryFlight()

    def sums(self) -> Sums:
        """What the database that ``GOSUMDB`` names has to say, if it is not off."""
        return Sums(self.database(), self.exempt())

    def database(self) -> ProvenDatabase | None:
        """The database that ``GOSUMDB`` names, if it is not off; it keeps what it learns where the daemon does."""
        config = self._store.config
        try:
            return make_databases(config.sum_dbs, self.go_settings["GOSUMDB"], config.sum_db_fresh, self._world())[1]
        except ValueError as error:
            raise Unusable(str(error)) from error

    def carried(self, name: str, source: Asks) -> ProvenDatabase | None:
        """The database of this name, asked at ``source``; ``None`` when neither ``GOSUMDB`` nor SumDBs has its key."""
        try:
            return make_carried(name, self._store.config.sum_dbs, self.go_settings["GOSUMDB"], source, self._world())
        except ValueError as error:
            raise Unusable(str(error)) from error

    def exempt(self) -> Exempt:
        """The modules of which no database is asked."""
        return make_exempt(self._store.config, self.go_settings)

    @asynccontextmanager
    async def mender(self, sums: Sums) -> AsyncIterator[Mender]:
        """Replaces what is wrong by what can be fetched as the daemon fetches it."""
        config, ground = self._store.config, self._store.ground
        quarantine = Quarantine(self._store.storage, ground.store_place / "quarantine", ground.in_thread)
        async with self.origin() as origin:
            yield Mender(
                self._store.storage,
                origin,
                Inspector(ground.in_thread, sums),
                sums,
                ground.spool,
                quarantine.put,
                ground.reactor,
                config.stash_timeout,
            )

    @asynccontextmanager
    async def origin(self) -> AsyncIterator[IOrigin]:
        """Where the daemon fetches from."""
        config, ground = self._store.config, self._store.ground
        credentials = make_credentials(ground.reactor, config, self.go_settings, ground.spool.new_path())
        go = GoCommand(
            ground.reactor,
            self._go,
            file_limit=config.go_get_file_bytes or None,
            leash=Leash(ground.reactor, launcher(os.environ.get("PATH"), Path("/"))),
        )
        direct = DirectOrigin(
            go,
            self._flight,
            ground.spool,
            ground.in_thread,
            {**os.environ, **{name: self.go_settings[name] for name in GO_ACCESS if self.go_settings[name]}},
            config.go_binary_env_vars,
            VcsCache(ground.work_place / "vcs", config.vcs_cache_bytes or None),
            config.stash_timeout,
            Turns("direct", config.go_get_workers, config.queue_length),
            credentials.access,
        )
        origin = make_chain(self._transfer(), config, self.go_settings, direct, ground.in_thread)
        credentials.start()
        try:
            yield origin
        finally:
            await go.stop()
            await credentials.stop()

    def _world(self) -> World:
        ground = self._store.ground
        return World(
            ground.work_place / "sumdb",
            ground.spool,
            self._transfer(),
            self._flight,
            ground.reactor,
            ground.in_thread,
            proxies(self._store.config, self.go_settings),
        )

    def _transfer(self) -> Transfer:
        return Transfer(HTTPClient(self._store.agent), self._store.ground.reactor)
