"""What happens when something is not stored."""

from __future__ import annotations

import base64

import pytest

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, Redirected, UpstreamFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.misses import Misses
from athensd.policy.download_mode import parse_download_mode
from athensd.policy.revoked import parse_revoked
from tests.fakes import Steps, module_files, result_of
from tests.proxy_room import PATH, Room

URL = "https://up.test/go"


def moded(tmp_path, mode):
    """A room where this happens."""
    room = Room(tmp_path)
    room.misses = Misses(room.stash, parse_download_mode(mode, URL, lambda path: ""))
    room.proxy._stash = room.misses
    room.publish("v1.0.0")
    return room


def test_sync(tmp_path):
    """It is fetched, and whoever asks waits for it."""
    assert moded(tmp_path, "sync").ask("zip", PATH, "v1.0.0")[0].state == "miss"


def test_revoked(tmp_path):
    """It is not fetched, whatever led to it."""
    room = moded(tmp_path, "sync")
    room.misses.revoked = parse_revoked(f"revoked {PATH}@v1.0.0 2026-11-24 it is bad", "revoked")
    for query in ("v1.0.0", "v1"):
        with pytest.raises(Forbidden, match="it is bad"):
            room.ask("info", PATH, query)
    assert room.origin.fetched() == []


def test_none(tmp_path):
    """Only what is stored is served."""
    room = moded(tmp_path, "none")
    with pytest.raises(NotFound, match="does not fetch it"):
        room.ask("zip", PATH, "v1.0.0")
    assert room.origin.asked == []
    room.store("v1.0.0")
    assert room.ask("mod", PATH, "v1.0.0")[0].state == "hit"


@pytest.mark.parametrize("mode", ["redirect", "async_redirect"])
def test_redirect(tmp_path, mode):
    """The client is sent to the other proxy; asynchronously it is fetched behind that, for the next one."""
    room = moded(tmp_path, mode)
    with pytest.raises(Redirected) as caught:
        result_of(room.proxy.zip("example.com/Big", "v1.0.0"))
    assert (caught.value.status, caught.value.url) == (307, f"{URL}/example.com/%21big/@v/v1.0.0.zip")
    with pytest.raises(Redirected):
        room.ask("zip", PATH, "v1.0.0")
    if mode == "redirect":
        assert room.origin.asked == []
    else:
        assert room.ask("zip", PATH, "v1.0.0")[0].state == "hit"


def test_async(tmp_path, steps: Steps):
    """It is not there yet, is fetched once however many ask, and is there as soon as that is done."""
    room = moded(tmp_path, "async")
    room.origin.hold()
    for _ in range(2):
        with pytest.raises(NotFound, match="it is being fetched"):
            room.ask("mod", PATH, "v1.0.0")
    assert room.origin.fetched() == [Kind.MOD]
    room.origin.release()
    assert room.ask("mod", PATH, "v1.0.0")[1] == module_files(ModuleVersion(PATH, "v1.0.0"))[Kind.MOD]
    assert [step.apart for step in steps.named("behind")] == [True]


def test_async_that_fails(tmp_path):
    """What cannot be fetched stays absent, and is tried again when somebody asks a while later."""
    room = moded(tmp_path, "async")
    room.origin.failure = UpstreamFailed("it is away")
    with pytest.raises(NotFound):
        room.ask("mod", PATH, "v1.0.0")
    room.origin.failure = None
    room.clock.advance(31)
    with pytest.raises(NotFound):
        room.ask("mod", PATH, "v1.0.0")
    assert result_of(read_all(result_of(room.storage.open(ModuleVersion(PATH, "v1.0.0"), Kind.MOD))))


def test_modes_by_module(tmp_path):
    """The rules of a file decide for each module, and may be replaced."""
    hcl = base64.b64encode(b'mode = "none"\ndownload "example.com/*" { mode = "sync" }\n').decode()
    room = moded(tmp_path, f"custom:{hcl}")
    assert room.ask("mod", PATH, "v1.0.0")[0].state == "miss"
    with pytest.raises(NotFound, match="does not fetch it"):
        room.ask("mod", "other.test/m", "v1.0.0")
    room.misses.modes = parse_download_mode("none", "", lambda path: "")
    with pytest.raises(NotFound, match="does not fetch it"):
        room.ask("zip", PATH, "v1.0.0")
