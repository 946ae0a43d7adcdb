"""Where observations are sent: the text of a setting, read and shown."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

SCHEMES = ("http", "https", "grpc", "grpcs")


def parsed(url: str) -> SplitResult:
    """The parts of a URL; ``host:port`` alone means HTTP.  Raises ``ValueError`` if it names no host."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        good = bool(parts.hostname) and parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:  # whose text may hold a piece of a password
        good = False
    if not good or any(character <= " " for character in url):
        raise ValueError("this is no URL such as http://localhost:4318")
    return parts


def shown(address: str) -> str:
    """An address without its user, password and query."""
    scheme, slashes, rest = address.partition("//")
    where = rest if slashes else scheme
    return (scheme + slashes if slashes else "") + where.rpartition("@")[2].partition("?")[0].partition("#")[0]
