"""What a run leaves out, and what may not be left out.

A plain run takes the fast tests that need no network; ``--all`` takes every one, and so does ``CI=true``.  A test
whose server is absent skips itself; with ``CI=true`` that is a failure, since the servers were started there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from athensd.steps import watch
from tests.fakes import Steps

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # whichever test imports it first
IN_CI = os.environ.get("CI") == "true"


@pytest.fixture
def steps() -> Iterator[Steps]:
    """Every step that is made during the test."""
    steps = Steps()
    watch(steps)
    yield steps
    watch()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow tests too, and those that use the network")


def pytest_configure(config: pytest.Config) -> None:
    if not (config.option.all or config.option.markexpr or IN_CI):
        config.option.markexpr = "not slow and not network"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _refused(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if refused := _refused(config):
        terminalreporter.write_line(f"with CI=true nothing may be skipped, and {refused} were:", red=True)


def _refused(config: pytest.Config) -> int:
    """How many tests and modules were skipped in a run where none may be; expected failures are not among them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if IN_CI and reporter else 0
