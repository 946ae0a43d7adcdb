"""Which databases the settings mean."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from athensd.checksums.database import ProvenDatabase, UnprovenDatabase
from athensd.checksums.make import World, make_databases
from athensd.flight.memory import MemoryFlight
from athensd.spool import Spool
from tests.fakes import at_once
from tests.rig.sumdb import Signer

NAME = "sum.example.test"
KEY = Signer(NAME, 1).verifier_key
OTHER_KEY = Signer(NAME, 2).verifier_key


@pytest.fixture
def world(tmp_path) -> World:
    gets: Any = None  # nobody is asked
    return World(tmp_path / "sumdb", Spool(tmp_path / "spool"), gets, MemoryFlight(), Clock(), at_once, ())


def test_one_for_both(world: World):
    """The database that clients ask and that we ask ourselves is one; a key that either has serves both."""
    for sumdbs in ([KEY], [f"https://{NAME}"]):
        served, ours = make_databases(sumdbs, KEY, 300, world)
        assert isinstance(ours, ProvenDatabase)
        assert served == {NAME: ours}


def test_ours_need_not_be_served(world: World):
    """And those that are served need not be ours, nor have a key."""
    served, ours = make_databases(["https://other.example.test"], KEY, 300, world)
    assert isinstance(ours, ProvenDatabase)
    assert [type(each) for each in served.values()] == [UnprovenDatabase]
    assert make_databases([KEY], "off", 300, world)[1] is None


def test_two_keys(world: World):
    """One name with two keys is a mistake, and not for us to choose from."""
    with pytest.raises(ValueError, match=f"different keys for {NAME}"):
        make_databases([KEY], OTHER_KEY, 300, world)
