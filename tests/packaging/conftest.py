"""What is built once for all tests of packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.packages import build, install


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def programs(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment with the wheel."""
    return install(packages[1], tmp_path_factory.mktemp("installed") / "athensd")
