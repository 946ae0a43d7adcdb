"""Wiring: reads the settings and puts the rooms together.  The only module that sees the real reactor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from treq.client import HTTPClient
from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage
from twisted.python.threadable import isInIOThread

from athensd import __version__
from athensd.answering import Answering, Parts, make_answering
from athensd.checksums.make import World
from athensd.config.load import changes
from athensd.config.settings import Config
from athensd.doors.door import Doorkeeper
from athensd.fetching import (
    first_is_a_proxy,
    make_chain,
    make_checksums,
    make_credentials,
    make_exempt,
    outgoing,
    proxies,
)
from athensd.flight.memory import MemoryFlight
from athensd.flight.watched import WatchedFlight
from athensd.gomod.version import ModuleVersion
from athensd.heavy import HeavyWork, processors
from athensd.listening import Certificate, make_listeners, read_certificate
from athensd.observe.debug import DebugListener
from athensd.observe.logs import TwistedEvents, configure_logs, set_log_level
from athensd.observe.stats import make_stats
from athensd.observe.underway import UnderWay
from athensd.origin.direct import DirectOrigin
from athensd.origin.go_process import GoCommand, launcher
from athensd.origin.leash import Leash
from athensd.origin.orphans import Orphans
from athensd.origin.transfer import Transfer
from athensd.origin.turns import Turns
from athensd.origin.vcs_cache import VcsCache
from athensd.retaining import make_bounded, make_reasons
from athensd.service import AthensService
from athensd.sharing import exposition, fetches_elsewhere, make_siblings
from athensd.startup import (
    DEFAULT_FILE,
    GO_ACCESS,
    Unusable,
    ask_go,
    connections_allowed,
    find_go,
    log_stream,
    open_spools,
    read_configuration,
    read_robots,
    read_rules,
    use_memory_sparingly,
    work_places,
)
from athensd.steps import watch
from athensd.storage.watched import WatchedStorage
from athensd.stores import Ground, make_kept, make_recorder
from athensd.streams import plain_client
from athensd.supervising import debug_port, make_parent
from athensd.web.download import DownloadRoutes
from athensd.web.forwarded import Proxies
from athensd.web.html.own_home import OwnHome
from athensd.web.pages import PageRoutes
from athensd.web.rendered import RenderedAnswers
from athensd.web.request import AthensSite
from athensd.web.routes import site_resource
from athensd.web.sumdb import SumDBRoutes
from athensd.workers.sockets import listening_reactor
from athensd.workers.worker import Worker, this_worker

if TYPE_CHECKING:
    from athensd.observe.trace_export import TraceExport
    from athensd.observe.traces import Traces

log = structlog.get_logger()
FAST_LANE_BYTES = 32_000_000
"""As much of what was answered lately is kept in memory."""
LINGER = 1.0
"""So many seconds a worker that leaves still waits for what was about to be asked."""
RELOADED = {
    *("LogLevel", "FilterFile", "DownloadMode", "DownloadURL"),
    *("BasicAuthUser", "BasicAuthPass", "UsersFile", "TokensFile", "RulesFile", "MetricsAuth"),
}
"""The settings that SIGHUP changes."""


class Options(usage.Options):
    """``twistd athens``."""

    synopsis = "[--config-file FILE]"
    longdesc = "Serves Go modules: fetches each version once, keeps it, and serves the same bytes for ever."
    optParameters = [  # noqa: RUF012 - Twisted reads it from the class
        ["config-file", "c", None, f"The settings, a TOML file (default: {DEFAULT_FILE} here, if there is one)."]
    ]

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"athensd {__version__}")
        sys.exit(0)


def makeService(options: Options) -> IService:
    """The whole daemon.  Ends the process with one clear line when it cannot be."""
    try:
        return _daemon(options)
    except Unusable as error:
        raise SystemExit("\n".join(f"athensd: {line}" for line in str(error).split("\n"))) from error


def _daemon(options: Options) -> AthensService:
    """All of it, one of its workers, or what supervises them."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor  # its static type knows only what all reactors can
    use_memory_sparingly()
    config = read_configuration(options["config-file"])
    certificate, worker = read_certificate(config), this_worker(os.environ)
    if config.workers > 1 and not worker.number:
        return make_parent(reactor, config, certificate, options.parent or {}, options["config-file"])
    return _service(options, reactor, config, certificate, worker)


