"""Wiring of a parent: the sockets that it opens, and the workers that it starts."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from athensd.config.settings import Config
from athensd.listening import Certificate, make_listeners
from athensd.observe.logs import TwistedEvents, configure_logs
from athensd.origin.orphans import Orphans
from athensd.service import AthensService
from athensd.startup import log_stream
from athensd.workers.balance import make_balance
from athensd.workers.parent import Command, Workers
from athensd.workers.sockets import Opening, from_systemd

log = structlog.get_logger()
MORE = 10
"""So many seconds a worker has for all else, when its requests are finished."""


class _Nobody(Factory):
    """Whom a parent serves itself."""

    draining = False
    connections = 0
    busy = ()

    async def drained(self) -> None:
        """There is nothing to wait for."""


def make_parent(
    reactor: Any, config: Config, certificate: Certificate | None, twistd: Mapping[str, Any], file: str | None
) -> AthensService:
    """A service of several processes, each a whole daemon with the settings in ``file``; ``twistd`` are its options."""
    log_file = configure_logs(
        config.log_level,
        config.log_format,
        log_stream(twistd),
        cloud_runtime=config.cloud_runtime,
        google_project=config.google_project,
    )
    opening = Opening(reactor)
    systemd = from_systemd()
    # Without the directory where we are in Python's path, as in twistd's.
    argv = [sys.executable, "-P", "-m", "athensd.workers.launch", "--nodaemon", "--pidfile="]
    argv += ["--reactor", twistd["reactor"]] if twistd.get("reactor") else []
    # twistd goes there once it has read the settings, and a worker does as we did.
    argv += ["--rundir", twistd["rundir"]] if twistd.get("rundir") else []
    directory = str(Path.cwd())
    argv += ["athens", *(["--config-file", file] if file else [])]
    environ = {**os.environ, "LISTEN_FDS": str(len(systemd))}

    def failed(reason: str) -> None:
        log.error("no worker serves", reason=reason)
        print(reason, file=sys.__stderr__)
        atexit.register(os._exit, 1)  # by itself twistd would end with 0
        reactor.stop()

    workers = Workers(
        reactor,
        config.workers,
        lambda: Command(argv, environ, opening.sockets, systemd, directory),
        make_balance(config.workers),
        log_file.write,
        grace=config.shutdown_timeout + MORE,
        failed=failed,
    )
    orphans = Orphans(reactor) if os.getpid() == 1 else None
    exchanging = DeferredLock()
    return AthensService(
        reactor,
        _Nobody(),
        make_listeners(opening, config, certificate),
        shutdown_timeout=config.shutdown_timeout,
        log_observer=TwistedEvents(),
        kill=[workers.kill],
        start=[*([orphans.start] if orphans else []), lambda: _open_debug(opening, config), workers.start],
        stop=[workers.stop, *([orphans.stop] if orphans else [])],
        reload=workers.reload,
        exchange=lambda: exchanging.run(lambda: Deferred.fromCoroutine(workers.exchange())),
    )


def debug_port(config: Config, worker: int) -> int:
    """Where a worker shows what it is doing: the first one at ``PprofPort``, the others at the ports that follow."""
    return config.pprof.port and config.pprof.port + max(worker - 1, 0)


def _open_debug(opening: Opening, config: Config) -> None:
    """For each worker; one that is taken costs a warning of that worker."""
    for worker in range(1, config.workers + 1) if config.enable_pprof else ():
        try:
            opening.listenTCP(debug_port(config, worker), _Nobody(), interface=config.pprof.host)
        except CannotListenError:
            continue
