"""The server of Athens' contract for external storage, asked by curl and by hand."""

from __future__ import annotations

import socket
import subprocess
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from athensd.blob import BytesBlob, read_all
from athensd.errors import AthensError, InvalidPath, InvalidRequest, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.spool import Spool
from athensd.storage.external_server import Form
from athensd.storage.memory import MemoryStorage
from athensd.web import external
from athensd.web.external import ExternalSite, Target, Upload, target_of
from tests.fakes import module_files, module_zip, result_of
from tests.storage.contract import BrokenBlob, files_below
from tests.test_documentation import ROOT, typed

V = ModuleVersion("example.com/Big/m", "v1.0.0-RC1")
BASE = "example.com/!big/m/@v/v1.0.0-!r!c1"
KINDS = {"mod.info": Kind.INFO, "mod.mod": Kind.MOD, "mod.zip": Kind.ZIP}


class Server:
    """Our server on loopback, and curl."""

    def __init__(self, tmp_path, **more):
        self.tmp_path = tmp_path
        self.storage = MemoryStorage(Spool(tmp_path / "storage"))
        site = ExternalSite(self.storage, Spool(tmp_path / "spool"), deferToThread, **more)
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.number = self.port.getHost().port

    async def curl(self, path, *arguments):
        """The status of the answer, and its body."""
        command = ["curl", "-s", "-w", "\n%{http_code}", *arguments, f"http://127.0.0.1:{self.number}/{path}"]
        done = await deferToThread(subprocess.run, command, stdout=subprocess.PIPE, timeout=60, check=False)
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    async def save(self, files, names=tuple(KINDS), base=BASE, *more):
        """Save by ``curl -F``, with the files in this order."""
        arguments = []
        for name in names:
            path = self.tmp_path / name
            path.write_bytes(files[KINDS[name]])
            arguments += ["-F", f"{name}=@{path}"]
        return await self.curl(f"{base}.save", *arguments, *more)

    def unfinished(self):
        return files_below(self.tmp_path / "spool")


@pytest.fixture
def make_server(tmp_path):
    servers = []

    def make(**more):
        servers.append(Server(tmp_path, **more))
        return servers[-1]

    yield make
    for server in servers:
        blockon(server.port.stopListening())


@pytest.fixture
def server(make_server):
    return make_server()


@ensureDeferred
async def test_by_curl(server):
    """A version is saved, listed, read and deleted."""
    files = module_files(V)
    assert await server.curl("example.com/!big/m/@v/list") == (200, b"")
    assert (await server.curl(f"{BASE}.info"))[0] == 404
    assert await server.save(files) == (200, b"")
    assert await server.curl("example.com/!big/m/@v/list") == (200, b"v1.0.0-RC1\n")
    for name, kind in KINDS.items():
        assert await server.curl(f"{BASE}{name[3:]}") == (200, files[kind])
    assert await server.curl(f"{BASE}.delete", "-X", "DELETE") == (200, b"")
    assert (await server.curl(f"{BASE}.delete", "-X", "DELETE"))[0] == 404
    assert await server.curl("example.com/!big/m/@v/list") == (200, b"")
    assert server.unfinished() == []


@pytest.mark.parametrize("names", list(permutations(KINDS)), ids=" ".join)
@ensureDeferred
async def test_any_order(server, names):
    """The files of a form come in any order, and the hash of the zip is stored with them."""
    files = module_files(V)
    assert await server.save(files, names) == (200, b"")
    for kind, data in files.items():
        assert await read_all(await server.storage.open(V, kind)) == data
    assert (await read_all(await server.storage.open(V, Kind.ZIPHASH))).startswith(b"h1:")


@ensureDeferred
async def test_order(server, monkeypatch):
    """Whoever sees the .info sees the whole version, and whoever sees the zip its hash."""
    order, put = [], server.storage.put
    monkeypatch.setattr(
        server.storage, "put", lambda version, kind, blob: (order.append(kind), put(version, kind, blob))[1]
    )
    await server.save(module_files(V))
    assert order == [Kind.MOD, Kind.ZIPHASH, Kind.ZIP, Kind.INFO]


