"""Azure Blob Storage, as Azurite plays it."""

from __future__ import annotations

from base64 import b64encode
from itertools import count
from urllib.parse import quote

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from athensd.blob import BytesBlob, read_all
from athensd.bucket.azure import AzureBucket, managed_identity, parse_listing, shared_key, text_to_sign
from athensd.bucket.server import Server
from athensd.errors import Conflict, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout
from tests.bucket.contract import NAME, RemoteBucketContract, all_names, data_of, in_turns, put
from tests.cutting import CuttingProxy
from tests.integration.process import free_ports
from tests.origin.fakes_http import answer
from tests.servers import azurite
from tests.storage.contract import StorageContract

numbers = count()
# What Athens stores of a version, and the types that it gives it.
ATHENS = {Kind.INFO: "application/json", Kind.MOD: "text/plain", Kind.ZIP: "application/octet-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


def asking_of(client, server):
    """Asks for what no bucket needs."""
    return Server(client, reactor, shared_key(server.account, server.key), lambda answer: pytest.fail(str(answer.body)))


@pytest.fixture
def name(client, server):
    """A new container."""
    name = f"container-{next(numbers)}"
    url = f"http://127.0.0.1:{server.port}/{server.account}/{name}?restype=container"
    blockon(Deferred.fromCoroutine(asking_of(client, server).ask("PUT", url)))
    return name


def bucket_at(client, server, name, *, port=None, key=None, **more):
    return AzureBucket(
        client,
        reactor,
        server.account,
        name,
        shared_key(server.account, key or server.key),
        endpoint=f"http://127.0.0.1:{port or server.port}/{server.account}",
        **{"page_size": 100, **more},
    )


@pytest.fixture
def bucket(client, server, name):
    return bucket_at(client, server, name)


class TestAzure(RemoteBucketContract):
    def takes(self, name):
        """Azurite orders names as JavaScript does, by UTF-16; no module has a name where that is another order."""
        return name != "example.com/\uff21"

    @pytest.fixture
    def proxied(self, client, server, name):
        proxy = blockon(Deferred.fromCoroutine(CuttingProxy.listening(reactor, server.port)))
        yield proxy, bucket_at(client, server, name, port=proxy.port)
        blockon(Deferred.fromCoroutine(proxy.close()))

    @pytest.fixture
    def bucket_down(self, client, server):
        return bucket_at(client, server, "container", port=free_ports(1)[0])

    @pytest.fixture
    def intruder(self, client, server, name):
        return bucket_at(client, server, name, key=b64encode(bytes(64)).decode())


class TestAzureStorage(StorageContract):
    @pytest.fixture
    def storage(self, bucket):
        return BucketStorage(bucket, DownloadLayout())


class Counting:
    """A client that remembers what it asked for."""

    def __init__(self, client):
        self.client = client
        self.asked = []

    def request(self, method, url, **more):
        self.asked.append(f"{method} {url}")
        return self.client.request(method, url, **more)


# Letting in


def test_text_to_sign():
    """What is signed is what Azure's documentation says ("Authorize with Shared Key")."""
    url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20"
    dated = {"x-ms-version": "2015-02-21", "x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT"}
    assert text_to_sign("myaccount", "GET", url, dated, 0) == "\n".join(
        [
            "GET",
            *[""] * 11,
            "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT",
            "x-ms-version:2015-02-21",
            "/myaccount/mycontainer",
            "comp:metadata",
            "restype:container",
            "timeout:20",
        ]
    )


@pytest.mark.parametrize("key", ["x", "é", "not a key!"])
def test_unreadable_key(key):
    """What is no key is found out at the start, and is not in the words that say so."""
    with pytest.raises(ValueError, match="base64") as failure:
        shared_key("account", key)
    assert key not in str(failure.value).split()


@pytest.fixture
def identities(room, monkeypatch):
    """An App Service, which gives its programs tokens for the resource id ``mine``."""

    def give(request):
        arguments = {name: values[0] for name, values in request.args.items()}
        if request.getHeader("X-IDENTITY-HEADER") != "app" or arguments.get(b"mi_res_id") != b"mine":
            return answer(b'{"statusCode": 400, "message": "secret"}', 400, Content_Type="application/json")(request)
        assert arguments[b"resource"] == b"https://storage.azure.com"
        token = b'{"access_token": "token", "expires_on": "4000000000", "token_type": "Bearer", "resource": "x"}'
        return answer(token, Content_Type="application/json")(request)

    service = room.serve(give)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{service.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "app")
    return service


def identified(client, url, resource_id):
    authorize = managed_identity(resource_id, "https://storage.azure.com/.default", deferToThread)
    return AzureBucket(client, reactor, "account", "container", authorize, endpoint=url)


@ensureDeferred
async def test_managed_identity(client, room, identities):
    """A managed identity lets in: one token is fetched, however many ask.  (Azurite takes tokens over TLS only.)"""
    service = room.serve(answer(b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"))
    bucket = identified(client, service.url, "mine")
    await in_turns([bucket.check() for _ in range(3)])
    assert {asked.headers["authorization"] for asked in service.asked} == {"Bearer token"}
    assert len(identities.asked) == 1


@ensureDeferred
async def test_no_managed_identity(client, room, identities):
    """When it lets not in it is said so."""
    service = room.serve(answer())
    with pytest.raises(StorageFailed, match=r"^container container: no access token could be had: has this"):
        await identified(client, service.url, "another").check()
    assert not service.asked


# What fails


@ensureDeferred
async def test_no_such_container(client, server):
    """A container that is not there is never taken for an empty one."""
    bucket = bucket_at(client, server, "never")
    for ask in (
        lambda: bucket.check(),
        lambda: bucket.open(NAME),
        lambda: put(bucket, NAME, b"x"),
        lambda: bucket.delete(NAME),
        lambda: all_names(bucket),
    ):
        with pytest.raises(StorageFailed, match="container never: there is no such container"):
            await ask()


@ensureDeferred
async def test_server_in_trouble(client, server, room):
    """A server in passing trouble is asked again, but not for ever."""
    listing = b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"
    answers = [503, 429, 200]
    busy = room.serve(lambda request: answer(listing, answers.pop(0), x_ms_error_code="ServerBusy")(request))
    await bucket_at(client, server, "c", port=busy.port).check()
    broken = room.serve(answer(b"secret", 500, x_ms_error_code="InternalError"))
    with pytest.raises(StorageFailed, match=r"^container c: the server refuses \(500 InternalError\)$"):
        await bucket_at(client, server, "c", port=broken.port).check()
    assert len(broken.asked) == 4


# Listing


class Markers:
    """Lists ``names``, two in an answer; its markers stand for the next name, of which Azure says nothing."""

    def __init__(self, room, names):
        self.names = names
        self.expired = False
        self.upstream = room.serve(self.handle)
        self.port = self.upstream.port

    def handle(self, request):
        marker = request.args.get(b"marker", [b"m:"])[0].decode().removeprefix("m:")
        if marker and self.expired:
            return answer(b"", 400, x_ms_error_code="OutOfRangeInput")(request)
        rest = [name for name in self.names if name >= marker]
        blobs = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in rest[:2])
        following = f"m:{rest[2]}" if rest[2:] else ""
        text = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"
        return answer(text.encode())(request)


@ensureDeferred
async def test_paging(client, server, name):
    """Paging through a long list does not begin anew for each page."""
    counting = Counting(client)
    bucket = bucket_at(counting, server, name, page_size=10)
    names = [f"m{number:03}" for number in range(100)]
    await in_turns([put(bucket, name, b"") for name in names])
    counting.asked.clear()
    shown = [""]
    while True:
        page = []
        async for name in bucket.names("", shown[-1]):
            page.append(name)
            if len(page) == 7:
                break
        if not page:
            break
        shown += page
    assert shown[1:] == names
    assert len(counting.asked) < 30


@pytest.mark.parametrize("remembered", [1, 100])
@ensureDeferred
async def test_markers(client, server, room, monkeypatch, remembered):
    """Where a listing begins by what is remembered, it has all that has come meanwhile."""
    monkeypatch.setattr("athensd.bucket.azure.MARKERS", remembered)
    markers = Markers(room, ["b", "d", "f", "h", "j"])
    bucket = bucket_at(client, server, "c", port=markers.port)
    assert await all_names(bucket) == markers.names
    markers.names = ["a", "b", "c", "d", "e", "g", "h", "i", "j", "k"]
    for after in ["", *"abcdefghijkl"]:
        assert await all_names(bucket, "", after) == [name for name in markers.names if name > after]


@ensureDeferred
async def test_expired_markers(client, server, room):
    """A remembered marker that is not taken any more is forgotten, and the list begins anew."""
    markers = Markers(room, ["b", "d", "f"])
    bucket = bucket_at(client, server, "c", port=markers.port, page_size=5000)
    assert await all_names(bucket) == markers.names
    markers.expired = True
    markers.names = ["e", "f"]
    assert await all_names(bucket, "", "f") == []
    markers.names = ["d", "e", "f"]
    with pytest.raises(StorageFailed, match=r"container c: the server refuses \(400 OutOfRangeInput\)"):
        await all_names(bucket)


@ensureDeferred
async def test_other_order(client, server, room):
    """A container that is in another order (one with a hierarchical namespace) says so, and is never listed in part."""
    listing = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in ("a/b", "a-b"))
    other = room.serve(
        answer(f"<EnumerationResults><Blobs>{listing}</Blobs><NextMarker/></EnumerationResults>".encode())
    )
    with pytest.raises(StorageFailed, match="container c does not list its names in the order of their bytes"):
        await all_names(bucket_at(client, server, "c", port=other.port))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"<html/>",
        b"<EnumerationResults/>",
        b"<EnumerationResults><Blobs/>",
        b"<!DOCTYPE x><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>",
    ],
)
def test_no_listing(body):
    """What is no list, or not the whole of it, is never taken for an empty one."""
    with pytest.raises(StorageFailed, match="makes no sense"):
        parse_listing(body)


