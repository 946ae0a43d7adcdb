"""The ways in which a go command fails, each with the word that it must become.

``python -m tests.rig.failures FILE`` runs them all and records what go and git said, for the tests that have neither.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

from athensd.errors import AthensError, Forbidden, NotFound, Overloaded, UpstreamFailed
from athensd.origin.direct import DOWNLOAD, LIST
from athensd.origin.go_environment import go_environment, lay_out
from athensd.origin.go_process import GoCommand
from tests.rig.hosts import Hosts, World
from tests.rig.modules import make_corpus

GITHUB = "github.com/pkg/errors"
NOWHERE = "http://127.0.0.1:9"
# A verifier key that nobody signs with, at a host that has nothing.
SUMDB = "sum.example.test+dbbb7240+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f https://example.test/s404"
NO_PROXY = {"HTTPS_PROXY": "", "HTTP_PROXY": ""}


@frozen
class Case:
    """``go mod download`` (or ``go list``) of a module version, and the error; ``None``: there is none.

    ``changes`` go over the environment; ``{http}`` in one is the port of the plain site, ``{go}`` a directory that
    holds the go command and nothing else; an empty value takes a name away.
    """

    name: str
    path: str
    version: str
    word: type[AthensError] | None
    changes: Mapping[str, str] = field(factory=dict)
    listing: bool = False


def _listed(name: str, path: str, word: type[AthensError]) -> Case:
    return Case(f"list: {name}", path, "latest", word, listing=True)


CASES = (
    Case("a version that is there", GITHUB, "v0.9.1", None),
    Case("an http repository, asked for", "example.test/plain", "v1.0.0", None, {"GIT_ALLOW_PROTOCOL": "https:http"}),
    Case("an http repository", "example.test/plain", "v1.0.0", Forbidden),
    Case("unknown version", GITHUB, "v0.77.1", NotFound),
    Case("unknown commit of a pseudo-version", GITHUB, "v0.0.0-20200101000000-abcdefabcdef", NotFound),
    Case("malformed pseudo-version", "example.test/m", "v0.0.0-20200101000000-WILLFAIL", NotFound),
    Case("unknown branch", GITHUB, "nobranch", NotFound),
    Case("unknown commit prefix", GITHUB, "abcdef0", NotFound),
    Case("v2 tag without /v2", GITHUB, "v2.0.0", NotFound),
    Case("no such major version", f"{GITHUB}/v2", "v2.0.0", NotFound),
    Case("folder without go.mod", f"{GITHUB}/nosub", "v0.9.1", NotFound),
    Case("repository answers 404", "github.com/f/s404", "v1.0.0", NotFound),
    Case("repository answers 401", "github.com/f/s401", "v1.0.0", NotFound),
    Case("repository answers 403", "github.com/f/s403", "v1.0.0", NotFound),
    Case("repository answers 429", "github.com/f/s429", "v1.0.0", Overloaded),
    Case("repository answers 500", "github.com/f/s500", "v1.0.0", UpstreamFailed),
    Case("repository answers 503", "github.com/f/s503", "v1.0.0", UpstreamFailed),
    Case("private repository", "github.com/private/m", "v1.0.0", NotFound),
    Case("proxy refuses", GITHUB, "v0.9.1", UpstreamFailed, {"HTTPS_PROXY": NOWHERE}),
    Case("git finds no such host", GITHUB, "v0.9.1", UpstreamFailed, {"HTTPS_PROXY": "http://nowhere.invalid:9"}),
    Case("repository with .git on no such host", "nowhere.invalid/x.git", "v1.0.0", UpstreamFailed, NO_PROXY),
    Case("go finds no such host", "nowhere.invalid/x", "v1.0.0", UpstreamFailed, NO_PROXY),
    Case("git knows no such authority", GITHUB, "v0.9.1", UpstreamFailed, {"GIT_SSL_CAINFO": ""}),
    Case("go knows no such authority", "example.test/m", "v1.0.0", UpstreamFailed, {"SSL_CERT_FILE": os.devnull}),
    Case("page answers 404", "example.test/none", "v1.0.0", NotFound),
    Case("page without a tag", "example.test/s200", "v1.0.0", NotFound),
    Case("page answers 410", "example.test/s410", "v1.0.0", NotFound),
    Case("page answers 401", "example.test/s401", "v1.0.0", NotFound),
    Case("page answers 403", "example.test/s403", "v1.0.0", NotFound),
    Case("page answers 429", "example.test/s429", "v1.0.0", Overloaded),
    Case("page answers 500", "example.test/s500", "v1.0.0", UpstreamFailed),
    Case("page answers 503", "example.test/s503", "v1.0.0", UpstreamFailed),
    Case("module called not-found, page answers 503", "example.test/s503/not-found", "v1.0.0", UpstreamFailed),
    Case("module called certificate, page answers 404", "example.test/none/certificate", "v1.0.0", NotFound),
    Case("page names a repository that refuses", "example.test/refused", "v1.0.0", UpstreamFailed),
    Case("page names a git:// repository", "example.test/gitproto", "v1.0.0", Forbidden),
    Case("page names an svn repository", "example.test/svn", "v1.0.0", Forbidden),
    Case("page names a file", "example.test/file", "v1.0.0", NotFound),
    Case("page names an unknown system", "example.test/darcs", "v1.0.0", NotFound),
    Case("page names a command", "example.test/ext", "v1.0.0", Forbidden),
    Case("page names an ssh host that refuses", "example.test/ssh", "v1.0.0", UpstreamFailed),
    Case("GOVCS forbids", GITHUB, "v0.9.1", Forbidden, {"GOVCS": "*:off"}),
    Case("GOPROXY is off", GITHUB, "v0.9.1", Forbidden, {"GOPROXY": "off"}),
    Case("no git", GITHUB, "v0.9.1", UpstreamFailed, {"PATH": "{go}"}),
    Case("module cache cannot be written", GITHUB, "v0.9.1", UpstreamFailed, {"GOMODCACHE": "/proc/x"}),
    Case("no HOME", GITHUB, "v0.9.1", None, {"HOME": ""}),
    Case("version that climbs", GITHUB, "v1.0.0/../../x", NotFound),
    Case("version that looks like a flag", GITHUB, "-x", NotFound),
    Case("path that looks like a flag", "-x/y", "v1.0.0", NotFound),
    Case("relative path", "../x", "v1.0.0", NotFound),
    Case("upper-case host", "GitHub.com/pkg/errors", "v0.9.1", NotFound),
    Case("toolchain as a module", "golang.org/toolchain", "v0.0.1-go1.22.0.linux-amd64", NotFound),
    Case("newer go needed", "example.test/toonew", "v1.0.0", UpstreamFailed),
    Case("upstream proxy answers 404", GITHUB, "v0.9.1", NotFound, {"GOPROXY": "http://127.0.0.1:{http}/none"}),
    Case("upstream proxy refuses", GITHUB, "v0.9.1", UpstreamFailed, {"GOPROXY": NOWHERE}),
    Case("checksum database answers 404", GITHUB, "v0.9.1", UpstreamFailed, {"GOSUMDB": SUMDB}),
    _listed("no such major version", f"{GITHUB}/v9", NotFound),
    _listed("folder without go.mod", f"{GITHUB}/nosub", NotFound),
    _listed("repository answers 404", "github.com/f/s404", NotFound),
    _listed("repository answers 401", "github.com/f/s401", NotFound),
    _listed("repository answers 503", "github.com/f/s503", UpstreamFailed),
    _listed("page answers 404", "example.test/none", NotFound),
    _listed("page answers 503", "example.test/s503", UpstreamFailed),
)


def failing_world(root: Path) -> World:
    """A world for ``CASES``; its corpus is made in ``root``."""
    make_corpus(root)
    statuses = (200, 401, 403, 404, 410, 429, 500, 503)
    return World(
        root,
        faults={f"{host}/s{status}": status for status in statuses for host in ("github.com/f", "example.test")},
        pages={
            "example.test/refused": "git https://127.0.0.1:9/x",
            "example.test/gitproto": "git git://127.0.0.1:9/x",
            "example.test/svn": "svn https://example.test/svn",
            "example.test/file": f"git file://{root}/example.test/m.git",
            "example.test/darcs": "darcs https://example.test/q",
            "example.test/ext": "git ext::sh%20-c%20id://x",
            "example.test/ssh": "git ssh://127.0.0.1:9/x",
        },
        private={"github.com/private": "user:secret"},
    )


async def run_case(case: Case, go: GoCommand, hosts: Hosts, state: Path) -> dict[str, Any]:
    """What go said: ``text`` and ``origin``, and the directory where it was said."""
    work = Path(tempfile.mkdtemp(dir=state))
    lay_out(work)
    host = {"PATH": os.environ["PATH"], "HOME": str(state), "GIT_CONFIG_NOSYSTEM": "1", **hosts.environment()}
    words = {"http": hosts.http, "go": state / "only-go"}
    environment = go_environment(host, {}, work)
    for name, value in case.changes.items():
        environment[name] = value.format(**words)
        if not value:
            del environment[name]
    command = LIST if case.listing else DOWNLOAD
    finished = await go.run([*command, f"{case.path}@{case.version}"], environment, work / "empty", 60)
    shutil.rmtree(work)
    answer = json.loads(finished.stdout) if finished.stdout.strip() else {"Error": finished.stderr.decode()}
    error = answer.get("Error", "")
    text = error["Err"] if isinstance(error, dict) else error
    return {"text": text, "origin": answer.get("Origin"), "work": str(work)}


def serve(reactor: Any, state: Path) -> Hosts:
    """The hosts for ``CASES``, with all that these need in ``state``."""
    (state / "only-go").mkdir()
    (state / "only-go/go").symlink_to(Path(shutil.which("go") or "go").resolve())
    world = failing_world(state / "corpus")
    hosts = Hosts(reactor, world, state)
    world.pages["example.test/plain"] = f"git http://127.0.0.1:{hosts.http}/example.test/m"
    return hosts


def _portable(said: dict[str, Any], hosts: Hosts, state: Path) -> dict[str, Any]:
    """What was said, without the names and ports of one run."""
    text = said["text"].replace(said["work"], "/srv/athens/1").replace(str(state), "/srv/athens")
    text = text.replace(f":{hosts.http}/", ":8080/")
    return {"text": re.sub(r"on \d+\.\d+\.\d+\.\d+:53", "on 192.0.2.53:53", text), "origin": said["origin"]}


async def _record(reactor: Any, file: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        hosts = serve(reactor, state)
        go = GoCommand(reactor, "go")
        said = {case.name: _portable(await run_case(case, go, hosts, state), hosts, state) for case in CASES}
    file.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    from twisted.internet.task import react

    react(lambda reactor: Deferred.fromCoroutine(_record(reactor, Path(sys.argv[1]))))
