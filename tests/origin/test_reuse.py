"""Old answers for the go command."""

from __future__ import annotations

import json

from athensd.origin.reuse import OldAnswers


def test_what_was_said() -> None:
    """The answers to what is asked are there, one after the other, the last one of each."""
    old = OldAnswers()
    old.keep("a@latest", {"Version": "v1.0.0"})
    old.keep("a@latest", {"Version": "v1.1.0"})
    old.keep("b@main", {"Version": "v0.1.0"})
    assert [json.loads(line)["Version"] for line in old.text(["a@latest", "b@latest", "b@main"]).split("\n")] == [
        "v1.1.0",
        "v0.1.0",
    ]
    old.forget("a@latest")
    assert old.text(["a@latest"]) == ""


def test_bounded() -> None:
    """It forgets what was not asked for long."""
    old = OldAnswers(limit=100)
    old.keep("a", {"Version": "v" * 30})
    old.keep("b", {"Version": "v" * 30})
    assert old.text(["a"])
    old.keep("c", {"Version": "v" * 30})
    assert [bool(old.text([name])) for name in "abc"] == [True, False, True]
    old.keep("d", {"Version": "v" * 100})
    assert not any(old.text([name]) for name in "abcd")