def _service(
    options: Options, reactor: Any, config: Config, certificate: Certificate | None, worker: Worker
) -> AthensService:
    trace_export, traces = _traces(config, reactor)
    log_file = configure_logs(
        config.log_level,
        config.log_format,
        log_stream(options.parent or {}),
        trace=traces.ids if traces else None,
        cloud_runtime=config.cloud_runtime,
        google_project=config.google_project,
        worker=worker.number,
    )
    stats = make_stats(
        config.stats_exporter,
        config.stats_exporter_url,
        reactor,
        environ=os.environ,
        project=config.google_project,
        open_connections=lambda: site.connections,
        dropped_spans=lambda: trace_export.dropped if trace_export else 0,
        stored_bytes=lambda: bounded.size if bounded else 0,
        worker=worker.number,
    )
    under_way = UnderWay()
    watch(*(watcher for watcher in (stats and stats.metrics, under_way) if watcher), tracer=traces)

    go_binary = find_go(config.go_binary)
    go_settings = ask_go(go_binary, config.go_binary_env_vars)
    work_place, store_place = work_places(config)
    spool, store_spool = open_spools(work_place, store_place)
    memory_flight = MemoryFlight()
    flight = WatchedFlight(memory_flight)
    go = GoCommand(
        reactor,
        go_binary,
        file_limit=config.go_get_file_bytes or None,
        leash=Leash(reactor, launcher(os.environ.get("PATH"), Path("/"))),
    )
    orphans = Orphans(reactor) if os.getpid() == 1 else None

    def soon(call: Callable[[], None]) -> None:
        if isInIOThread():
            reactor.callLater(0, call)
        else:
            reactor.callFromThread(call)

    def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        # With the context, so that what is logged there is known to be part of the same request.
        return deferToThreadPool(reactor, reactor.getThreadPool(), copy_context().run, function, *arguments)

    heavy = HeavyWork(reactor, processors())
    siblings = make_siblings(reactor, worker, stats, under_way, in_thread, lambda: service.finish())  # noqa: PLW0108
    credentials = make_credentials(reactor, config, go_settings, spool.new_path())
    agent = outgoing(reactor, config)
    client = HTTPClient(agent)
    ground = Ground(
        reactor, plain_client(agent), in_thread, spool, work_place, store_spool, store_place, bool(worker.number)
    )
    rendered = RenderedAnswers(FAST_LANE_BYTES, time.monotonic)
    kept = make_kept(config, ground, memory_flight)

    def deleted(version: ModuleVersion) -> None:
        rendered.forget(version.path)
        pages.changed(version.path)
        kept.forget(version)

    direct = DirectOrigin(
        go,
        flight,
        spool,
        in_thread,
        {**os.environ, **{name: go_settings[name] for name in GO_ACCESS if go_settings[name]}},
        config.go_binary_env_vars,
        VcsCache(work_place / "vcs", config.vcs_cache_bytes or None),
        config.stash_timeout,
        Turns("direct", config.go_get_workers, config.queue_length),
        credentials.access,
    )
    transfer = Transfer(client, reactor)
    origin = make_chain(transfer, config, go_settings, direct, in_thread)
    exempt = make_exempt(config, go_settings)
    bounded = make_bounded(
        config,
        make_reasons(config, go_settings, kept.storage, origin, exempt, lambda: answering.misses, reactor),
        ground,
        memory_flight,
        rendered.forget,
    )
    storage = WatchedStorage(
        bounded or kept.storage,
        siblings.everywhere("deleted", deleted),
        siblings.everywhere("zip stored", lambda version: pages.changed(version.path)),
    )
    databases, checksums = make_checksums(
        config,
        go_settings,
        exempt,
        World(work_place / "sumdb", spool, transfer, flight, reactor, in_thread, proxies(config, go_settings)),
        storage,
        store_place,
        store_spool,
    )
    parts = Parts(
        storage=storage,
        index=kept.index,
        origin=origin,
        sums=checksums,
        local=flight,
        shared=kept.flight,
        client=client,
        changed=rendered.forget,
        everywhere=siblings.everywhere,
        # A validator is not asked about what nobody asked for, and of a clone nothing is saved.
        looks_ahead=config.fetch_ahead and not config.validator_hook and first_is_a_proxy(go_settings),
        heavy=heavy.in_thread,
    )
    rules = read_rules(config)
    answering = make_answering(config, go_settings, rules, parts, ground)
    door = Doorkeeper(rules.keys, time.monotonic, in_thread)
    pages = PageRoutes(
        storage,
        kept.index,
        read_robots(config.robots_file),
        exposition(stats, siblings, in_thread),
        clock=reactor,
        own_home=_own_home(config.home_template_path),
        no_sums=",".join(config.no_sum_patterns),
        exporters=[each.delivery for each in (trace_export, stats) if each and each.delivery],
        under_way=under_way.steps,
        revoked=lambda: answering.gate.revoked,
        elsewhere=lambda: fetches_elsewhere(siblings),
    )
    audit = make_recorder(config, ground, traces.ids if traces else dict)
    site = AthensSite(
        site_resource(
            # A validator wants to be asked each time.
            DownloadRoutes(answering.gate, go_settings["GONOPROXY"], again=not config.validator_hook),
            pages,
            SumDBRoutes(databases, exempt),
        ),
        rendered if config.fast_lane else None,
        audit.before(log_file.access) if audit else log_file.access,
        most=connections_allowed(config.max_connections),
        most_of_one=config.max_connections_per_client,
        prefix=config.path_prefix,
        force_ssl=config.force_ssl,
        proxies=Proxies(config.trusted_proxies),
        door=door,
        timeout=config.client_timeout,
    )
    listening = listening_reactor(reactor, worker, lambda: site.connections)
    debug = config.enable_pprof and DebugListener(
        listening,
        config.pprof.host,
        debug_port(config, worker.number),
        under_way,
        {
            "open connections": lambda: site.connections,
            "questions that wait for a go command": lambda: direct.waiting,
            "answers remembered": lambda: answering.freshness.size,
            "fetches and refreshes under way": lambda: memory_flight.size,
        },
    )
    reloading = DeferredLock()  # in their order: what was read last is what holds
    observers: list[Any] = [each for each in (trace_export, stats, debug) if each]
    service = AthensService(
        reactor,
        site,
        make_listeners(listening, config, certificate, are_open=bool(worker.number)),
        shutdown_timeout=config.shutdown_timeout,
        log_observer=TwistedEvents(),
        kill=[go.kill, lambda: log_file.flush(wait=False)],
        start=[
            lambda: log_file.gather(soon),
            heavy.start,
            *kept.start,
            *answering.start,
            *(each.start for each in (credentials, orphans, checksums, audit, bounded, *observers) if each),
            siblings.start,
        ],
        stop=[
            *answering.stop,
            memory_flight.stop,
            go.stop,
            heavy.stop,
            *([bounded.stop] if bounded else []),
            *kept.stop,
            credentials.stop,
            checksums.stop,
            *(each.stop for each in (orphans, audit) if each),
            *(each.close for each in {spool, store_spool}),
            siblings.stop,
            lambda: _all_stopped(observers),
            lambda: log_file.gather(None),
        ],
        reload=lambda: reloading.run(
            lambda: Deferred.fromCoroutine(
                _reload(config, options["config-file"], answering, door, rendered, certificate, in_thread)
            )
        ),
        linger=LINGER if worker.number else 0,
    )
    return service


