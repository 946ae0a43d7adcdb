"""The manual pages."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from athensd.cli.main import main
from athensd.tap import Options
from tests.packaging.packages import ROOT

MAN = ROOT / "packaging/man"


@pytest.mark.parametrize("page", ["athensd.1", "athensd.8"])
@pytest.mark.parametrize("command", [["mandoc", "-Tlint", "-Wwarning"], ["groff", "-ww", "-man", "-Tutf8", "-z"]])
def test_they_are_set_without_a_warning(command: list[str], page: str) -> None:
    """By either of the programs that show them."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, MAN / page], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_verb_is_described() -> None:
    """Those of the command, and no others."""
    [verbs] = re.findall(r"^\.SH VERBS\n(.*?)^\.SH", (MAN / "athensd.1").read_text(), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\.TP\n\.B[IR]? \"?(\w+)", verbs, re.MULTILINE)) == set(main.commands)


def test_every_option_of_the_daemon_is_described() -> None:
    """Those after the word ``athens``."""
    text = (MAN / "athensd.8").read_text().replace("\\-", "-")
    assert [name for name, *_ in Options.optParameters if f"--{name}" not in text] == []
