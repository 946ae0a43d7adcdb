"""Whose certificates are trusted, shown by servers that have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from attrs import define, field
from pytest_twisted import blockon, ensureDeferred
from treq.client import HTTPClient
from twisted.internet.defer import gatherResults
from twisted.web.client import HTTPConnectionPool

from athensd.errors import UpstreamFailed
from athensd.origin.transfer import Transfer
from athensd.outbound import trust
from athensd.outbound.agent import make_agent
from athensd.outbound.trust import trust_root
from tests.origin.fakes_http import Room, answer, loop

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does


@define
class Servers:
    """One for each authority, and whose of them is trusted under an environment."""

    system: trustme.CA = field(factory=trustme.CA)
    ours: trustme.CA = field(factory=trustme.CA)
    other: trustme.CA = field(factory=trustme.CA)
    room: Room = field(factory=Room)

    async def trusted(self, **environ: str) -> set[str]:
        pool = HTTPConnectionPool(loop, persistent=False)
        transfer = Transfer(HTTPClient(make_agent(loop, environ, pool=pool)), loop)
        found = set()
        for name in ("system", "ours", "other"):
            server = self.room.serve_tls(answer(b"yes"), authority=getattr(self, name))
            try:
                await transfer.small(f"{server.url}/x", "x", 10)
                found.add(name)
            except UpstreamFailed as error:
                assert "certificate verify failed" in str(error)
        return found


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """In place of the system's own authorities there is one of the test."""
    servers = Servers()
    (tmp_path / "system").mkdir()
    servers.system.cert_pem.write_to_path(tmp_path / "system" / "all.crt")
    monkeypatch.setattr(trust, "FILES", (str(tmp_path / "none"), str(tmp_path / "system" / "all.crt")))
    monkeypatch.setattr(trust, "DIRECTORIES", f"{tmp_path / 'none'}:{tmp_path / 'system'}")
    yield servers
    blockon(gatherResults([server.stop() for server in servers.room.servers]))


@ensureDeferred
async def test_a_file(servers: Servers, tmp_path: Path) -> None:
    """The authorities of SSL_CERT_FILE stand beside those of the system, as they do for Go."""
    file = tmp_path / "ours.pem"
    file.write_bytes(b"# ours\n" + servers.ours.cert_pem.bytes() + b"\n# twice\n" + servers.ours.cert_pem.bytes())
    assert await servers.trusted(SSL_CERT_FILE=str(file)) == {"ours", "system"}
    both = servers.ours.cert_pem.bytes() + servers.other.cert_pem.bytes()
    file.write_bytes(both)
    assert await servers.trusted(SSL_CERT_FILE=str(file)) == {"ours", "other", "system"}


@ensureDeferred
async def test_directories(servers: Servers, tmp_path: Path) -> None:
    """All files of SSL_CERT_DIR count, whatever they are called, beside the file of the system."""
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
        getattr(servers, name).cert_pem.write_to_path(tmp_path / name / f"{name}.crt")
    (tmp_path / "ours" / "README").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    (tmp_path / "ours" / "gone").symlink_to("nowhere")
    (tmp_path / "ours" / "more").mkdir()
    assert await servers.trusted(SSL_CERT_DIR=str(tmp_path / "ours")) == {"ours", "system"}
    directories = f"{tmp_path / 'ours'}:{tmp_path / 'none'}:{tmp_path / 'other'}"
    assert await servers.trusted(SSL_CERT_DIR=directories) == {"ours", "other", "system"}
    assert await servers.trusted(
        SSL_CERT_FILE=str(tmp_path / "other" / "other.crt"), SSL_CERT_DIR=str(tmp_path / "none")
    ) == {"other"}


@ensureDeferred
async def test_neither(servers: Servers) -> None:
    """Without them it is what OpenSSL finds on this system, where nobody knows our authorities."""
    assert await servers.trusted() == set()
    assert await servers.trusted(SSL_CERT_FILE="", SSL_CERT_DIR="") == set()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is told at once: else every request would fail for a reason that is hard to guess."""
    with pytest.raises(ValueError, match="SSL_CERT_FILE cannot be read: No such file or directory"):
        trust_root({"SSL_CERT_FILE": str(tmp_path / "none")})
