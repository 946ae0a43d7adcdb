"""docs/installing.md: what it says to type is typed, from its beginning to its end."""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from athensd.startup import read_configuration
from tests.packaging.packages import ROOT, install_requirements, run
from tests.test_documentation import typed


@pytest.mark.slow
def test_what_it_says_to_type(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """In an unpacked source package, with other places; settings and units are then where the service looks for them.

    What pip would have fetched from an index is that of the tests.  There is no user athensd, and a unit is enabled and
    not started; kubectl and systemctl may be missing.
    """
    with tarfile.open(packages[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.glob("athensd-*")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "var/lib/athensd/modules").mkdir(parents=True)  # as the service makes it
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_QUIET": "1", "KUBECONFIG": "/dev/null"}
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for block in typed(ROOT / "docs/installing.md"):
        for line in block.splitlines():
            if line.startswith(("kubectl", "systemctl")) and not shutil.which(line.split()[0]):
                continue
            here = re.sub(r"(?<![\w/])/(opt|etc|var)/", f"{tmp_path}/\\1/", line)
            here = here.replace("systemctl enable --now", f"systemctl --root={tmp_path} enable")
            here = here.removeprefix("runuser -u athensd -- ")
            run("bash", "-euc", here, cwd=source, HOME=str(tmp_path), PATH=path, **offline)
            if "-m venv" in line:
                install_requirements(tmp_path / "opt/athensd")
    assert not (tmp_path / "opt/athensd/bin/athensd").exists()
    assert list((source / "dist").glob("athensd-*.whl"))
    config = read_configuration(str(tmp_path / "etc/athensd/athens.toml"))
    assert (config.storage_type, config.storage.disk.root_path) == ("disk", f"{tmp_path}/var/lib/athensd/modules")
    assert {path.name for path in (tmp_path / "etc/systemd/system").glob("a*")} == {"athensd.service", "athensd.socket"}
