"""Real projects, through athensd, from the upstream that this machine's go command uses."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, running
from tests.integration.go import Client, needs_go, upstream_with

pytestmark = [needs_go, pytest.mark.network, pytest.mark.slow]

PROJECTS = ["github.com/prometheus/prometheus@v0.305.0", "github.com/gohugoio/hugo@v0.148.2"]
TOOL = "golang.org/x/tools/cmd/stringer@v0.34.0"
PROGRAM = """package main

import (
	"fmt"

	"github.com/BurntSushi/toml"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

func main() {
	text, _ := yaml.Marshal(map[string]int{"a": 1})
	var into map[string]any
	_, err := toml.Decode("a = 1", &into)
	fmt.Print(string(text), into["a"], err, uuid.Nil, (&cobra.Command{Use: "x"}).Name())
}
"""
# With capitals, with /v2, with +incompatible, at gopkg.in, nested in another module's repository.
LISTED = (
    "github.com/BurntSushi/toml",
    "github.com/cespare/xxhash/v2",
    "github.com/docker/docker",
    "gopkg.in/yaml.v3",
    "cloud.google.com/go/storage",
)
PSEUDO = "golang.org/x/exp@v0.0.0-20240719175910-8a7402abbf56"


@pytest.fixture(scope="module")
def goproxy() -> str:
    """The upstream, or no test."""
    return upstream_with("github.com/pkg/errors/@v/list")


def test_whole_projects_are_byte_identical_and_stay_when_the_upstream_is_gone(tmp_path: Path, goproxy: str) -> None:
    """Closures, a program, a tool and lists: the same as straight from the upstream, cold, and warm without it.

    Two of ours stand in a row: what the second one sees, when the first one ends, is an upstream that is gone.
    """
    straight = _everything(tmp_path / "straight", goproxy)
    with running(tmp_path / "one", goproxy) as one, running(tmp_path / "two", one.url) as two:
        assert _everything(tmp_path / "cold", two.url) == straight
        for daemon in (one, two):
            _expect_no_needless_zips(daemon, straight)
        assert one.end() == 0
        assert _everything(tmp_path / "warm", two.url) == straight


def _everything(directory: Path, goproxy: str) -> dict[str, str]:
    """What a client gets: the hashes of its files, and what lists say."""
    client = Client(directory, goproxy)
    files = _closures(client)
    client.ok("install", TOOL)
    for module in LISTED:
        for arguments in (["-versions", module], [f"{module}@latest"]):
            files[f"{module} {arguments}"] = client.ok("list", "-m", *arguments)
    client.ok("mod", "download", PSEUDO)
    files |= client.files()
    shutil.rmtree(directory)
    return files


def _closures(client: Client) -> dict[str, str]:
    """Download the modules of whole projects, and build a program."""
    for project in PROJECTS:
        answer = json.loads(client.ok("mod", "download", "-json", project))
        shutil.copytree(answer["Dir"], client.work, dirs_exist_ok=True)
        client.ok("mod", "download", timeout=600)
        shutil.rmtree(client.work)
        client.work.mkdir()
    (client.work / "go.mod").write_text("module example.test/program\n\ngo 1.24\n")
    (client.work / "main.go").write_text(PROGRAM)
    for module in ("BurntSushi/toml@v1.5.0", "google/uuid@v1.6.0", "spf13/cobra@v1.9.1"):
        client.ok("get", f"github.com/{module}")
    client.ok("get", "gopkg.in/yaml.v3@v3.0.1")
    client.ok("build", "-o", "program", ".")
    done = subprocess.run([client.work / "program"], capture_output=True, text=True, check=True)
    assert done.stdout == "a: 1\n1 <nil> 00000000-0000-0000-0000-000000000000x"
    shutil.rmtree(client.work)
    client.work.mkdir()
    return client.files()


def _expect_no_needless_zips(daemon: Daemon, files: dict[str, str]) -> None:
    """A ``.mod`` never costs a zip: those fetched are those that the client has."""
    wanted = sum(name.endswith(".zip") for name in files)
    fetched = [line for line in daemon.lines() if line["msg"] == "fetch" and line["kind"] == "zip"]
    assert len(fetched) == wanted
    assert sum(name.endswith(".mod") for name in files) > wanted