def _traces(config: Config, reactor: Any) -> tuple[TraceExport, Traces] | tuple[None, None]:
    """Where traces are sent to, and what makes them; nothing of it is imported where there are to be none."""
    if config.trace_exporter in {"", "none"}:
        return None, None
    from athensd.observe.trace_export import TraceExport
    from athensd.observe.traces import Traces, resource

    export = TraceExport(config.trace_exporter, config.trace_exporter_url, reactor)
    fraction = 1.0 if config.go_env == "development" else config.trace_sampling_fraction
    return export, Traces(export.deliver, resource(config.go_env), fraction=fraction, slow=config.trace_slow)


async def _all_stopped(observers: Sequence[Any]) -> None:
    """At the same time: each of them may wait a while for a server that does not answer."""
    await gatherResults([Deferred.fromCoroutine(each.stop()) for each in observers])


def _own_home(name: str) -> OwnHome | None:
    """The operator's own home page, if there is to be one."""
    try:
        return OwnHome(Path(name)) if name else None
    except ValueError as error:
        raise Unusable(str(error)) from error


async def _reload(
    running: Config,
    name: str | None,
    answering: Answering,
    door: Doorkeeper,
    rendered: RenderedAnswers,
    certificate: Certificate | None,
    in_thread: Callable[..., Any],
) -> None:
    """Read the settings and rules again and take over what can be changed while running; a fault changes nothing."""
    try:
        wanted = read_configuration(name)
        rules = await in_thread(read_rules, wanted)  # large ones take a while
        pair = certificate and certificate.read_again()
    except Unusable as error:
        log.error("the configuration stays as it was", problems=str(error))
        return
    answering.gate.filter, answering.misses.modes = rules.filter, rules.modes
    door.change(rules.keys)
    if certificate and pair:
        certificate.use(pair)
    rendered.clear()
    later = ", ".join(key for key in changes(running, wanted) if key not in RELOADED)
    set_log_level("info")  # else the answer might not be seen
    log.info(
        "configuration read again", **{"log-level": wanted.log_level}, **({"needs-a-restart": later} if later else {})
    )
    set_log_level(wanted.log_level)
