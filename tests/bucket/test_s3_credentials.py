"""Where the keys for S3 come from."""

from __future__ import annotations

import json
import logging
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from attrs import define, field, frozen
from botocore.utils import ContainerMetadataFetcher
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from athensd.bucket.s3_credentials import AGAIN_AFTER, FoundKeys, S3Key, s3_keys
from athensd.errors import StorageFailed
from tests.fakes import at_once, result_of
from tests.origin.fakes_http import answer, table

NOTHING = {
    "key": "",
    "secret": "",
    "token": "",
    "use_default": False,
    "endpoint": "",
    "relative_uri": "",
    "environ": {},
    "in_thread": deferToThread,
    "clock": reactor,
}
STATIC = {"key": "AKIA1", "secret": "s1", "token": "t1"}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """A machine on which no keys are to be found, and where nobody waits between two tries."""
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def container_keys(name, minutes=60.0):
    end = datetime.now(UTC) + timedelta(minutes=minutes)
    keys = {"AccessKeyId": name, "SecretAccessKey": f"s-{name}", "Token": f"t-{name}", "Expiration": end.isoformat()}
    return answer(json.dumps(keys).encode(), Content_Type="application/json")


def test_static():
    """The keys of the settings are taken as they are."""
    assert result_of(s3_keys(**{**NOTHING, **STATIC})()) == S3Key("AKIA1", "s1", "t1")


@ensureDeferred
async def test_chain_when_wanted(monkeypatch):
    """With UseDefaultConfiguration botocore looks itself, whatever keys are set."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s2")
    keys = s3_keys(**{**NOTHING, **STATIC, "use_default": True})
    assert await keys() == S3Key("AKIA2", "s2", "")


@ensureDeferred
async def test_chain_when_nothing_is_set(tmp_path):
    """Without any key botocore looks too: here in a profile."""
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIA3\naws_secret_access_key = s3\n")
    assert await s3_keys(**NOTHING)() == S3Key("AKIA3", "s3", "")


@ensureDeferred
async def test_nothing_to_be_found():
    """Where there are no keys at all, that is said, and is no crash."""
    with pytest.raises(StorageFailed, match="no S3 credentials were found"):
        await s3_keys(**NOTHING)()


@pytest.mark.parametrize("static", [{}, STATIC])
@ensureDeferred
async def test_container(room, static):
    """The endpoint of the container comes before static keys, and is sent the token of the environment."""
    server = room.serve(table({"/v2/creds": container_keys("AKIA4")}))
    keys = s3_keys(
        **{
            **NOTHING,
            **static,
            "endpoint": server.url,
            "relative_uri": "/v2/creds",
            "environ": {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "let-me-in"},
        }
    )
    assert await keys() == S3Key("AKIA4", "s-AKIA4", "t-AKIA4")
    assert await keys() == S3Key("AKIA4", "s-AKIA4", "t-AKIA4")
    assert [asked.headers["authorization"] for asked in server.asked] == ["let-me-in"]


@ensureDeferred
async def test_renewed_before_they_expire(room):
    """Keys that are about to expire are asked for anew; while that fails, the old ones are used as long as they can."""
    server = room.serve(container_keys("AKIA5", minutes=12))
    keys = s3_keys(**{**NOTHING, "endpoint": server.url, "relative_uri": "/x"})
    assert (await keys()).access_key == "AKIA5"
    server.handler = answer(b"", 500)
    assert (await keys()).access_key == "AKIA5"
    server.handler = container_keys("AKIA6")
    assert (await keys()).access_key == "AKIA6"


@ensureDeferred
async def test_expired(room):
    """Keys that could not be renewed in time are an error, in words that name no address and no key."""
    server = room.serve(container_keys("AKIA7", minutes=5))
    keys = s3_keys(**{**NOTHING, "endpoint": server.url, "relative_uri": "/x"})
    assert (await keys()).access_key == "AKIA7"
    server.handler = answer(b"", 404)
    with pytest.raises(StorageFailed, match="could not be renewed") as error:
        await keys()
    assert server.host not in str(error.value)
    assert "AKIA7" not in str(error.value)


@ensureDeferred
async def test_strange_endpoint():
    """Only a container's own address is asked for keys without TLS: botocore sees to that."""
    keys = s3_keys(**{**NOTHING, "endpoint": "http://192.0.2.1", "relative_uri": "/x"})
    with pytest.raises(StorageFailed, match="could not be had"):
        await keys()


@define
class Finder:
    """Finds keys when there are some, and remembers who looked."""

    found: object = None
    threads: list = field(factory=list)

    def load(self):
        self.threads.append(threading.current_thread())
        return self.found


@frozen
class Found:
    def get_frozen_credentials(self):
        return S3Key("AKIA8", "s", "")


@ensureDeferred
async def test_looked_for_once_and_not_here():
    """Many who need keys at once look for them once, in a thread."""
    finder = Finder(Found())
    keys = FoundKeys(finder.load, deferToThread, reactor)
    found = await gatherResults([Deferred.fromCoroutine(keys()) for _ in range(10)])
    assert found == [S3Key("AKIA8", "s", "")] * 10
    [thread] = finder.threads
    assert thread is not threading.main_thread()


def test_looked_for_again():
    """When there are none it is not looked for again at once, but after some seconds, and then found."""
    clock, finder = Clock(), Finder()
    keys = FoundKeys(finder.load, at_once, clock)
    for _ in range(5):
        with pytest.raises(StorageFailed):
            result_of(keys())
    assert len(finder.threads) == 1
    finder.found = Found()
    clock.advance(AGAIN_AFTER)
    assert result_of(keys()) == S3Key("AKIA8", "s", "")


def test_no_secret_is_shown():
    """What is printed of a key, in a log or a traceback, is its name alone; and botocore is kept from telling."""
    s3_keys(**{**NOTHING, **STATIC})
    assert repr(S3Key("AKIA1", "secret", "token")) == "S3Key(access_key='AKIA1')"
    assert not logging.getLogger("botocore.auth").isEnabledFor(logging.DEBUG)
