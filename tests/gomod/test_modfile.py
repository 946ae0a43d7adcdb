"""go.mod files, as far as they say which others are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.gomod.modfile import parse_mod

TEXT = """// Deprecated: no more.
module example.test/m // with a comment

go 1.16

toolchain go1.21.0

require example.test/one v1.0.0
require "example.test/Two/v2" v2.3.4-pre.1 // indirect
require (
	example.test/three v0.0.0-20200101000000-abcdef123456

	// a comment
	`example.test/four` v3.0.0+incompatible //indirect
	example.test/five v1 // no version of its own
	example.test/six v2.0.0
	nohost v1.0.0
	example.test/seven v1.0.0 extra
)
exclude example.test/eight v1.0.0
replace (
	example.test/nine v1.0.0 => ../nine
)
retract [v1.0.0, v1.1.0]
"""


def test_requires() -> None:
    """Requirements that have files of their own, alone and in blocks, quoted or not; and nothing else."""
    assert [str(version) for version in parse_mod(TEXT).requires] == [
        "example.test/one@v1.0.0",
        "example.test/Two/v2@v2.3.4-pre.1",
        "example.test/three@v0.0.0-20200101000000-abcdef123456",
        "example.test/four@v3.0.0+incompatible",
    ]


@pytest.mark.parametrize(
    ("text", "pruned"),
    [
        ("go 1.17", True),
        ("go 1.16", False),
        ("go 1.9", False),
        ("go 1.100", True),
        ("go 2.0", True),
        ("go 1.21.3", True),
        ("go 1.22rc1", True),
        ("", False),
        ("go", False),
        ("go x", False),
        ("// go 1.17", False),
        ("require (\n go 1.17\n)", False),
    ],
)
def test_pruned(text: str, pruned: bool) -> None:
    """Since go 1.17 a module says all that is read for it."""
    assert parse_mod(text).pruned is pruned


@given(st.text())
def test_anything(text: str) -> None:
    """No text is too odd."""
    parse_mod(text)
