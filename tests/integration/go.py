"""The real go command as a client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest

GO = shutil.which("go") or ""
needs_go = pytest.mark.skipif(not GO, reason="the go command is not installed")


def upstream_with(path: str) -> str:
    """The upstream of this machine, which answers to ``path``; or no test."""
    settings = json.loads(subprocess.run([GO, "env", "-json"], capture_output=True, check=True).stdout)
    url = str(settings["GOPROXY"]).split(",")[0].split("|")[0]
    if not url.startswith("http"):
        pytest.skip("`go env GOPROXY` names no upstream")
    try:
        urllib.request.urlopen(f"{url}/{path}", timeout=10).close()
    except OSError as error:
        pytest.skip(f"the upstream of `go env GOPROXY` has no {path}, or cannot be reached: {error}")
    return url


class Client:
    """A user's machine: an empty module cache in ``directory``, and one proxy."""

    def __init__(self, directory: Path, goproxy: str, **settings: str) -> None:
        self.cache = directory / "modcache"
        self.work = directory / "work"
        self.work.mkdir(parents=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GOMODCACHE": str(self.cache),
            "GOCACHE": os.environ.get("GOCACHE") or str(Path.home() / ".cache" / "go-build"),
            "GOBIN": str(directory / "bin"),
            "GOPROXY": goproxy,
            "GOSUMDB": "off",
            "GOFLAGS": "-modcacherw",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            **settings,
        }

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """One go command in the work directory."""
        return subprocess.run(
            [GO, *arguments],
            cwd=self.work,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *arguments: str, timeout: float = 300) -> str:
        """What it prints; it must succeed."""
        done = self.run(*arguments, timeout=timeout)
        assert done.returncode == 0, f"go {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def files(self) -> dict[str, str]:
        """The hashes of the downloaded zips, go.mod files and h1 hashes, by their names in the protocol."""
        root = self.cache / "cache" / "download"
        return {
            str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.suffix in {".zip", ".mod", ".ziphash"}
        }
