"""A site without a network: all that it has came in one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from athensd.sumdb.names import PUBLIC
from tests.cli.command import Command
from tests.integration.daemon import running
from tests.integration.go import GO, Client, needs_go, upstream_with

pytestmark = [needs_go, pytest.mark.network, pytest.mark.slow]

ALONE = ["unshare", "--map-root-user", "--net"]
RELEASE = "go1.25.1"
# As a machine with an older go and GOTOOLCHAIN=auto, whatever the go of this machine is.
AUTO = "go1.25.0+auto"
GO_MOD = f"""module example.com/program

go {RELEASE.removeprefix("go")}

require (
	github.com/spf13/cobra v1.8.0
	golang.org/x/text v0.14.0
)
"""
PROGRAM = """package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/text/language"
)

func main() {
	(&cobra.Command{Run: func(*cobra.Command, []string) { println(language.English.String()) }}).Execute()
}
"""
INSIDE = """
ip link set lo up
test -z "$(ip route)"
athensd import ../site.bundle --key "$KEY"
ATHENS_NETWORK_MODE=offline ATHENS_PORT=127.0.0.1:3000 twistd --nodaemon --pidfile= athens >../log 2>&1 &
trap "kill $!; wait" EXIT
until curl -fsS -o ../ready http://127.0.0.1:3000/readyz; do kill -0 $!; sleep 0.1; done
export GOPROXY=http://127.0.0.1:3000
cd ../project
go version
go build -o program ./...
go mod verify
cp go.mod ../go.mod.before
cp go.sum ../go.sum.before
go mod tidy
cmp go.mod ../go.mod.before
cmp go.sum ../go.sum.before
rm go.sum
go mod tidy
cmp go.sum ../go.sum.before
./program
"""


@pytest.fixture
def alone() -> list[str]:
    """The beginning of a command that has no network but loopback; or no test."""
    if not shutil.which("unshare") or not shutil.which("ip") or not shutil.which("curl"):
        pytest.skip("unshare, ip or curl is not installed")
    if subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network namespaces")
    return ALONE


def test_a_project_is_built_where_there_is_no_route(tmp_path: Path, alone: list[str]) -> None:
    """Outside a bundle is made of what a project needs; inside it builds, verifies and tidies, with checksums on.

    It needs a newer go, so the toolchain changes, which is never done without the public checksum database.  With its
    go.sum gone, all of it is looked up again.
    """
    goproxy = upstream_with(f"sumdb/{PUBLIC}/supported")
    with running(tmp_path / "outside", f"{goproxy},direct", GOSUMDB=PUBLIC) as daemon:
        client = Client(tmp_path, daemon.url, GOSUMDB=PUBLIC, GOTOOLCHAIN=AUTO)
        client.work.rename(tmp_path / "project")
        client.work = tmp_path / "project"
        (client.work / "go.mod").write_text(GO_MOD)
        (client.work / "main.go").write_text(PROGRAM)
        client.ok("mod", "tidy")
        command = Command(tmp_path / "outside", GOPROXY=f"{goproxy},direct", GOSUMDB=PUBLIC)
        what = [client.work / "go.mod", client.work / "go.sum", RELEASE]
        assert command.run("warm", *what, "--url", daemon.url)[0] == 0
    key = command.run("key", "site.key")[1][0]
    status, lines, err = command.run("export", *what, "--output", "../site.bundle", "--key", "site.key")
    assert (status, err) == (0, "")
    assert lines[-1].endswith("faults: 0")

    (tmp_path / "inside").mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{Path(GO).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "inside"),
        "GOCACHE": os.environ.get("GOCACHE") or str(Path.home() / ".cache" / "go-build"),
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": AUTO,
        "KEY": key,
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(tmp_path / "inside" / "store"),
    }
    done = subprocess.run(
        [*alone, "sh", "-euc", INSIDE],
        cwd=tmp_path / "inside",
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{(tmp_path / 'log').read_text()}"
    assert f"go version {RELEASE} " in done.stdout
    assert "all modules verified" in done.stdout
