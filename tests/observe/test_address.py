"""Addresses of backends, as they are set and as they are shown."""

from __future__ import annotations

import pytest

from athensd.observe.address import parsed, shown


@pytest.mark.parametrize(
    ("url", "whole", "port"),
    [
        ("http://localhost:14268", "http://localhost:14268", 14268),
        ("localhost:8126", "http://localhost:8126", 8126),
        ("collector", "http://collector", None),
        ("https://u:p%40w@collector/x?y=z", "https://u:p%40w@collector/x?y=z", None),
        ("grpc://[::1]:4317", "grpc://[::1]:4317", 4317),
    ],
)
def test_an_address(url: str, whole: str, port: int | None) -> None:
    """A URL is read as it is; a host, with or without a port, means HTTP."""
    assert (parsed(url).geturl(), parsed(url).port) == (whole, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host",
        "http://",
        "http://:4318",
        "http://host:port",
        "http://host:99999",
        "http://host:0",
        "http://[::1",
        "http://ho st",
        "http://host\n",
        "unix:///run/agent",
    ],
)
def test_no_address(url: str) -> None:
    """What names no host and port is refused, with a word on what would be right."""
    with pytest.raises(ValueError, match=r"this is no URL such as http://localhost:4318"):
        parsed(url)


def test_a_wrong_address_keeps_its_password() -> None:
    """The refusal of a URL repeats nothing of it, and chains no error that would."""
    with pytest.raises(ValueError) as refusal:
        parsed("http://user:secret#x@host")
    assert "secret" not in str(refusal.value)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://host:1/v1/traces", "http://host:1/v1/traces"),
        ("http://user:secret@host:1/p?key=secret#secret", "http://host:1/p"),
        ("user:secret@host", "host"),
        ("http://user:se@cr/et@host", "http://host"),
        ("http://user:se?cr#et@host/x", "http://host/x"),
        ("http://user:se//cr@host/x", "http://host/x"),
        ("cloudtrace.googleapis.com/projects/p", "cloudtrace.googleapis.com/projects/p"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_secrets(url: str, seen: str) -> None:
    """No user, password or query is shown, however wrongly they were written."""
    assert shown(url) == seen
