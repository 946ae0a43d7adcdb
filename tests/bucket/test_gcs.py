"""Google Cloud Storage, as fake-gcs-server plays it.

That server looks at no credentials.  So what is proven of them is that a signed request for a token is made, with which
key, and that the token is sent; the server of tokens is the test's own.
"""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from contextlib import suppress
from io import BytesIO
from itertools import count
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from athensd.blob import read_all
from athensd.bucket.gcs import GcsBucket, google_token, no_token
from athensd.errors import Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Kind
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout
from tests.bucket.contract import MIB, NAME, TYPE, RemoteBucketContract, Zeros, all_names, data_of, in_turns, put
from tests.cutting import CuttingProxy
from tests.integration.process import free_ports
from tests.origin.fakes_http import answer
from tests.servers import fake_gcs
from tests.storage.contract import StorageContract

# Its types are many, and the operator says himself which one it is.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_dict:DeprecationWarning")
numbers = count()
# What Athens stores of a version, and the types that it gives it.
ATHENS = {Kind.INFO: "application/json", Kind.MOD: "text/plain", Kind.ZIP: "application/octet-stream"}
ACCOUNT = "athens@project.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def name(server):
    """A new bucket."""
    name = f"bucket-{next(numbers)}"
    body = json.dumps({"name": name}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/storage/v1/b", body, headers)).close()
    return name


def bucket_at(client, address, name, token=no_token, **more):
    return GcsBucket(client, reactor, name, token, emulator=str(address), **{"page_size": 100, **more})


@pytest.fixture
def bucket(client, server, name):
    return bucket_at(client, server, name)


class TestGcs(RemoteBucketContract):
    @pytest.fixture
    def proxied(self, client, server, name):
        proxy = blockon(Deferred.fromCoroutine(CuttingProxy.listening(reactor, int(server.partition(":")[2]))))
        yield proxy, bucket_at(client, f"127.0.0.1:{proxy.port}", name)
        blockon(Deferred.fromCoroutine(proxy.close()))

    @pytest.fixture
    def bucket_down(self, client):
        return bucket_at(client, f"127.0.0.1:{free_ports(1)[0]}", "bucket")

    @pytest.fixture(params=["another's key", "a key without permissions"])
    def intruder(self, client, server, name, room, keys, request):
        google = Google(room, server, keys[0], lets_in=not request.param.startswith("a key"))
        key = keys[request.param == "another's key"]
        return bucket_at(client, google.url, name, google.token_of(key))


class TestGcsStorage(StorageContract):
    @pytest.fixture
    def storage(self, bucket):
        return BucketStorage(bucket, DownloadLayout())


# Credentials


@pytest.fixture(scope="module")
def keys():
    """Two private keys, of which Google knows the first."""
    return [generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


class Google:
    """Gives a token to whoever signs with ``key``, and lets whoever has it through to ``server``."""

    def __init__(self, room, server, key, *, lets_in=True, seconds=3600):
        self.server = server
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.lets_in = lets_in
        self.seconds = seconds
        self.tokens = []
        self.scopes = set()
        self.upstream = room.serve(self.handle)
        self.url = self.upstream.url

    def handle(self, request):
        if request.path == b"/token":
            return self.give_token(request)
        if request.getHeader("Authorization") not in {f"Bearer {token}" for token in self.tokens}:
            return google_error(request, 401, "required")
        if not self.lets_in:
            return google_error(request, 403, "forbidden")
        return pass_on(request, self.server)

    def give_token(self, request):
        from google.auth import jwt

        [assertion] = parse_qs(request.content.read().decode())["assertion"]
        try:
            claims = jwt.decode(assertion, certs=self.public)
        except ValueError:
            return answer(b'{"error": "invalid_grant", "error_description": "secret"}', 400)(request)
        assert claims["iss"] == ACCOUNT
        self.scopes.add(claims["scope"])
        self.tokens.append(f"token-{len(self.tokens)}")
        body = {"access_token": self.tokens[-1], "expires_in": self.seconds, "token_type": "Bearer"}
        return answer(json.dumps(body).encode(), Content_Type="application/json")(request)

    def json_key(self, key):
        info = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "1",
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": ACCOUNT,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(info)

    def token_of(self, key):
        return google_token(b64encode(self.json_key(key).encode()).decode(), deferToThread)


def pass_on(request, server):
    """What ``server`` answers."""
    headers = {name.decode(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
    asked = urllib.request.Request(
        f"http://{server}{request.uri.decode()}",
        request.content.read() or None,
        headers,
        method=request.method.decode(),
    )
    try:
        response = urllib.request.urlopen(asked)
    except HTTPError as error:
        response = error
    with response:
        kept = {name: value for name, value in response.headers.items() if name != "Transfer-Encoding"}
        return answer(response.read(), response.status, **kept)(request)


def google_error(request, status, reason):
    body = {"error": {"code": status, "message": "secret", "errors": [{"domain": "global", "reason": reason}]}}
    return answer(json.dumps(body).encode(), status, Content_Type="application/json")(request)


@pytest.fixture
def google(room, server, keys):
    return Google(room, server, keys[0])


@ensureDeferred
async def test_json_key(client, name, google, keys):
    """A JSON key in base64 lets in: one token is fetched, however many ask, and it is for reading and writing only."""
    bucket = bucket_at(client, google.url, name, google.token_of(keys[0]))
    await in_turns([put(bucket, f"example.com/{number}", b"x") for number in range(5)])
    assert len(await all_names(bucket)) == 5
    assert await data_of(bucket, "example.com/3") == b"x"
    assert google.tokens == ["token-0"]
    assert google.scopes == {"https://www.googleapis.com/auth/devstorage.read_write"}


@ensureDeferred
async def test_default_credentials(client, name, google, keys, tmp_path, monkeypatch):
    """Without a key this machine's default credentials are taken."""
    (tmp_path / "key.json").write_text(google.json_key(keys[0]))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    await bucket_at(client, google.url, name, google_token("", deferToThread)).check()
    assert google.tokens == ["token-0"]


@ensureDeferred
async def test_no_default_credentials(client, server, monkeypatch, tmp_path):
    """When there are none it is said so."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))
    with pytest.raises(StorageFailed, match=r"^bucket b: no Google credentials: .* none that can be used$"):
        await bucket_at(client, server, "b", google_token("", deferToThread)).check()


@ensureDeferred
async def test_token_server_down(client, google, name, keys):
    """When no token can be had it is said so, and soon."""
    info = google.json_key(keys[0]).replace(google.url, f"http://127.0.0.1:{free_ports(1)[0]}")
    token = google_token(b64encode(info.encode()).decode(), deferToThread)
    with pytest.raises(StorageFailed, match="access tokens was not reached"):
        await bucket_at(client, google.url, name, token).check()


@pytest.mark.parametrize("key", ["x", "!!!!", b64encode(b"[1]").decode(), b64encode(b"{}").decode()])
def test_unreadable_key(key):
    """What is no key is found out at the start, and is not in the words that say so."""
    with pytest.raises(ValueError, match="credential") as failure:
        google_token(key, deferToThread)
    assert key not in str(failure.value).split()


# What fails


@ensureDeferred
async def test_no_such_bucket(client, server):
    """A bucket that is not there is never taken for an empty one, though Google says the same of an object."""
    bucket = bucket_at(client, server, "never")
    for ask in (
        lambda: bucket.check(),
        lambda: bucket.open(NAME),
        lambda: put(bucket, NAME, b"x"),
        lambda: bucket.delete(NAME),
        lambda: all_names(bucket),
    ):
        with pytest.raises(StorageFailed, match="never: there is no such bucket"):
            await ask()


@ensureDeferred
async def test_few_requests(client, name, server, room):
    """To read a small object takes one request; a large one takes two, and so does the first that is not there."""
    between = room.serve(lambda request: pass_on(request, server))
    bucket = bucket_at(client, between.url, name)

    async def requests(name):
        before = len(between.asked)
        with suppress(NotFound):
            await data_of(bucket, name)
        return len(between.asked) - before

    assert [await requests("never") for _ in range(2)] == [2, 1]
    await put(bucket, "small", b"x")
    await bucket.put("large", Zeros(MIB), TYPE)
    assert await requests("small") == 1
    assert await requests("large") == 2


@ensureDeferred
async def test_server_in_trouble(client, room):
    """A server in passing trouble is asked again, but not for ever."""
    answers = [503, 429, 200]
    busy = room.serve(lambda request: answer(b"{}", answers.pop(0))(request))
    await bucket_at(client, busy.url, "b").check()
    broken = room.serve(answer(b"secret", 500))
    with pytest.raises(StorageFailed, match=r"^bucket b: the server refuses \(500\)$"):
        await bucket_at(client, broken.url, "b").check()
    assert len(broken.asked) == 4


@ensureDeferred
async def test_other_bytes_arrive(client, room):
    """What arrives with another sum than it was sent with is taken away again."""
    body = json.dumps({"generation": "7", "md5Hash": b64encode(bytes(16)).decode()}).encode()
    garbling = room.serve(answer(body))
    with pytest.raises(StorageFailed, match="other bytes have arrived"):
        await put(bucket_at(client, garbling.url, "b"), "m", b"x")
    assert garbling.targets[1:] == ["/storage/v1/b/b/o/m?ifGenerationMatch=7"]


@pytest.mark.parametrize("theirs", [b"mine", b"another's"])
@ensureDeferred
async def test_answer_lost(client, name, server, room, theirs):
    """Of an upload whose answer was lost it is found out whether it is the one that is there."""

    def lose_first(request):
        if len(lossy.asked) > 1:
            return pass_on(request, server)
        request.content = BytesIO(theirs)
        request.requestHeaders.setRawHeaders("Content-Length", [str(len(theirs))])
        pass_on(request, server)
        return answer(b"", 503)(request)

    lossy = room.serve(lose_first)
    bucket = bucket_at(client, lossy.url, name)
    if theirs == b"mine":
        await put(bucket, NAME, b"mine")
    else:
        with pytest.raises(Conflict):
            await put(bucket, NAME, b"mine")
    assert await data_of(bucket, NAME) == theirs


@ensureDeferred
async def test_filled_by_athens(client, server, name):
    """A bucket that Athens filled is served as it is."""
    version = ModuleVersion("github.com/Masterminds/semver", "v2.0.0+incompatible")
    for kind, content_type in ATHENS.items():
        file = f"{version.path}/@v/{version.version}.{kind.value}"
        url = f"http://{server}/upload/storage/v1/b/{name}/o?uploadType=media&name={quote(file, safe='')}"
        urllib.request.urlopen(urllib.request.Request(url, file.encode(), {"Content-Type": content_type})).close()
    storage = BucketStorage(bucket_at(client, server, name), DownloadLayout())
    assert await storage.versions(version.path) == [version.version]
    assert list((await storage.page("", 10)).versions) == [version]
    for kind in ATHENS:
        expected = f"github.com/Masterminds/semver/@v/v2.0.0+incompatible.{kind.value}"
        assert await read_all(await storage.open(version, kind)) == expected.encode()
