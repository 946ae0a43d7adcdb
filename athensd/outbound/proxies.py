"""Which proxy a request goes by: ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` (pure).

The rules are those of ``golang.org/x/net/http/httpproxy``, so that we take the way that the go command takes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

PORTS = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@frozen
class ProxyURL:
    """A proxy, how it is spoken to, and the ``Proxy-Authorization`` that it is given (or nothing)."""

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {netloc(self.host, self.port)}"


@frozen
class Proxies:
    """The proxies for http and https, and the entries of ``NO_PROXY``."""

    http: ProxyURL | None = None
    https: ProxyURL | None = None
    no_proxy: Sequence[str] = ()

    def proxy_for(self, url: str) -> ProxyURL | None:
        """Whom to ask for ``url``; ``None``: its own host.  localhost and loopback addresses never have a proxy."""
        parts = urlsplit(url)
        proxy = {"http": self.http, "https": self.https}.get(parts.scheme)
        if proxy is None:
            return None
        host = parts.hostname or ""
        address = _address(host.partition("%")[0])
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        port = str(parts.port or PORTS[parts.scheme])
        return None if any(_covers(entry, host, port, address) for entry in self.no_proxy) else proxy


def read_proxies(environ: Mapping[str, str]) -> Proxies:
    """What the environment says.  Raises ``ValueError`` that names the variable with which something is wrong.

    ``HTTP_PROXY`` counts for nothing in a CGI program, where a client can set it by a header ``Proxy``.
    """
    http = ["HTTP_PROXY", "http_proxy"] if not environ.get("REQUEST_METHOD") else []
    _, no_proxy = _first(environ, ["NO_PROXY", "no_proxy"])
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return Proxies(
        _parse_proxy(*_first(environ, http)),
        _parse_proxy(*_first(environ, ["HTTPS_PROXY", "https_proxy"])),
        tuple(entry for entry in entries if entry),
    )


def netloc(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first(environ: Mapping[str, str], names: Sequence[str]) -> tuple[str, str]:
    """The first variable that is set, and its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), ("", ""))


def _parse_proxy(name: str, text: str) -> ProxyURL | None:
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise ValueError(f"{name} is not the URL of a proxy, such as http://proxy.example.com:3128")
    if parts.scheme not in PORTS:
        raise ValueError(f"{name} begins with {parts.scheme}://, but only http:// and https:// proxies can be used")
    authorization = ""
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(login.encode()).decode()}"
    return ProxyURL(parts.scheme, host, port or PORTS[parts.scheme], authorization)


def _covers(entry: str, host: str, port: str, address: Address | None) -> bool:
    """Whether an entry of NO_PROXY means this host; ``address`` is ``None`` when that is a name."""
    if entry == "*":
        return True
    network = _network(entry)
    if network is not None:
        return address is not None and address in network
    split = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)", entry)
    name, wanted = (split[1] or split[2] or "", split[3]) if split else (entry, "")
    if not name or wanted not in {"", port}:
        return False
    other = _address(name)
    if other is not None or address is not None:
        return other == address
    name = name[1:] if name.startswith("*.") else name
    return host == name or host.endswith(name if name.startswith(".") else f".{name}")


def _address(text: str) -> Address | None:
    try:
        address = None if "%" in text else ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _network(text: str) -> Network | None:
    """CIDR as Go has it: with a number of bits, and that of an IPv4 address in an IPv6 one is an IPv4 network."""
    if not re.search(r"/[0-9]+$", text):
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return ip_network(f"{mapped}/{network.prefixlen - 96}", strict=False) if mapped else network
