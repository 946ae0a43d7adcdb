"""The packages as they are built, and environments that they are installed into."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What it prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(place: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made of the sdist alone."""
    source = place / "source"
    left_out = shutil.ignore_patterns(".*", "var", "build", "dist", "*.egg-info", "__pycache__", "fixtures")
    shutil.copytree(ROOT, source, ignore=left_out)
    # What is required of setuptools is for whoever builds with isolation; here it is the one that is installed.
    command = ["-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir", str(place / "dist")]
    run(sys.executable, *command, str(source), cwd=place)
    [sdist], [wheel] = (place / "dist").glob("*.tar.gz"), (place / "dist").glob("*.whl")
    return sdist, wheel


def install(wheel: Path, environment: Path) -> Path:
    """A new environment with the wheel, as it would be with all that the wheel requires; its ``bin``.

    That comes from the environment of the tests, where athensd itself is a path entry that does not come along.
    """
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment.parent)
    install_requirements(environment)
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, wheel, cwd=environment.parent)
    return environment / "bin"


def install_requirements(environment: Path) -> None:
    """All that athensd requires, with Twisted's own script, as pip would have written it there."""
    [places] = (environment / "lib").glob("python3*/site-packages")
    (places / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    twistd = environment / "bin/twistd"
    twistd.write_text(
        f"#!{environment}/bin/python\nimport sys\nfrom twisted.scripts.twistd import run\nsys.exit(run())\n"
    )
    twistd.chmod(0o755)
