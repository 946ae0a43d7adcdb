"""Wheel and sdist: what is in them, and that it runs where there is no checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from athensd import __version__
from tests.integration.daemon import environment, started
from tests.integration.go import needs_go
from tests.packaging.packages import ROOT, run

pytestmark = pytest.mark.slow


def test_the_wheel_has_all_of_the_package(packages: tuple[Path, Path]) -> None:
    """Modules, what they read, the plugin, the licence; and of Twisted's package nothing but the plugin."""
    names = set(zipfile.ZipFile(packages[1]).namelist())
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "athensd").rglob("*") if path.is_file()}
    assert {name for name in ours if "__pycache__" not in name} <= names
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/athens.py"}
    assert {name.partition("/")[0].removeprefix(f"athensd-{__version__}.") for name in names} == {
        *("athensd", "twisted", "data", "dist-info")
    }
    assert any(name.endswith("LICENSE") for name in names)


def test_the_sdist_has_what_an_administrator_needs(packages: tuple[Path, Path]) -> None:
    """Licence, documentation, samples, units and manifests; no tests, whose data is large."""
    top = f"athensd-{__version__}"
    with tarfile.open(packages[0]) as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "etc/athens.toml", "docs/installing.md", "setup.py"} <= names
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "packaging").rglob("*") if path.is_file()}
    assert here <= names
    assert not {name for name in names if name.startswith(("tests", "bench", "var"))}
    assert packages[0].stat().st_size < 3_000_000


def test_what_is_installed_beside_the_programs(programs: Path) -> None:
    """The sample of settings, the units, and the manual pages where ``man`` looks for those of a ``bin`` in PATH."""
    share = programs.parent / "share"
    assert {path.name for path in (share / "athensd").iterdir()} == {
        *("athens.toml", "athensd.service", "athensd.socket")
    }
    assert (share / "man/man1/athensd.1").exists()
    assert (share / "man/man8/athensd.8").exists()


@needs_go
def test_it_runs_outside_of_the_checkout(programs: Path, tmp_path: Path) -> None:
    """twistd knows its command, the daemon serves, and both come from what was installed."""
    said = run(programs / "twistd", "athens", "--version", cwd=tmp_path)
    assert said == f"athensd {__version__}\n"
    assert run(programs / "athensd", "--version", cwd=tmp_path) == f"athensd, version {__version__}\n"
    where = run(programs / "python", "-c", "import athensd; print(athensd.__file__)", cwd=tmp_path)
    assert where.startswith(str(programs.parent))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [programs / "twistd", "--nodaemon", "--pidfile=", "athens"],
            cwd=tmp_path,
            env=environment(tmp_path, "off", {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        daemon = started(process, log)
        assert daemon.get("healthz")[0] == 200
        status, page = daemon.get("")
        assert (status, b"<html" in page.lower()) == (200, True)
        assert daemon.end() == 0
    finally:
        process.kill()
        process.wait()


def test_plugins_are_looked_for_once(programs: Path, tmp_path: Path) -> None:
    """After ``twistd --help`` by whoever installs, the list of plugins names ours and no start writes it again."""
    run(programs / "twistd", "--help", cwd=tmp_path)
    [cache] = (programs.parent / "lib").glob("python3*/site-packages/twisted/plugins/dropin.cache")
    before = cache.stat().st_mtime_ns
    assert b"twisted.plugins.athens" in cache.read_bytes()
    run(programs / "twistd", "athens", "--version", cwd=tmp_path)
    assert cache.stat().st_mtime_ns == before


@pytest.mark.network
def test_an_empty_environment(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """With nothing but the wheel and what it requires, as pip gets it, athensd and twistd say who they are."""
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    programs = tmp_path / "env/bin"
    # Whichever index pip asks on this machine.
    chosen = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "SSL_CERT_FILE"}
    run(programs / "pip", "install", "--quiet", f"{packages[1]}[fast,prometheus]", cwd=tmp_path, **chosen)
    assert run(programs / "twistd", "athens", "--version", cwd=tmp_path) == f"athensd {__version__}\n"
    assert run(programs / "athensd", "--version", cwd=tmp_path) == f"athensd, version {__version__}\n"
    assert re.search(r"^ +athens ", run(programs / "twistd", "--help", cwd=tmp_path), re.MULTILINE)