def test_encoded_names():
    """What cannot stand in XML is encoded there; all else is as it is, with percent signs too."""
    blobs = b'<Blob><Name Encoded="true">a%01b%2520</Name></Blob><Blob><Name>c%20&amp;</Name></Blob>'
    body = b"<EnumerationResults><Blobs>" + blobs + b"</Blobs><NextMarker>m</NextMarker></EnumerationResults>"
    listing = parse_listing(body)
    assert (listing.names, listing.next) == (["a\x01b%20", "c%20&"], "m")


@pytest.mark.parametrize("theirs", [b"mine", b"another's"])
@ensureDeferred
async def test_answer_lost(client, server, name, theirs):
    """Of an upload whose answer was lost it is found out whether it is the one that is there."""

    class Losing:
        asked = 0

        def request(self, method, url, *, data=None, **more):
            self.asked += 1
            if self.asked > 1:
                return client.request(method, url, data=data, **more)
            writing = Deferred.fromCoroutine(put(bucket_at(client, server, name), NAME, theirs))
            return writing.addCallback(lambda _: 1 / 0)

    bucket = bucket_at(Losing(), server, name)
    if theirs == b"mine":
        await put(bucket, NAME, b"mine")
    else:
        with pytest.raises(Conflict):
            await put(bucket, NAME, b"mine")
    assert await data_of(bucket, NAME) == theirs


@ensureDeferred
async def test_filled_by_athens(client, server, name):
    """A container that Athens filled, which sends everything as lists of blocks, is served as it is."""
    version = ModuleVersion("github.com/Masterminds/semver", "v2.0.0+incompatible")
    asking = asking_of(client, server)
    for kind, content_type in ATHENS.items():
        file = f"{version.path}/@v/{version.version}.{kind.value}"
        url = f"http://127.0.0.1:{server.port}/{server.account}/{name}/{quote(file)}"
        await asking.ask("PUT", f"{url}?comp=block&blockid=MQ%3D%3D", blob=BytesBlob(file.encode()))
        blocks = BytesBlob(b"<BlockList><Latest>MQ==</Latest></BlockList>")
        await asking.ask("PUT", f"{url}?comp=blocklist", {"x-ms-blob-content-type": content_type}, blob=blocks)
    storage = BucketStorage(bucket_at(client, server, name), DownloadLayout())
    assert await storage.versions(version.path) == [version.version]
    assert list((await storage.page("", 10)).versions) == [version]
    for kind in ATHENS:
        expected = f"github.com/Masterminds/semver/@v/v2.0.0+incompatible.{kind.value}"
        assert await read_all(await storage.open(version, kind)) == expected.encode()
