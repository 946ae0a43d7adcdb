"""What the value of a setting may be, in the file and in the environment."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any

from attrs import frozen


@frozen
class Listen:
    """A TCP address to serve; an empty host means all of them, port 0 any free one."""

    host: str = ""
    port: int = 3000


# Where /debug listens.  It shows much and asks for nothing, so that without a host it is for this machine only.
DEBUG = Listen("127.0.0.1", 3001)


@frozen
class Kind:
    """What a value has to be: in TOML it ``fits``, and ``parse`` makes the same of an environment variable's text.

    The parsers read what envconfig and Go's strconv read, since Athens uses them; they raise ``ValueError``.
    """

    name: str
    fits: Callable[[object], bool]
    parse: Callable[[str], object]


def _number(text: str) -> int:
    """A whole number as Go writes it: ``10``, ``0x0a``, ``012``."""
    return int(text, 8 if re.fullmatch(r"[+-]?0[0-7_]+", text) else 0)


def _flag(text: str) -> bool:
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if text in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ValueError(text)


def _list(text: str) -> list[str]:
    return text.split(",") if text.strip() else []


def _map(text: str) -> dict[str, str]:
    return dict(item.split(":") for item in _list(text))


def _assignments(text: str) -> list[str]:
    return [item.strip() for item in text.split(";")]


def _are_strings(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


TEXT = Kind("a string", lambda value: isinstance(value, str), str)
NUMBER = Kind("a whole number", lambda value: type(value) is int, _number)
FRACTION = Kind("a number", lambda value: type(value) in (int, float), float)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), _flag)
LIST = Kind("a list of strings", _are_strings, _list)
ASSIGNMENTS = Kind("a list of NAME=value", _are_strings, _assignments)
MAP = Kind("a table of strings", lambda v: isinstance(v, dict) and _are_strings(list(v.values())), _map)
ADDRESS = Kind('an address such as ":3000"', lambda value: type(value) in (str, int), str)


# The checks raise ValueError with the rest of the sentence that begins with the key.


def as_it_is(value: Any) -> Any:
    return value


def not_empty(value: str) -> str:
    if not value:
        raise ValueError("is empty; it must not be")
    return value


def between(least: int, most: int | None = None) -> Callable[[int], int]:
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"

    def check(value: int) -> int:
        if value < least or (most is not None and value > most):
            raise ValueError(f"is {value}; it must be {allowed}")
        return value

    return check


def share(value: float) -> float:
    if not 0 <= value <= 1:  # so written, it refuses TOML's nan too
        raise ValueError(f"is {value}; it must be from 0 to 1")
    return float(value)


def one_of(*there: str, empty: str = "") -> Callable[[str], str]:
    """One of the words that are there; ``empty`` is the one that the empty string stands for, if it may."""
    choice = " or ".join(map(shown, there))

    def check(value: str) -> str:
        if (value or empty) not in there:
            raise ValueError(f"is {shown(value)}; it must be {choice}")
        return value or empty

    return check


def web_address(value: str) -> str:
    """The URL as it is, which need not be there.  It is never shown: it may hold a password."""
    if value and not re.match(r"https?://[^/]", value):
        raise ValueError("must be an address as in http://localhost:3001")
    return value


def token(value: str) -> str:
    """A secret, without the end of the line that files often have; it is never shown."""
    word = value.strip()
    if not re.fullmatch("[!-~]*", word):
        raise ValueError("must be one word of ASCII")
    return word


def user_name(value: str) -> str:
    """A name as Basic authentication can send it."""
    if ":" in value:
        raise ValueError("has a colon in it; no client can send such a name")
    return value


def log_level(value: str) -> str:
    """The level for a name that Athens' logger takes, in any case."""
    levels = {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"}
    level = levels.get(value.lower(), value.lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError(f"is {shown(value)}; it must be debug, info, warning or error")
    return level


def environment(entries: list[str]) -> dict[str, str]:
    """The variables by name; the last assignment wins, as in a process environment.  No value is ever shown."""
    for count, entry in enumerate(entries, 1):
        if not re.match("[^=]+=", entry):
            raise ValueError(f"has an entry (number {count}) that is no NAME=value")
    return dict(entry.split("=", 1) for entry in entries)


def listen(default: Listen) -> Callable[[str | int], Listen]:
    """An address in Go's form, or the bare number of a port; what is left out of it is as in ``default``."""

    def check(value: str | int) -> Listen:
        if value == "":
            return default
        match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]*):)?([0-9]{1,5})", str(value))
        if match is None or int(match[2]) > 65535:
            raise ValueError(f'is {shown(value)}; it must be a port as in ":3000", "127.0.0.1:3000" or "[::1]:3000"')
        return Listen((match[1] or "").strip("[]") or default.host, int(match[2]))

    return check


def file_mode(value: str) -> int:
    """The permissions of a file, in octal as chmod takes them."""
    if not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError(f'is {shown(value)}; it must be as in "0660"')
    return int(value, 8)


def path_prefix(value: str) -> str:
    """The beginning of all paths, without a slash at its end; empty where there is none."""
    prefix = value.rstrip("/")
    if not re.fullmatch(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)*", prefix, re.ASCII):
        raise ValueError(f'is {shown(value)}; it must be as in "/go" or "/go/proxy"')
    return prefix


def networks(values: list[str]) -> tuple[str, ...]:
    """Addresses and networks in the form of CIDR, and ``unix``."""
    for value in values:
        try:
            _ = value.strip() == "unix" or ipaddress.ip_network(value.strip())
        except ValueError:
            raise ValueError(f'has {shown(value)}; it may have "unix" and networks as in "10.0.0.0/8"') from None
    return tuple(value.strip() for value in values)


def shown(value: object) -> str:
    """A value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)
