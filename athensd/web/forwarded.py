"""Who asks, when proxies stand in between: what they say of their clients, and which of them is believed (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from attrs import evolve, frozen

UNIX = "unix"
"""The address of whoever is connected by a socket of this machine."""

Header = Callable[[bytes], Sequence[bytes]]
"""From the name of a header, in lower case, to its values."""

# RFC 7239, section 4; a value that is no token need not be quoted here, as some proxies write IPv6.
_PAIR = r"""[!#$%&'*+.^_`|~\w-]+=(?:[^\s",;]+|"(?:[^"\\]|\\.)*")"""
_ELEMENT = rf"(?:{_PAIR})?(?:[ \t]*;[ \t]*(?:{_PAIR})?)*"
_FORWARDED = re.compile(rf"[ \t]*{_ELEMENT}(?:[ \t]*,[ \t]*{_ELEMENT})*[ \t]*", re.ASCII)
_PARTS = re.compile(rf"{_PAIR}|,", re.ASCII)
_PORT = re.compile(r"\[(.*)\](?::\d+)?|([^:]+):\d+")


@frozen
class Client:
    """Who asks: an address, whether its connection is secure, and the host it asked for (empty: as in ``Host``)."""

    address: str
    secure: bool
    host: str = ""


@frozen
class _Hop:
    address: str = ""
    proto: str = ""
    host: str = ""


class Proxies:
    """Reverse proxies: those in ``networks`` (CIDR), and with ``unix`` whoever is at a socket of this machine."""

    def __init__(self, networks: Collection[str] = ()) -> None:
        self._networks = [ip_network(each) for each in networks if each != UNIX]
        self._unix = UNIX in networks

    def __contains__(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        if not self._networks or not (here := plain_address(address)):
            return False
        found = ip_address(here)
        return any(found in network for network in self._networks)

    def client(self, peer: Client, header: Header) -> Client:
        """The client of a request that came from ``peer``.

        It is the last one in the row that is none of these proxies, for what stands before it there is only what it
        says itself.  Where no proxies are named, whoever says so is believed that his connection is secure, as in
        Athens: it is himself alone whom he can deceive.
        """
        if not self._networks and not self._unix:
            proto = _last(header(b"x-forwarded-proto"), 1).lower()
            return evolve(peer, secure=proto == "https") if proto and not peer.secure else peer
        if peer.address not in self:
            return peer
        hops, address, passed = _hops(header), peer.address, 0
        for hop in reversed(hops):
            passed += 1
            if not hop.address:
                break
            address = hop.address
            if address not in self:
                break
        said = hops[-passed] if passed else _Hop()
        proto = _last(header(b"x-forwarded-proto"), passed) or said.proto
        return Client(
            address,
            proto.lower() == "https" if proto else peer.secure,
            _last(header(b"x-forwarded-host"), passed) or said.host,
        )


def plain_address(text: str) -> str:
    """An IP address in its one form, without a port or brackets, IPv4 within IPv6 as IPv4; empty if it is none."""
    match = _PORT.fullmatch(text)
    try:
        address = ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return ""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(inner or address)


def _hops(header: Header) -> list[_Hop]:
    """The clients of all proxies in a row, the nearest last.

    The more usual header goes first: a proxy that writes it lets the other one through from its client.
    """
    addresses = _items(header(b"x-forwarded-for"))
    if addresses:
        return [_Hop(plain_address(address)) for address in addresses]
    text = b", ".join(header(b"forwarded")).decode("latin-1")
    if not text or not _FORWARDED.fullmatch(text):
        return []
    hops: list[dict[str, str]] = [{}]
    for part in _PARTS.findall(text):
        name, found, value = part.partition("=")
        if found:
            hops[-1][name.lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        else:
            hops.append({})
    return [_Hop(plain_address(hop.get("for", "")), hop.get("proto", ""), hop.get("host", "")) for hop in hops]


def _items(values: Sequence[bytes]) -> list[str]:
    text = b",".join(values).decode("latin-1")
    return [item for each in text.split(",") if (item := each.strip())]


def _last(values: Sequence[bytes], count: int) -> str:
    """The item that as many proxies ago was written; the first where not all have written one."""
    return next(iter(_items(values)[-max(count, 1) :]), "")
