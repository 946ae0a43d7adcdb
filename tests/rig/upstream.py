"""Repositories made of real modules, so that a fetch by git can be compared with what the upstream proxy has."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.rig.corpus import Commit, make_repository


@frozen
class Upstream:
    """What the upstream says about a version."""

    path: str
    version: str
    sum: str
    go_mod: bytes
    time: str


class Unreachable(Exception):
    """The upstream could not be asked."""


def make_real_repository(root: Path, cache: Path, path: str, version: str) -> Upstream:
    """A repository at ``root/<path>.git`` of one commit: the files of a module's zip, at the time of its version.

    The module is downloaded into ``cache`` by the go command, from wherever this machine gets its modules.
    """
    answer = _download(cache, path, version)
    time = json.loads(Path(answer["Info"]).read_text())["Time"]
    prefix = f"{path}@{version}/"
    with zipfile.ZipFile(answer["Zip"]) as archive:
        files = {name.removeprefix(prefix): archive.read(name) for name in archive.namelist()}
    commit = Commit(files, datetime.fromisoformat(time), tags=(version.removesuffix("+incompatible"),))
    make_repository(root / f"{path}.git", [commit])
    return Upstream(path, version, answer["Sum"], Path(answer["GoMod"]).read_bytes(), time)


def _download(cache: Path, path: str, version: str) -> dict[str, Any]:
    environment = {**os.environ, "GOMODCACHE": str(cache), "GOFLAGS": "-modcacherw", "GOWORK": "off"}
    command = ["go", "mod", "download", "-json", f"{path}@{version}"]
    done = subprocess.run(command, cwd=cache, env=environment, stdout=subprocess.PIPE, timeout=60, check=False)
    if done.returncode:
        raise Unreachable(done.stdout.decode())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
