"""Who a client is, by what proxies say of him."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from athensd.web.forwarded import UNIX, Client, Proxies, plain_address

PROXIES = Proxies(["10.0.0.0/8", "2001:db8::/32", "unix"])
NEAR = Client("10.0.0.1", False)


def client(headers: Mapping[str, str | Sequence[str]], peer: Client = NEAR, proxies: Proxies = PROXIES) -> Client:
    """The client of a request with these headers."""
    lines = {name.lower().encode(): [value] if isinstance(value, str) else value for name, value in headers.items()}
    return proxies.client(peer, lambda name: [value.encode("latin-1") for value in lines.get(name, ())])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("unknown", ""),
        ("_hidden", ""),
        ("192.0.2.1, 192.0.2.2", ""),
        ("unix", ""),
    ],
)
def test_addresses(text: str, address: str) -> None:
    """Each address has one form, and what is none is nothing."""
    assert plain_address(text) == address


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "10.0.0.1"),
        ({"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1"),
        ({"X-Forwarded-For": "6.6.6.6, 192.0.2.1"}, "192.0.2.1"),
        ({"X-Forwarded-For": "6.6.6.6, 192.0.2.1, 10.9.9.9"}, "192.0.2.1"),
        ({"X-Forwarded-For": ["6.6.6.6", "192.0.2.1 , 10.9.9.9"]}, "192.0.2.1"),
        ({"X-Forwarded-For": "10.2.2.2, 10.9.9.9"}, "10.2.2.2"),
        ({"X-Forwarded-For": "6.6.6.6, unknown, 10.9.9.9"}, "10.9.9.9"),
        ({"X-Forwarded-For": "unknown"}, "10.0.0.1"),
        ({"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=6.6.6.6"}, "192.0.2.1"),
        ({"Forwarded": "for=192.0.2.1"}, "192.0.2.1"),
        ({"Forwarded": 'FOR="[2001:0:1::1]:4711";proto=https;by=_x'}, "2001:0:1::1"),
        ({"Forwarded": "for=6.6.6.6, for=192.0.2.1;proto=http,for=10.9.9.9"}, "192.0.2.1"),
        ({"Forwarded": ["for=6.6.6.6", "for=192.0.2.1"]}, "192.0.2.1"),
        ({"Forwarded": "for=6.6.6.6, for=_hidden"}, "10.0.0.1"),
        ({"Forwarded": "proto=https"}, "10.0.0.1"),
        # What a client begins, for a proxy to end it with its own words, is nothing that could be read.
        ({"Forwarded": 'for=6.6.6.6;a=", for="[2001:0:1::1]"'}, "10.0.0.1"),
        ({"Forwarded": 'for=6.6.6.6;a=", for=192.0.2.1'}, "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_who_is_no_proxy(headers: dict[str, str], address: str) -> None:
    """What stands before him in the row he may have made up, and so it says nothing."""
    assert client(headers).address == address


@pytest.mark.parametrize(
    ("headers", "secure", "host"),
    [
        ({}, False, ""),
        ({"X-Forwarded-Proto": "https"}, True, ""),
        ({"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "go.test"}, True, "go.test"),
        ({"X-Forwarded-Proto": "http, https", "X-Forwarded-For": "192.0.2.1"}, True, ""),
        ({"X-Forwarded-Proto": "https, http", "X-Forwarded-For": "192.0.2.1"}, False, ""),
        ({"X-Forwarded-Proto": "http, https, http", "X-Forwarded-For": "1.1.1.1, 192.0.2.1, 10.0.0.2"}, True, ""),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1, 10.0.0.2"}, True, ""),
        ({"Forwarded": 'for=192.0.2.1;proto=https;host="go.test:80"'}, True, "go.test:80"),
        ({"Forwarded": "for=6.6.6.6;proto=https;host=evil.test, for=192.0.2.1"}, False, ""),
    ],
)
def test_how_he_came(headers: dict[str, str], secure: bool, host: str) -> None:
    """Scheme and host are those that the proxy nearest to him has seen."""
    found = client(headers)
    assert (found.secure, found.host) == (secure, host)


def test_a_proxy_may_say_that_it_has_no_secret() -> None:
    """A proxy speaks TLS to us, and its client did not."""
    assert client({"X-Forwarded-Proto": "http"}, Client("10.0.0.1", True)).secure is False


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
@pytest.mark.parametrize("peer", [Client("192.0.2.9", False), Client("192.0.2.9", True)])
def test_nobody_else_is_believed(header: str, peer: Client) -> None:
    """Headers of who is no proxy of ours change nothing."""
    headers = {header: "for=6.6.6.6;proto=https", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}
    assert client(headers, peer) == peer


def test_sockets_of_this_machine() -> None:
    """Who is at one is believed if that was said."""
    headers = {"X-Forwarded-For": "192.0.2.1"}
    assert client(headers, Client(UNIX, False)).address == "192.0.2.1"
    assert client(headers, Client(UNIX, False), Proxies(["10.0.0.0/8"])).address == UNIX


def test_without_proxies() -> None:
    """With none named, as in Athens, a header tells that the connection is secure, and nothing else."""
    headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}
    assert client(headers, NEAR, Proxies()) == Client("10.0.0.1", True)
    assert client({"X-Forwarded-Proto": "http"}, Client("10.0.0.1", True), Proxies()).secure is True
