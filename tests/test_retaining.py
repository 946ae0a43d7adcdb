"""What the settings and rules mean for zips that could be evicted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from athensd.checksums.verifier import Exempt
from athensd.config.settings import Config
from athensd.gomod.version import ModuleVersion
from athensd.policy.download_mode import parse_download_mode
from athensd.policy.revoked import REVOKED, line_of, parse_revoked
from athensd.retaining import make_reasons
from athensd.startup import read_rules
from athensd.storage.nothing import NoStorage
from tests.fakes import FakeOrigin

M = ModuleVersion("example.com/m", "v1.2.3")
OTHER = ModuleVersion("example.com/m", "v1.2.4")


def unread(path: str) -> str:
    raise AssertionError(path)


@pytest.mark.parametrize(
    ("network_mode", "download_mode", "fetched"),
    [
        ("strict", "sync", [False, True]),
        ("fallback", "sync", [False, True]),
        ("offline", "sync", [False, False]),
        ("strict", "async", [False, False]),
    ],
)
def test_what_would_be_fetched(network_mode: str, download_mode: str, fetched: list[bool]) -> None:
    """Nothing is where no client would get it at once; what is revoked is not fetched in any case."""
    config = evolve(Config(), network_mode=network_mode)
    revoked = parse_revoked(line_of(REVOKED, M, datetime(2026, 1, 2, tzinfo=UTC), "bad"), "revoked")
    modes = parse_download_mode(download_mode, "", unread)
    rules = evolve(read_rules(config), modes=modes, revoked=revoked)
    settings = {"GONOPROXY": ""}
    reasons = make_reasons(config, settings, NoStorage(), FakeOrigin(), Exempt(), lambda: rules, Clock())
    assert [reasons.fetched(version) for version in (M, OTHER)] == fetched
