"""Another proxy as an origin: its URLs, its answers, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from structlog.testing import capture_logs
from twisted.logger import LogEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from athensd.blob import read_all
from athensd.errors import Forbidden, NotFound, UpstreamFailed, VerificationFailed
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IOrigin, Kind
from athensd.origin.upstream import LIMIT, UpstreamOrigin
from tests.origin.fakes_http import Handler, Room, Upstream, answer, table

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does

M = "example.test/Big/m"
BASE = "/example.test/%21big/m"
PSEUDO = "v0.0.0-20240301000000-aaaaaaaaaaaa"
PSEUDO_OLD = "v0.0.0-20230301000000-bbbbbbbbbbbb"
INFO = b'{"Version":"v1.2.0","Time":"2024-01-02T03:04:05Z","Origin":{"VCS":"git","URL":"https://x.test"},"X":1}'


def serve(room: Room, answers: Mapping[str, Handler], suffix: str = "") -> tuple[Upstream, UpstreamOrigin]:
    server = room.serve(table(answers))
    return server, UpstreamOrigin(server.url + suffix, room.transfer())


@ensureDeferred
async def test_a_list(room: Room) -> None:
    """A list has its versions, pseudo-versions and times, and nothing that is no version."""
    text = f"v1.0.0\nv1.2.0 2024-01-02T03:04:05Z\n{PSEUDO}\nlatest\n\n<html>\nv1.3.0\textra\n"
    server, origin = serve(room, {f"{BASE}/@v/list": answer(text.encode())})
    listed = await origin.list(M)
    assert [line.version for line in listed] == ["v1.0.0", "v1.2.0", PSEUDO, "v1.3.0"]
    assert [line.time is not None for line in listed] == [False, True, False, False]
    assert server.targets == [f"{BASE}/@v/list"]


@ensureDeferred
async def test_an_empty_list_is_a_module_without_versions(room: Room) -> None:
    """200 with nothing in it is not the same as 404."""
    _, origin = serve(room, {f"{BASE}/@v/list": answer()})
    assert list(await origin.list(M)) == []
    with pytest.raises(NotFound):
        await origin.list("example.test/other")


@ensureDeferred
async def test_the_files(room: Room, tmp_path: Path) -> None:
    """Each file is asked for alone; the zip becomes a file, the others stay in memory, all as they were sent."""
    answers = {f"{BASE}/@v/v1.2.0.{kind}": answer(kind.encode() * 1000) for kind in ("info", "mod", "zip")}
    server, origin = serve(room, answers)
    for kind in (Kind.INFO, Kind.MOD, Kind.ZIP):
        files = await origin.fetch(ModuleVersion(M, "v1.2.0"), kind, tmp_path / "into")
        assert list(files) == [kind]
        assert files[kind].length == 1000 * len(kind.value)
        assert await read_all(files[kind]) == kind.value.encode() * 1000
        file = files[kind].file()
        assert (file is not None) == (kind is Kind.ZIP)
        if file is not None:
            file.close()
    assert server.targets == list(answers)


@pytest.mark.parametrize(
    ("path", "version", "target"),
    [
        ("github.com/BurntSushi/toml", "v1.4.0", "/github.com/%21burnt%21sushi/toml/@v/v1.4.0.mod"),
        ("gopkg.in/yaml.v3", "v3.0.1", "/gopkg.in/yaml.v3/@v/v3.0.1.mod"),
        ("example.test/m", "v2.0.0+incompatible", "/example.test/m/@v/v2.0.0+incompatible.mod"),
        ("example.test/m~x_y", "v1.0.0-RC1", "/example.test/m~x_y/@v/v1.0.0-%21r%21c1.mod"),
    ],
)
@ensureDeferred
async def test_urls_are_spelled_as_go_does(room: Room, tmp_path: Path, path: str, version: str, target: str) -> None:
    """Capitals are escaped, "!" is %21, and what Go leaves alone is left alone; a base path stays in front."""
    for prefix in ("", "/go/mirror", "/go/mirror/"):
        server, origin = serve(room, {prefix.rstrip("/") + target: answer(b"module x\n")}, prefix)
        await origin.fetch(ModuleVersion(path, version), Kind.MOD, tmp_path)
        assert server.targets == [prefix.rstrip("/") + target]


@ensureDeferred
async def test_a_query(room: Room) -> None:
    """A branch is asked for as a version, and what it stands for comes back with its origin."""
    server, origin = serve(room, {f"{BASE}/@v/main.info": answer(INFO), f"{BASE}/@latest": answer(INFO)})
    expected = Info("v1.2.0", "2024-01-02T03:04:05Z", {"VCS": "git", "URL": "https://x.test"})
    assert await origin.resolve(M, "main") == expected
    assert await origin.resolve(M, "latest") == expected
    assert server.targets == [f"{BASE}/@v/main.info", f"{BASE}/@latest"]


@pytest.mark.parametrize("status", [400, 403, 404, 410])
@pytest.mark.parametrize(
    ("listed", "best"),
    [
        ("v1.0.0\nv1.2.0\nv1.3.0-rc.1\n", "v1.2.0"),
        ("v1.3.0-rc.1\nv1.3.0-rc.2\n", "v1.3.0-rc.2"),
        (f"{PSEUDO_OLD}\nv0.1.0\n{PSEUDO}\n", "v0.1.0"),
        (f"{PSEUDO_OLD}\n{PSEUDO}\n", PSEUDO),
        (f"{PSEUDO_OLD} 2025-01-01T00:00:00Z\n{PSEUDO}\n", PSEUDO_OLD),
    ],
)
@ensureDeferred
async def test_an_upstream_without_latest(room: Room, status: int, listed: str, best: str) -> None:
    """Where ``@latest`` is missing or refused, it is the list's best: release, pre-release, newest pseudo-version."""
    info = answer(f'{{"Version":"{best}"}}'.encode())
    answers = {
        f"{BASE}/@latest": answer(b"no", status),
        f"{BASE}/@v/list": answer(listed.encode()),
        f"{BASE}/@v/{best}.info": info,
    }
    server, origin = serve(room, answers)
    assert await origin.resolve(M, "latest") == Info(best)
    assert server.targets == list(answers)