@ensureDeferred
async def test_chunked(server):
    """A body whose length is not said, as Athens sends it, is taken too."""
    assert await server.save(module_files(V), tuple(KINDS), BASE, "-H", "Transfer-Encoding: chunked") == (200, b"")


@ensureDeferred
async def test_versions_as_athens_sends_them(server):
    """A version that is not escaped is understood."""
    files = module_files(V)
    base = "example.com/!big/m/@v/v1.0.0-RC1"
    assert await server.save(files, tuple(KINDS), base) == (200, b"")
    assert await server.curl(f"{base}.mod") == (200, files[Kind.MOD])
    assert await server.storage.versions(V.path) == [V.version]


@ensureDeferred
async def test_once(server):
    """The same version again is no error; another one is a conflict, and changes nothing."""
    files = module_files(V)
    for _ in range(2):
        assert await server.save(files) == (200, b"")
    go_mod = files[Kind.MOD]
    other = {**files, Kind.ZIP: module_zip(V, {"go.mod": go_mod, "other.go": b"package m\n"})}
    for changed in (other, {**files, Kind.INFO: b"{}"}):
        status, text = await server.save(changed)
        assert status == 409
        assert b"other bytes are stored already" in text
    for kind, data in files.items():
        assert await read_all(await server.storage.open(V, kind)) == data


BAD_ZIPS = {
    "no zip": (b"not a zip", "zip"),
    "another version": (module_zip(ModuleVersion(V.path, "v1.0.0"), {"go.mod": b"x"}), "path does not have prefix"),
    "another go.mod": (module_zip(V, {"go.mod": b"module example.com/other\n"}), "differs from mod.mod"),
    "cut": (module_files(V)[Kind.ZIP][:-10], "zip"),
}


@pytest.mark.parametrize(("data", "words"), BAD_ZIPS.values(), ids=BAD_ZIPS)
@ensureDeferred
async def test_bad_zip(server, data, words):
    """A zip that the go command would refuse is refused in words, and nothing of the version is stored."""
    status, text = await server.save({**module_files(V), Kind.ZIP: data})
    assert status == 400
    assert words in text.decode()
    for kind in Kind:
        with pytest.raises(NotFound):
            await server.storage.open(V, kind)
    assert server.unfinished() == []


