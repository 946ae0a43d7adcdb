"""Programs of Go's own packages that answer the questions of a test, a JSON line for each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[[Iterable[Any]], list[Any]]


def build_oracle(source: Path, program: Path) -> Ask:
    """Build the Go program in ``source``: a function from questions to its answers.  Skips where that cannot be."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("the go command is not installed")
    environ = os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    if subprocess.run([go, "mod", "download"], cwd=source, env=environ, capture_output=True).returncode:
        pytest.skip("the module golang.org/x/mod cannot be downloaded here")
    subprocess.run([go, "build", "-o", program, "."], cwd=source, env=environ, check=True)

    def ask(questions: Iterable[Any]) -> list[Any]:
        lines = "".join(json.dumps(question) + "\n" for question in questions)
        answered = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in answered.stdout.split("\n") if line]

    return ask
