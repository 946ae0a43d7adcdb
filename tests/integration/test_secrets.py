"""Nothing secret is in the log, at any level, however requests end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemon import running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version

pytestmark = needs_go

SECRET = "c4n4ry"
HEADERS = {"Authorization": f"Basic {SECRET}", "Cookie": f"session={SECRET}", "Proxy-Authorization": SECRET}
PATHS = (
    "github.com/nobody/m/@v/list",
    "github.com/nobody/m/@v/v1.0.0.info",
    "github.com/nobody/m/@v/v1.0.0.zip",
    "github.com/nobody/m/@latest",
    "github.com/nobody/m/@v/v9.9.9.zip",  # the upstream has none
    "no-module",
    "@v/list",
)
# Where the go command is asked, its git goes to a closed port of this machine, with a password in the address.
GIT = ";".join(
    [
        "GIT_CONFIG_COUNT=1",
        f"GIT_CONFIG_KEY_0=url.https://me:{SECRET}@127.0.0.1:1/.insteadOf",
        "GIT_CONFIG_VALUE_0=https://github.com/",
        "GOSUMDB=off",
    ]
)


@pytest.mark.parametrize(
    ("goproxy", "seen"),
    [
        (f"http://me:{SECRET}@UPSTREAM", '"outcome":"fetched"'),
        (f"http://me:{SECRET}@UPSTREAM,direct", "fatal: unable to access"),
        (f"http://me:{SECRET}@127.0.0.1:1", "no answer from 127.0.0.1:1"),
    ],
)
def test_no_secret_is_in_the_log(tmp_path: Path, goproxy: str, seen: str) -> None:
    """Neither the passwords of an upstream and of a git host nor what clients send; also when these cannot be had."""
    add_version(tmp_path / "tree", "github.com/nobody/m", "v1.0.0", {"m.go": b"package m\n"})
    upstream = Upstream(tmp_path / "tree")
    goproxy = goproxy.replace("UPSTREAM", upstream.url.removeprefix("http://"))
    with running(tmp_path / "athensd", goproxy, ATHENS_LOG_LEVEL="debug", ATHENS_GO_BINARY_ENV_VARS=GIT) as daemon:
        for path in PATHS:
            daemon.get(f"{path}?token={SECRET}", **HEADERS)
        assert daemon.end() == 0
    upstream.stop()
    text = daemon.log.read_text()
    assert text.count('"incoming request"') == len(PATHS)
    assert seen in text
    assert SECRET not in text
