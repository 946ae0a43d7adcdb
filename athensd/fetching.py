"""Wiring of all that fetches: upstreams, the go command, credentials, and the checksum databases that have a say."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from twisted.web.client import HTTPConnectionPool
from twisted.web.iweb import IAgent

from athensd.checksums.database import Database
from athensd.checksums.make import World, make_databases
from athensd.checksums.quarantine import Quarantine
from athensd.checksums.source import Place
from athensd.checksums.unverified import Unverified
from athensd.checksums.verifier import Checksums, Exempt
from athensd.config.settings import Config
from athensd.interfaces import IOrigin, IStorage
from athensd.origin.bounded import BoundedOrigin
from athensd.origin.chain import ChainOrigin, Hop, OffOrigin, parse_goproxy
from athensd.origin.credentials import GITHUB, Credentials, netrc_hosts, uncovered
from athensd.origin.folder import FolderOrigin
from athensd.origin.logins import without_login
from athensd.origin.transfer import Transfer, split_credentials
from athensd.origin.upstream import UpstreamOrigin
from athensd.outbound.agent import make_agent
from athensd.spool import Spool
from athensd.startup import Unusable, check_hgrc, home, read_netrc

log = structlog.get_logger()


def outgoing(reactor: Any, config: Config) -> IAgent:
    """What all our own requests go out by."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = config.protocol_workers
    try:
        return make_agent(reactor, {**os.environ, **config.go_binary_env_vars}, pool=pool)
    except ValueError as error:
        raise Unusable(str(error)) from error


def make_credentials(reactor: Any, config: Config, go_settings: Mapping[str, str], directory: Path) -> Credentials:
    """Those of the settings, for the go command; a warning names the hosts of whose modules public servers are told.

    ``directory`` is made when it is needed.
    """
    check_hgrc(config)
    hosts = {*netrc_hosts(read_netrc(config)), *([GITHUB] if config.github_token else [])}
    known = {host for name in ("GONOPROXY", "GONOSUMDB") for host in uncovered(hosts, go_settings[name])}
    if known:
        log.warning(
            "there are credentials for hosts of which no module is private: set GOPRIVATE",
            hosts=", ".join(sorted(known)),
        )
    return Credentials(
        reactor,
        directory,
        home=home(config),
        netrc=config.netrc_path,
        hgrc=config.hgrc_path,
        github_token=config.github_token,
    )


def make_chain(
    transfer: Transfer,
    config: Config,
    go_settings: Mapping[str, str],
    direct: IOrigin,
    in_thread: Callable[..., Awaitable[Any]],
) -> IOrigin:
    """What GOPROXY says, with GONOPROXY's exceptions."""
    special: dict[str, IOrigin] = {"direct": direct, "off": OffOrigin()}

    def origin(where: str) -> IOrigin:
        if where in special:
            return special[where]
        if _is_this_one(where, config):
            raise Unusable(f"GOPROXY has {without_login(where)}, which is this proxy itself: it would wait for itself")
        if where.startswith("file:"):
            return BoundedOrigin(FolderOrigin(where, in_thread), "folder", config.protocol_workers, config.queue_length)
        upstream = UpstreamOrigin(where, transfer)
        return BoundedOrigin(upstream, upstream.host, config.protocol_workers, config.queue_length)

    return ChainOrigin([(hop, origin(hop.where)) for hop in _hops(go_settings)], go_settings["GONOPROXY"], direct)


def proxies(config: Config, go_settings: Mapping[str, str]) -> Sequence[Place] | None:
    """Whom the checksum databases are asked of before they are asked themselves; ``None``: nobody is asked anything."""
    hops = _hops(go_settings)
    if config.network_mode == "offline" or hops[0].where == "off":
        return None
    return [
        Place(*split_credentials(hop.where.rstrip("/")), hop.after_any_error)
        for hop in hops
        if hop.where.startswith("http")
    ]


def first_is_a_proxy(go_settings: Mapping[str, str]) -> bool:
    """Whether modules come from another server of the protocol, if from anywhere."""
    return _hops(go_settings)[0].where.startswith("http")


def make_exempt(config: Config, go_settings: Mapping[str, str]) -> Exempt:
    """The modules of which no checksum database is asked."""
    return Exempt(",".join(config.no_sum_patterns), go_settings["GONOSUMDB"], go_settings["GOPRIVATE"])


def make_checksums(
    config: Config,
    go_settings: Mapping[str, str],
    exempt: Exempt,
    world: World,
    storage: IStorage,
    kept: Path,
    store_spool: Spool,
) -> tuple[Mapping[str, Database], Checksums]:
    """The databases for clients, and the check of what is stored; ``kept`` lasts as long as the store."""
    try:
        served, ours = make_databases(config.sum_dbs, go_settings["GOSUMDB"], config.sum_db_fresh, world)
    except ValueError as error:
        raise Unusable(str(error)) from error
    checksums = Checksums(
        ours,
        exempt,
        Unverified(kept / "unverified", store_spool),
        world.clock,
        world.in_thread,
        Quarantine(storage, kept / "quarantine", world.in_thread).put,
        refuse=config.sum_db_away == "refuse",
    )
    return served, checksums


def _is_this_one(where: str, config: Config) -> bool:
    """Whether an upstream is where we listen ourselves: on this machine, and at our own port."""
    parts = urlsplit(where)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    here = parts.hostname in {"localhost", "127.0.0.1", "::1", socket.gethostname(), config.listen.host or None}
    return here and (parts.port or default) == config.listen.port and not (config.endpoints or config.unix_socket)


def _hops(go_settings: Mapping[str, str]) -> Sequence[Hop]:
    try:
        return parse_goproxy(go_settings["GOPROXY"])
    except ValueError as error:
        raise Unusable(str(error)) from error