BAD_FORMS = {
    "a file is missing": (["-F", "mod.info=x", "-F", "mod.mod=x"], "no file mod.zip"),
    "nothing": (["-F", "mod.info=x"], "no file mod.mod, mod.zip"),
    "a stranger": (["-F", "mod.info=x", "-F", "other=x", "-F", "mod.mod=x"], 'part "other" too much'),
    "twice": (["-F", "mod.mod=x", "-F", "mod.mod=x", "-F", "mod.zip=x"], 'part "mod.mod" too much'),
    "too many": ([each for name in (*KINDS, "more") for each in ("-F", f"{name}=x")], "count"),
    "no form": (["-d", "x=y"], "multipart/form-data"),
    "no body": (["-X", "POST"], "multipart/form-data"),
    "no boundary": (["-H", "Content-Type: multipart/form-data", "-d", "x"], "multipart/form-data"),
    "not its boundary": (["-H", "Content-Type: multipart/form-data; boundary=x", "-d", "--y\r\n"], "no form of"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_FORMS.values(), ids=BAD_FORMS)
@ensureDeferred
async def test_bad_form(server, arguments, words):
    """What is no form of the three files is 400, and says why."""
    status, text = await server.curl(f"{BASE}.save", *arguments)
    assert status == 400
    assert words in text.decode()
    assert server.unfinished() == []


@pytest.mark.parametrize("name", KINDS)
@ensureDeferred
async def test_sizes(server, monkeypatch, name):
    """A file of the largest size that Go allows is taken; with one byte more it is not kept."""
    files = module_files(V)
    parts = {each: (kind, len(files[kind])) for each, kind in KINDS.items()}
    monkeypatch.setattr(external, "PARTS", parts)
    assert (await server.save(files))[0] == 200
    limit = len(files[KINDS[name]]) - 1
    monkeypatch.setattr(external, "PARTS", {**parts, name: (KINDS[name], limit)})
    status, text = await server.save(files)
    assert status == 400
    assert f"the {KINDS[name].value} is larger than {limit} bytes" in text.decode()
    assert server.unfinished() == []


BAD_REQUESTS = {
    "/": 400,
    "x": 400,
    "@v/list": 400,
    "example.com/Big/@v/list": 400,
    "example.com/../m/@v/list": 400,
    "example.com/%2e%2e/m/@v/list": 400,
    "-x/@v/list": 400,
    "example.com/m/@v/v1.0.0.ziphash": 400,
    "example.com/m/@v/main.info": 400,
    "example.com/m/@v/v1.info": 400,
    "example.com/m/@v/v2.0.0.info": 400,
    "example.com/m/@v/v1.0.0-!.info": 400,
    "example.com/m/@v/v1.0.0%2fx.info": 400,
    "example.com/m/@v/%ff.info": 400,
    "example.com/m/@v/v1.0.0.save": 405,
    "example.com/m/@v/v1.0.0.delete": 405,
    "example.com/m/@v/v1.0.0.info": 404,
    "example.com/m/@v/v1.0.0.mod": 404,
    "example.com/m/@v/v1.0.0.zip": 404,
}


@pytest.mark.parametrize(("path", "status"), BAD_REQUESTS.items())
@ensureDeferred
async def test_paths(server, path, status):
    """A path that can name nothing is 400, a method that is not of the contract 405, what is not there 404."""
    assert (await server.curl(path, "--path-as-is"))[0] == status
    if status == 404:
        assert (await server.curl(path, "-X", "POST"))[0] == 405


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (b"/example.com/!big/m/@v/list", Target("list", "example.com/Big/m")),
        (b"/example.com/m/@v/v1.2.3-pre.1.info.zip", Target("zip", "example.com/m", "v1.2.3-pre.1.info")),
        (b"/example.com/m/@v/v2.0.0+incompatible.save", Target("save", "example.com/m", "v2.0.0+incompatible")),
        (b"/example.com/m/@v/v1.0.0-%21r%21c1.mod", Target("mod", "example.com/m", "v1.0.0-RC1")),
    ],
)
def test_target(raw, target):
    """What a path means."""
    assert target_of(raw) == target


@given(st.binary(max_size=60))
def test_any_path(rest):
    """Any path means something that can be stored, or is refused in one of two words."""
    try:
        target = target_of(b"/example.com/m/@v/" + rest)
    except (InvalidRequest, InvalidPath):
        return
    assert target.path.startswith("example.com/m")


@ensureDeferred
async def test_login(make_server):
    """Without the user and the password nothing is given, taken or removed."""
    server = make_server(user="athens", password="secret")
    files = module_files(V)
    login = ("-u", "athens:secret")
    for wrong in ((), ("-u", "athens:"), ("-u", ":secret"), ("-u", "athens:secret2"), ("-H", "Authorization: \xff")):
        assert (await server.save(files, tuple(KINDS), BASE, *wrong))[0] == 401
        assert (await server.curl("example.com/!big/m/@v/list", *wrong))[0] == 401
        assert server.unfinished() == []
    assert (await server.save(files, tuple(KINDS), BASE, *login))[0] == 200
    assert (await server.curl(f"{BASE}.delete", "-X", "DELETE"))[0] == 401
    assert await server.curl(f"{BASE}.mod", *login) == (200, files[Kind.MOD])


@ensureDeferred
async def test_parts_and_heads(server):
    """HEAD and ranges are answered as for any other download."""
    files = module_files(V)
    await server.save(files)
    data = files[Kind.ZIP]
    assert await server.curl(f"{BASE}.zip", "-r", "5-9") == (206, data[5:10])
    status, head = await server.curl(f"{BASE}.zip", "-I")
    assert status == 200
    assert f"Content-Length: {len(data)}".encode() in head


