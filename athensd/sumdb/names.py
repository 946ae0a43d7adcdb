"""Which checksum database is asked, by what name and key, and for which modules.  The settings are Go's."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from attrs import frozen

from athensd.gomod.path import quoted
from athensd.gomod.pattern import matches
from athensd.sumdb.note import Verifier, parse_verifier

PUBLIC = "sum.golang.org"
KNOWN_KEYS = {PUBLIC: f"{PUBLIC}+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"}
_OTHER_NAMES = {"sum.golang.google.cn": f"{PUBLIC} https://sum.golang.google.cn"}
_TOOLCHAIN = "golang.org/toolchain"
_HOST_AND_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)*")


@frozen
class Database:
    """A checksum database.

    ``url`` is where it is asked, and nowhere else; ``None``: through proxies that offer it, else at
    ``https://<name>``.
    """

    verifier: Verifier
    url: str | None = None

    @property
    def name(self) -> str:
        """The name that it signs with; proxies have it at ``/sumdb/<name>/``."""
        return self.verifier.name


def parse_gosumdb(value: str) -> Database | None:
    """Read a value of ``GOSUMDB``: a known name or ``name+hash+key``, and perhaps a URL; ``None`` for ``off``.

    Nothing at all is the public database, as it is for the go command.  Raises ``ValueError`` for other text.
    """
    if value == "off":
        return None
    key, *urls = _OTHER_NAMES.get(value, value or PUBLIC).split() or [""]
    if not key:
        raise ValueError("missing GOSUMDB")
    if len(urls) > 1:
        raise ValueError("invalid GOSUMDB: too many fields")
    try:
        verifier = parse_verifier(KNOWN_KEYS.get(key, key))
    except ValueError as fault:
        raise ValueError(f"invalid GOSUMDB: {fault}") from None
    if not _HOST_AND_PATH.fullmatch(verifier.name):
        raise ValueError(f"invalid sumdb name (must be host[/path]): {quoted(verifier.name)}")
    for url in urls:
        _check_url(url)
    return Database(verifier, *urls)


def is_exempt(path: str, gonosumdb: str, goprivate: str = "") -> bool:
    """Whether these settings say that the database is not asked about the module: it knows nothing private.

    Go's toolchains are never exempt: no ``go.sum`` can hold their sums.
    """
    return path != _TOOLCHAIN and matches(gonosumdb or goprivate, path)


def _check_url(url: str) -> None:
    # The text of the fault does not repeat the URL: it may have a password in it.
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("invalid GOSUMDB URL: it must begin with https:// or http:// and a host")
