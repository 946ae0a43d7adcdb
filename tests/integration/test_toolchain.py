"""Go's own releases through us, and modules that are for a newer go than ours."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.origin.chain import TOOLCHAIN
from athensd.sumdb.names import PUBLIC
from tests.integration.daemon import running
from tests.integration.go import Client, needs_go, upstream_with
from tests.integration.goproxy_tree import Upstream, add_version
from tests.rig.sumdb import Database, Server

pytestmark = needs_go

RELEASE = "go1.25.1"
OTHER = ModuleVersion(TOOLCHAIN, "v0.0.1-go1.99.0.linux-amd64")
NEWER = "example.test/newer"


@pytest.fixture
def goproxy() -> str:
    """The upstream of this machine, or no test."""
    return upstream_with(f"sumdb/{PUBLIC}/supported")


@pytest.mark.network
@pytest.mark.slow
def test_a_client_changes_its_toolchain_through_us(tmp_path: Path, goproxy: str) -> None:
    """A go.mod, and then a setting, asks for another go: it is had through us, checked, and later without anybody.

    That modules of golang.org are private for us makes no difference, and our own go command has no part in it.
    """
    settings = {"GOSUMDB": PUBLIC, "GOPRIVATE": "golang.org"}
    with running(tmp_path / "athensd", f"{goproxy},direct", **settings) as daemon:
        # As a machine with an older go and GOTOOLCHAIN=auto, whatever the go of this machine is.
        client = Client(tmp_path / "first", daemon.url, GOSUMDB=PUBLIC, GOTOOLCHAIN="go1.25.0+auto")
        (client.work / "go.mod").write_text(f"module example.test/program\n\ngo {RELEASE.removeprefix('go')}\n")
        (client.work / "main.go").write_text("package main\n\nfunc main() { println(1) }\n")
        assert f"go version {RELEASE} " in client.ok("version")
        client.ok("build", "-o", "program", ".")
        fetched = [line for line in daemon.lines() if line["msg"] == "fetch"]
        assert {line["module"] for line in fetched} == {TOOLCHAIN}
        assert {line["outcome"] for line in fetched} == {"fetched"}
        assert not [line for line in daemon.lines() if line["msg"] in {"go command", "stored unverified"}]

    with running(tmp_path / "athensd", "off", **settings, ATHENS_NETWORK_MODE="offline") as daemon:
        client = Client(tmp_path / "second", daemon.url, GOSUMDB=PUBLIC, GOTOOLCHAIN=RELEASE)
        assert f"go version {RELEASE} " in client.ok("version")


def test_a_forged_toolchain(tmp_path: Path) -> None:
    """One that is not what everybody else was given is refused in Go's words, and nothing of it is kept."""
    tree = tmp_path / "tree"
    add_version(tree, *_names(OTHER), {"bin/go": b"true\n"})
    file = tree / TOOLCHAIN / "@v" / f"{OTHER.version}.zip"
    database = Database()
    true_h1 = check_zip(io.BytesIO(file.read_bytes()), OTHER).h1
    database.add(*_names(OTHER), true_h1, h1_of_mod(f"module {TOOLCHAIN}\n".encode()))
    upstream = Upstream(tree)
    try:
        with Server(database) as server, running(tmp_path / "athensd", upstream.url, GOSUMDB=server.gosumdb) as daemon:
            add_version(tree, *_names(OTHER), {"bin/go": b"evil\n"})
            status, text = daemon.get(f"{TOOLCHAIN}/@v/{OTHER.version}.zip")
            assert (status, b"SECURITY ERROR" in text) == (403, True)
            assert not list((tmp_path / "athensd" / "store").rglob("@v/*.zip"))
            add_version(tree, *_names(OTHER), {"bin/go": b"true\n"})
            status, body = daemon.get(f"{TOOLCHAIN}/@v/{OTHER.version}.zip")
            assert (status, body) == (200, file.read_bytes())
    finally:
        upstream.stop()


def test_modules_for_a_newer_go(tmp_path: Path) -> None:
    """What needs a newer go than there is, is served from an upstream whole: nothing here has to understand it."""
    tree = tmp_path / "tree"
    go_mod = f"module {NEWER}\n\ngo 1.999\n\ntoolchain go1.999.9\n\nsomething new\n".encode()
    add_version(tree, NEWER, "v1.0.0", {"go.mod": go_mod, "m.go": b"package m\n"})
    upstream = Upstream(tree)
    try:
        with running(tmp_path / "athensd", f"{upstream.url},direct") as daemon:
            assert daemon.get(f"{NEWER}/@v/list") == (200, b"v1.0.0\n")
            assert daemon.get(f"{NEWER}/@v/v1.0.0.mod") == (200, go_mod)
            for name in ("@latest", "@v/v1.0.0.info", "@v/v1.0.0.zip"):
                assert daemon.get(f"{NEWER}/{name}")[0] == 200, name
            assert not [line for line in daemon.lines() if line["msg"] == "go command"]
    finally:
        upstream.stop()


def test_toolchains_without_an_upstream(tmp_path: Path) -> None:
    """They are nowhere but in upstreams: 404 at once, with a reason; the go command is not asked."""
    with running(tmp_path / "athensd", "direct", GOPRIVATE="*") as daemon:
        for name in ("@v/list", "@latest", f"@v/{OTHER.version}.info", f"@v/{OTHER.version}.zip"):
            status, text = daemon.get(f"{TOOLCHAIN}/{name}")
            assert status == 404, name
            assert b"Go's toolchains come from an upstream, and GOPROXY names none" in text
        # Names that the go command has for its own use, and that no module can have.
        for name in ("go/@v/list", "toolchain/@v/list", "go/@v/1.25.1.info"):
            assert daemon.get(name)[0] == 404, name
        assert not [line for line in daemon.lines() if line["msg"] == "go command"]


def _names(version: ModuleVersion) -> tuple[str, str]:
    return version.path, version.version
