"""``kill -9`` at any moment: what can be seen is whole, and the next start goes on from there."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pytest

from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip
from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version

KILLS = 100
MODULES = 400
SETTLED = {".info", ".mod", ".zip", ".ziphash"}


@needs_go
@pytest.mark.slow
def test_nothing_half_is_ever_visible(tmp_path: Path) -> None:
    """A hundred kills under load: every file in the store is the upstream's, every hash is right, no leftovers."""
    chance = random.Random(20261124)
    tree = tmp_path / "tree"
    for number in range(MODULES):
        files = {"go.mod": b"module example.test/m%d\n" % number, "data": chance.randbytes(chance.randrange(1 << 18))}
        add_version(tree, f"example.test/m{number}", "v1.0.0", files)
    upstream = Upstream(tree)
    seen: set[str] = set()
    refused: list[str] = []
    for _ in range(KILLS):
        with running(tmp_path / "athensd", upstream.url) as daemon:
            spool = tmp_path / "athensd" / "store" / ".athensd" / "spool"
            assert len(list(spool.iterdir())) == 1, "the dead one's work is swept at start"
            clients = [threading.Thread(target=_load, args=(daemon, chance.random(), refused)) for _ in range(4)]
            for client in clients:
                client.start()
            time.sleep(chance.random() * 0.6)
            daemon.end(signal.SIGKILL)
            for client in clients:
                client.join()
        seen |= _check(tmp_path / "athensd" / "store", tree)
    upstream.stop()
    assert len(seen) > MODULES, "there was something to see"
    assert not refused


def _load(daemon: Daemon, seed: float, refused: list[str]) -> None:
    """Ask for files until nobody answers; ``refused`` takes the answers that were none."""
    chance = random.Random(seed)
    while True:
        path = f"example.test/m{chance.randrange(MODULES)}/@v/v1.0.0.{chance.choice(['info', 'mod', 'zip', 'zip'])}"
        try:
            urllib.request.urlopen(f"{daemon.url}/{path}", timeout=10).read()
        except urllib.error.HTTPError as error:
            refused.append(f"{path}: {error}")
        except (OSError, HTTPException):
            return


def _check(store: Path, tree: Path) -> set[str]:
    """Compare all that has a name with the upstream; the names."""
    names = set()
    for directory, _, files in os.walk(store):
        if ".athensd" in directory:
            continue
        for file in files:
            path = Path(directory, file)
            name = str(path.relative_to(store))
            assert path.suffix in SETTLED, name
            if path.suffix == ".ziphash":
                original = tree / name.removesuffix("hash")
                with original.open("rb") as zip_file:
                    version = ModuleVersion(name.partition("/@v/")[0], "v1.0.0")
                    assert path.read_text() == check_zip(zip_file, version).h1
            else:
                assert path.read_bytes() == (tree / name).read_bytes(), name
                if path.suffix == ".zip":
                    assert path.with_suffix(".ziphash").exists(), name
            names.add(name)
    return names
