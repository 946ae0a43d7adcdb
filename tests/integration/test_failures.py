"""The ways in which a host can fail (tests/rig/failures.py), from end to end: what a user of go gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from athensd.errors import AthensError, Forbidden, NotFound, Overloaded, UpstreamFailed
from athensd.gomod.escape import escape_path, escape_version
from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go
from tests.rig.failures import CASES, Case, serve

pytestmark = [pytest.mark.slow, needs_go]

STATUS: dict[type[AthensError], int] = {NotFound: 404, Forbidden: 403, UpstreamFailed: 502, Overloaded: 503}

# Not those that differ by what is set at the proxy, nor those of which go itself knows better than to ask.
NEVER_SENT = {
    "path that looks like a flag",
    "relative path",
    "toolchain as a module",
    "upper-case host",
    "version that climbs",
    "version that looks like a flag",
}
SENT = [case for case in CASES if case.word and not case.changes and case.name not in NEVER_SENT]


def reason(daemon: Daemon, case: Case) -> tuple[int, str]:
    """The answer to the first thing that go asks for in vain: status and reason, without the id of the request."""
    # Of a module for a newer go there are .info and .mod.
    kind = "zip" if case.name == "newer go needed" else "info"
    query = "@latest" if case.listing else f"@v/{escape_version(case.version)}.{kind}"
    status, body = daemon.get(f"{escape_path(case.path)}/{query}")
    return status, body.decode().partition("\nrequest id:")[0]


def asked(client: Client, case: Case) -> str:
    """What the go command says to a user who asks for the same."""
    command = ("list", "-m", "-versions") if case.listing else ("mod", "download", "-x")
    done = client.run(*command, f"{case.path}@{case.version}")
    assert done.returncode != 0
    return done.stdout + done.stderr


@ensureDeferred
async def test_status_and_reason(tmp_path: Path) -> None:
    """Every case has the status of its word, and go prints our reason, which names no place inside."""
    hosts = serve(reactor, tmp_path)
    host = {"GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path), **hosts.environment()}
    wrong = {}
    with running(tmp_path / "athensd", "direct", **host) as daemon:
        client = Client(tmp_path / "client", daemon.url, NO_PROXY="127.0.0.1")
        for case in SENT:
            assert case.word
            status, text = await deferToThread(reason, daemon, case)
            said = await deferToThread(asked, client, case)
            secret = [word for word in (str(tmp_path), "secret", f":{hosts.http}") if word in text]
            if status != STATUS[case.word] or not text or text not in said or secret:
                wrong[case.name] = (status, text, said[-500:])
    assert wrong == {}