@pytest.mark.parametrize(("share", "user"), [(0.0, ""), (0.3, ""), (0.9, ""), (0.9, "athens")])
@ensureDeferred
async def test_upload_broken_off(make_server, share, user):
    """Of a form that does not come to its end nothing is stored or stays in the spool; a stranger's is never there."""
    server = make_server(user=user)
    form = Form({kind: BytesBlob(data) for kind, data in module_files(V).items()}, "bound")
    body = await read_all(form)
    with socket.create_connection(("127.0.0.1", server.number)) as connection:
        head = f"POST /{BASE}.save HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=bound\r\n\r\n".encode())
        connection.sendall(body[: int(len(body) * share)])
        await wait(0.05)
        assert bool(server.unfinished()) == (share > 0 and not user)
    while server.unfinished():
        await wait(0.01)
    with pytest.raises(NotFound):
        await server.storage.open(V, Kind.MOD)


@ensureDeferred
async def test_as_documented(server, tmp_path):
    """docs/storage-external.md: the command there saves a version."""
    [command] = typed(ROOT / "docs/storage-external.md")
    version = ModuleVersion("example.com/m", "v1.0.0")
    for kind, name in ((Kind.INFO, "v1.0.0.info"), (Kind.MOD, "go.mod"), (Kind.ZIP, "v1.0.0.zip")):
        (tmp_path / name).write_bytes(module_files(version)[kind])
    here = command.replace("127.0.0.1:3002", f"127.0.0.1:{server.number}").replace("curl", "curl -fsS")
    await deferToThread(subprocess.run, here, shell=True, cwd=tmp_path, check=True, timeout=60)
    assert await server.storage.open(version, Kind.ZIP)


def wait(seconds):
    waiting = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


@ensureDeferred
async def test_store_fails(server, monkeypatch):
    """A store that fails is 500, and one that fails in the middle of an answer breaks it off."""

    async def failing(version, kind):
        raise StorageFailed("the bucket is away")

    async def breaking(version, kind):
        return BrokenBlob(4 << 20)

    monkeypatch.setattr(server.storage, "open", failing)
    status, text = await server.curl(f"{BASE}.zip")
    assert (status, text.splitlines()[0]) == (500, b"the bucket is away")
    monkeypatch.setattr(server.storage, "open", breaking)
    done = await deferToThread(
        subprocess.run, ["curl", "-s", f"http://127.0.0.1:{server.number}/{BASE}.zip"], stdout=-1, check=False
    )
    assert done.returncode in {18, 56}  # curl: partial file, failure in receiving


@given(st.data())
def test_pieces(tmp_path_factory, data):
    """However a form is cut into pieces, and whatever its files hold, they are what was sent."""
    endings = st.sampled_from([b"", b"\r\n--boun", b"\r"])
    parts = {kind: data.draw(st.binary(max_size=50)) + data.draw(endings) for kind in KINDS.values()}
    body = result_of(read_all(Form({kind: BytesBlob(each) for kind, each in parts.items()}, "bound")))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=10)))
    spool = Spool(tmp_path_factory.mktemp("spool"))
    upload = Upload("bound", spool)
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        if start < stop:
            upload.feed(body[start:stop])
    assert {kind: blob.path.read_bytes() for kind, blob in upload.finish().items()} == parts
    upload.discard()
    spool.close()


@given(st.binary(max_size=200), st.booleans())
def test_any_body(tmp_path_factory, data, led):
    """Any bytes are a form or are refused in one word, and are gone in the end."""
    place = tmp_path_factory.mktemp("spool")
    spool = Spool(place)
    upload = Upload("b", spool)
    if led:
        upload.feed(b'--b\r\nContent-Disposition: form-data; name="mod.zip"\r\n\r\n')
    if data:
        upload.feed(data)
    with pytest.raises(AthensError):
        upload.finish()
    upload.discard()
    assert files_below(place) == []
    spool.close()
