"""The daemon behind a proxy with a login, with an authority of its own, and with a folder for an upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from tests.integration.daemon import running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import add_version
from tests.origin.fakes_http import answer, table
from tests.outbound.conftest import World

pytestmark = [needs_go, pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")]  # Twisted does

M = "example.test/m"
LIST = f"{M}/@v/list"
AUTHORIZATION = "Basic bWU6YzRuNHJ5"  # me:c4n4ry


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An upstream that only the proxy can reach, for http and for https."""
    world = World(tmp_path, trustme.CA())
    for scheme in ("http", "https"):
        world.serve(f"{scheme}://up.test", table({f"/{LIST}": answer(b"v1.0.0\n")}))
    world.start_proxy(authorization=AUTHORIZATION)
    world.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    yield world
    blockon(gatherResults([each.stop() for each in world.servers]))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["own", "ATHENS_GO_BINARY_ENV_VARS"])
@ensureDeferred
async def test_behind_a_proxy(world: World, tmp_path: Path, scheme: str, name: str) -> None:
    """Upstreams are asked by the proxy that the environment names, or the one of the go command.

    One that does not let us through is named in the answer, and its login neither there nor in the log.
    """

    def ask(login: str) -> tuple[int, bytes, str]:
        variable, value = f"{scheme.upper()}_PROXY", world.proxy.url(login)
        settings = {variable: value} if name == "own" else {name: f"{variable}={value}"}
        settings["SSL_CERT_FILE"] = str(tmp_path / "authority.pem")
        with running(tmp_path / login.strip("@").replace(":", "-"), f"{scheme}://up.test", **settings) as daemon:
            return *daemon.get(LIST), daemon.log.read_text()

    status, body, log = await deferToThread(ask, "me:c4n4ry@")
    assert (status, body) == (200, b"v1.0.0\n")
    assert "c4n4ry" not in log
    status, body, log = await deferToThread(ask, "me:c4n4ry2@")
    assert status == 502
    assert f"(the proxy 127.0.0.1:{world.proxy.port} does not accept our login (407))".encode() in body
    assert "c4n4ry" not in log + body.decode()


@pytest.mark.parametrize(
    ("goproxy", "settings", "says"),
    [
        ("off", {"HTTPS_PROXY": "socks5://me:c4n4ry@a.test"}, "HTTPS_PROXY begins with socks5://"),
        ("off", {"SSL_CERT_FILE": "none"}, "SSL_CERT_FILE cannot be read: No such file"),
        ("file://me:c4n4ry@a.test/x", {}, "GOPROXY: 'file://a.test/x' names a host"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, goproxy: str, settings: dict[str, str], says: str) -> None:
    """It is said in one line at the start."""
    with pytest.raises(AssertionError, match="athensd did not start") as error, running(tmp_path, goproxy, **settings):
        pass
    assert f"athensd: {says}" in str(error.value)
    assert "Traceback" not in str(error.value)
    assert "c4n4ry" not in str(error.value)


def test_a_folder(tmp_path: Path) -> None:
    """Modules come from a folder into the store, whole; what is not there is not there."""
    add_version(tmp_path / "tree", M, "v1.0.0", {"go.mod": f"module {M}\n".encode(), "m.go": b"package m\n"})
    with running(tmp_path / "athensd", (tmp_path / "tree").as_uri()) as daemon:
        for name in ("@v/list", "@latest", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip"):
            assert daemon.get(f"{M}/{name}")[0] == 200, name
        assert daemon.get(f"{M}/@v/v9.0.0.zip")[0] == 404
        (tmp_path / "tree").rename(tmp_path / "away")
        assert daemon.get(f"{M}/@v/v1.0.0.zip")[0] == 200
        status, text = daemon.get("example.test/other/@v/list")
        assert status == 502
        assert b"the folder in GOPROXY is not there" in text
