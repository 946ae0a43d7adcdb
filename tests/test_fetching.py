"""The wiring of what fetches."""

from __future__ import annotations

import pytest

from athensd.config.load import load
from athensd.fetching import make_chain
from athensd.origin.chain import OffOrigin
from athensd.startup import Unusable
from tests.fakes import at_once


@pytest.mark.parametrize(
    "goproxy", ["http://localhost:3000", "https://x@a.test|http://me:secret@127.0.0.1:3000/athens"]
)
def test_an_upstream_that_is_this_one(goproxy: str) -> None:
    """It would wait for itself, so it does not start; the message shows no login."""
    settings = {"GOPROXY": goproxy, "GONOPROXY": ""}
    with pytest.raises(Unusable, match=r"GOPROXY has .*:3000.*, which is this proxy itself") as caught:
        make_chain(None, load("", {}), settings, OffOrigin(), at_once)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("goproxy", "toml"),
    [
        ("http://localhost:3001", ""),
        ("http://other.test:3000", ""),
        ("http://localhost:3000", "UnixSocket = '/run/athensd.sock'"),
    ],
)
def test_an_upstream_that_is_another(goproxy: str, toml: str) -> None:
    """Another port, another host, or nothing of ours at a port."""
    settings = {"GOPROXY": goproxy, "GONOPROXY": ""}
    make_chain(None, load(toml, {}), settings, OffOrigin(), at_once)  # type: ignore[arg-type]
