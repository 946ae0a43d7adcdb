"""The settings as they are in effect, and where each comes from; without secrets."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from attrs import fields_dict, frozen

from athensd.config.key import Key
from athensd.config.keys import KEYS
from athensd.config.kinds import ASSIGNMENTS, Listen, shown
from athensd.config.settings import Config

MASK = "***"
DEFAULT = "default"
"""Where a value comes from that nobody has set."""
_ADDRESS = ("url", "endpoint", "hook")
"""How the names of fields end that are kept out of a repr for a password in an address."""
_LOGIN = re.compile(r"(\w[\w+.-]*://).*@", re.DOTALL)
_SECRET_NAME = re.compile("pass|secret|token", re.IGNORECASE)


@frozen
class Setting:
    """A key with its effective ``value`` as TOML writes it, and its ``source``: a file, a variable or ``DEFAULT``.

    ``changed``: it is another one than the default.
    """

    key: str
    value: str
    source: str
    changed: bool

    def __str__(self) -> str:
        """As a line of a file of settings."""
        return f"{self.key} = {self.value}  # {self.source}"


def report(config: Config, text: str, environ: Mapping[str, str], name: str) -> Iterator[Setting]:
    """Every setting of ``config``, which was loaded from the TOML ``text`` of the file ``name`` and ``environ``."""
    table = tomllib.loads(text)
    defaults = Config()
    # Two keys may be one setting, as spelled by Athens' code and by its sample file.
    sources = {key.field: source for key in KEYS if (source := _source(key, table, environ, name)) != DEFAULT}
    for key in KEYS:
        if key.field:
            value = attrgetter(key.field)(config)
            changed = value != attrgetter(key.field)(defaults)
            yield Setting(key.path, _toml(_masked(key, value)), sources.get(key.field, DEFAULT), changed)


def default(key: Key) -> str:
    """The value that a key has when nobody sets it, as TOML writes it."""
    return _toml(_in_file(key, attrgetter(key.field)(Config()))) if key.field else '""'


def without_secrets(text: str) -> str:
    """An address, or several, without user, password and query, any of which may be a secret."""
    shown_login = re.sub(r"((?:\w[\w+.-]*://)?).*@", rf"\1{MASK}@", text, count=1, flags=re.DOTALL)
    return re.sub(r"\?.*", f"?{MASK}", shown_login, flags=re.DOTALL)


def _source(key: Key, table: Mapping[str, Any], environ: Mapping[str, str], name: str) -> str:
    for variable in key.variables:
        if variable in environ and (environ[variable] or key.empty_counts):
            return variable
    return name if _holds(table, key.path.lower().split(".")) else DEFAULT


def _holds(table: Any, path: list[str]) -> bool:
    """Whether there is a value in a table, whatever the case of its names."""
    if not path:
        return True
    if not isinstance(table, Mapping):
        return False
    return any(_holds(value, path[1:]) for name, value in table.items() if name.lower() == path[0])


def _in_file(key: Key, value: Any) -> Any:
    """A value as the file would have it."""
    if isinstance(value, Listen):
        return f"{f'[{value.host}]' if ':' in value.host else value.host}:{value.port}"
    if key.path == "UnixSocketMode":
        return f"{value:04o}"
    if key.kind is ASSIGNMENTS:
        return [f"{name}={text}" for name, text in value.items()]
    return value


def _masked(key: Key, value: Any) -> Any:
    """The same, but for what is secret in it."""
    value = _in_file(key, value)
    if key.kind is ASSIGNMENTS:
        return [f"{entry.partition('=')[0]}={MASK}" for entry in value]
    if isinstance(value, Mapping):
        return {name: MASK if _SECRET_NAME.search(name) else text for name, text in value.items()}
    if isinstance(value, tuple):
        return [_LOGIN.sub(rf"\1{MASK}@", each) for each in value]
    if not isinstance(value, str) or not value:
        return value
    if not _is_secret(key.field):
        return _LOGIN.sub(rf"\1{MASK}@", value)
    return without_secrets(value) if key.field.endswith(_ADDRESS) else MASK


def _is_secret(field: str) -> bool:
    """Whether a field of the settings is kept out of their repr."""
    table, _, last = field.rpartition(".")
    owner = attrgetter(table)(Config()) if table else Config()
    return not fields_dict(type(owner))[last].repr


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{shown(name)} = {shown(text)}" for name, text in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return shown(value)
