"""Which databases clients may ask through us: the setting ``SumDBs``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import field, frozen

from athensd.sumdb.names import KNOWN_KEYS, parse_gosumdb
from athensd.sumdb.note import Verifier

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)*")


@frozen
class Served:
    """A database that we have at ``/sumdb/<name>/``.

    ``url`` is where it is asked, ``None`` stands for proxies that offer it and then ``https://<name>``.  Without a
    ``verifier`` nothing that it says can be proven.
    """

    name: str
    url: str | None = field(default=None, repr=False)  # it may have a password in it
    verifier: Verifier | None = None


def parse_sumdbs(values: Sequence[str]) -> dict[str, Served]:
    """The databases by their names.

    Each value is a URL, as Athens has it, or what ``GOSUMDB`` may be: a known name or ``name+hash+key``, and perhaps
    a URL.  Raises ``ValueError`` that says which value cannot be used, by its number and without its text.
    """
    found: dict[str, Served] = {}
    for number, value in enumerate(values, 1):
        try:
            served = _parse(value.strip())
        except ValueError as fault:
            raise ValueError(f"SumDBs: value {number}: {fault}") from None
        if served.name in found:
            raise ValueError(f"SumDBs: value {number}: {served.name} is there twice")
        found[served.name] = served
    return found


def _parse(value: str) -> Served:
    if re.fullmatch(r"https?://\S*", value):
        return _of_url(value)
    database = parse_gosumdb(value) if value else None
    if database is None:
        raise ValueError('a URL is missing, such as "https://sum.golang.org"')
    if database.url is not None:
        _host_and_path(database.url)
    return Served(database.name, database.url, database.verifier)


def _of_url(url: str) -> Served:
    name = _host_and_path(url)
    if not _NAME.fullmatch(name):
        raise ValueError("no database can have this name")
    if name in KNOWN_KEYS and url.startswith("https:"):
        return _parse(name)
    return Served(name, url)


def _host_and_path(url: str) -> str:
    """What a database at this URL is called.  Only https leaves this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ValueError("the URL must begin with https://; http:// is for this machine alone")
    return url.partition("://")[2].rpartition("@")[2].rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