@ensureDeferred
async def test_latest_of_nothing(room: Room) -> None:
    """With neither ``@latest`` nor a version in the list there is no latest version, and that is certain."""
    server, origin = serve(room, {f"{BASE}/@v/list": answer()})
    with pytest.raises(NotFound, match="knows no version") as error:
        await origin.resolve(M, "latest")
    assert server.host in str(error.value)
    _, origin = serve(room, {})
    with pytest.raises(NotFound):
        await origin.resolve(M, "latest")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@ensureDeferred
async def test_a_failing_latest_is_not_made_up(room: Room, status: int) -> None:
    """When ``@latest`` fails, nobody knows whether the list is right: it is not asked."""
    server, origin = serve(room, {f"{BASE}/@latest": answer(b"", status), f"{BASE}/@v/list": answer(b"v1.0.0\n")})
    with pytest.raises(Exception) as error:
        await origin.resolve(M, "latest")
    assert not isinstance(error.value, NotFound)
    assert server.targets == [f"{BASE}/@latest"]


@ensureDeferred
async def test_a_refusal_keeps_its_text(room: Room) -> None:
    """403 is Forbidden with the upstream's reason: a policy above us speaks through us."""
    refused = answer(b"blocked by policy: malware\n", 403, Content_Type="text/plain; charset=utf-8")
    _, origin = serve(room, {f"{BASE}/@v/list": refused})
    with pytest.raises(Forbidden, match="blocked by policy: malware"):
        await origin.list(M)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"Version":"main"}', b'{"Version":1}', b"\xff"])
@ensureDeferred
async def test_an_info_that_is_none(room: Room, body: bytes) -> None:
    """An answer that is no ``.info`` document is not believed."""
    _, origin = serve(room, {f"{BASE}/@v/main.info": answer(body)})
    with pytest.raises(VerificationFailed):
        await origin.resolve(M, "main")


@ensureDeferred
async def test_files_have_limits(room: Room, tmp_path: Path) -> None:
    """A file beyond Go's own limits is refused."""
    too_long = answer(bytes(LIMIT[Kind.MOD] + 1))
    _, origin = serve(room, {f"{BASE}/@v/v1.2.0.mod": too_long, f"{BASE}/@v/v1.2.0.info": too_long})
    for kind in (Kind.MOD, Kind.INFO):
        with pytest.raises(VerificationFailed, match="more than Go allows"):
            await origin.fetch(ModuleVersion(M, "v1.2.0"), kind, tmp_path)


def credentials(request: Any) -> bool:
    return request.getUser() == b"us@er" and request.getPassword() == b"p:a/ss"


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_a_user_and_a_password(room: Room, tmp_path: Path, tls: bool) -> None:
    """Credentials in the URL are sent as Basic auth and appear in no error and no log line."""

    def handle(request: Any) -> Any:
        if not credentials(request):
            return answer(b"who are you?", 401, Content_Type="text/plain")(request)
        return table({f"{BASE}/@v/list": answer(b"v1.0.0\n"), f"{BASE}/@v/v1.0.0.zip": answer(b"zip")})(request)

    server = (room.serve_tls if tls else room.serve)(handle)
    scheme, _, host = server.url.partition("://")
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    errors = []
    try:
        with capture_logs() as lines:
            origin = UpstreamOrigin(f"{scheme}://us%40er:p%3Aa%2Fss@{host}/", room.transfer())
            assert await origin.list(M) == (Listed("v1.0.0"),)
            await origin.fetch(ModuleVersion(M, "v1.0.0"), Kind.ZIP, tmp_path / "into")
            for work in (origin.list("example.test/none"), origin.resolve("example.test/none", "latest")):
                with pytest.raises(NotFound) as error:
                    await work
                errors.append(str(error.value))
            await server.stop()
            await room.pool.closeCachedConnections()
            with pytest.raises(UpstreamFailed) as failed:
                await origin.list(M)
            errors.append(str(failed.value))
    finally:
        globalLogPublisher.removeObserver(events.append)
    said = repr(errors) + repr(lines) + repr([{name: str(value) for name, value in event.items()} for event in events])
    assert "us@er" not in said
    assert "us%40er" not in said
    assert "p:a/ss" not in said
    assert "p%3Aa" not in said
    assert "Basic" not in said
    assert host in errors[0]
    room.servers.remove(server)


def test_contract(room: Room) -> None:
    """It provides what an origin promises."""
    verifyObject(IOrigin, UpstreamOrigin("https://proxy.test", room.transfer()))
