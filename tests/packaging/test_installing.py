"""docs/installing.md: what it says to type is typed, if it needs no root, no network and no container engine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from athensd.startup import read_configuration
from tests.packaging.packages import ROOT, run

LINES = [
    line
    for block in re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "docs/installing.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for line in block.splitlines()
]
ELSEWHERE = ("python3 -m", "/opt/athensd/bin/pip", "useradd", "systemctl", "docker")
"""What asks for root, an index or an engine; packages are built and installed in ``test_packages``."""


@pytest.mark.slow
def test_what_it_says_to_type(programs: Path, tmp_path: Path) -> None:
    """In order, with other places, all of it succeeds; settings and units are then where the service looks for them."""
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    done = 0
    for line in LINES:
        if line.startswith(ELSEWHERE) or (line.startswith("kubectl") and not shutil.which("kubectl")):
            continue
        here = line.replace("/opt/athensd", str(programs.parent))
        here = re.sub(r"(?<=[ ])/etc/", f"{tmp_path}/etc/", here)
        run("/bin/sh", "-euc", here, cwd=ROOT, HOME=str(tmp_path), KUBECONFIG="/dev/null")
        done += 1
    assert done >= 6
    config = read_configuration(str(tmp_path / "etc/athensd/athens.toml"))
    assert (config.storage_type, config.storage.disk.root_path) == ("disk", "/var/lib/athensd/modules")
    assert {path.name for path in (tmp_path / "etc/systemd/system").iterdir()} == {"athensd.service", "athensd.socket"}
