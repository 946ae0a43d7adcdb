"""The settings: an Athens configuration file, with the environment on top.

``load`` is pure: text and a mapping in, a ``Config`` or all complaints at once out.  The keys, their
variables and what they may hold are the table in ``keys``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from attrs import evolve

from athensd.config.keys import KEYS
from athensd.config.settings import Config


class ConfigError(Exception):
    """The settings cannot be used; one line for each problem, naming the file and key or the variable."""


NEEDED = {
    ("StorageType", "disk"): ["Storage.Disk.RootPath"],
    ("StorageType", "s3"): ["Storage.S3.Region", "Storage.S3.Bucket"],
    ("StorageType", "minio"): [f"Storage.Minio.{key}" for key in ("Endpoint", "Key", "Secret", "Bucket")],
    ("StorageType", "gcp"): ["Storage.GCP.Bucket"],
    ("StorageType", "azureblob"): ["Storage.AzureBlob.AccountName", "Storage.AzureBlob.ContainerName"],
    ("StorageType", "mongo"): ["Storage.Mongo.URL"],
    ("StorageType", "external"): ["Storage.External.URL"],
    ("SingleFlightType", "etcd"): ["SingleFlight.Etcd.Endpoints"],
    ("SingleFlightType", "redis"): ["SingleFlight.Redis.Endpoint"],
    ("SingleFlightType", "redis-sentinel"): ["SingleFlight.RedisSentinel.Endpoints"],
}
"""What a choice cannot do without."""

BUCKETS = {"s3", "minio", "gcp", "azureblob"}

# From the path of a key, in lower case, to where its value comes from and the value.
_Given = dict[str, tuple[str, object]]

_KEY = {key.path.lower(): key for key in KEYS}
_TABLES = {path[: dot.start()] for path in _KEY for dot in re.finditer(r"\.", path)}
_VARIABLES = {name for key in KEYS for name in key.variables}

# Kubernetes sets these in every container for a service whose name begins with "athens".
_SERVICE_LINK = re.compile(r"ATHENS_(?:.*_)?(?:SERVICE_(?:HOST|PORT(?:_.+)?)=|PORT_\d+_(?:TCP|UDP|SCTP)|PORT=\w+://).*")


def load(text: str, environ: Mapping[str, str], name: str = "athens.toml") -> Config:
    """The settings in the TOML ``text`` (empty: no file), overridden by ``environ``.

    ``name`` is what the complaints call the file.  Raises ``ConfigError`` with every problem there is.
    """
    problems: list[str] = []
    given = {**_from_file(text, name, problems), **_from_environment(environ, problems)}
    config = Config()
    for path, (where, value) in given.items():
        key = _KEY[path]
        try:
            checked = key.check(value)
        except ValueError as error:
            problems.append(f"{where} {error}")
        else:
            config = _put(config, key.field.split("."), checked) if key.field else config
    problems += _missing(config, name)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _missing(config: Config, name: str) -> Iterator[str]:
    """A complaint for each setting that the chosen backends cannot do without."""
    if config.single_flight_type in BUCKETS and config.single_flight_type != config.storage_type:
        same = f'"{config.single_flight_type}"'
        yield f"{name}: SingleFlightType {same} keeps its locks in the store: it needs StorageType {same}"
    for kind in ("StorageType", "IndexType"):
        if config.workers > 1 and attrgetter(_KEY[kind.lower()].field)(config) == "memory":
            yield f'{name}: {kind} "memory" is of one process alone: it does not go with Workers above 1'
    alone = ("disk", "memory", 1)
    if config.storage_max_bytes and (config.storage_type, config.single_flight_type, config.workers) != alone:
        # Each of several processes would know of what it has stored itself, and of nothing else.
        yield f'{name}: StorageMaxBytes needs StorageType "disk", SingleFlightType "memory" and one of Workers'
    last = config.pprof.port + config.workers - 1
    if config.enable_pprof and last > 65535:
        yield f"{name}: PprofPort is {config.pprof.port}, and the last of {config.workers} Workers would be at {last}"
    for choice, needed in NEEDED.items():
        kind, value = choice
        for path in needed if attrgetter(_KEY[kind.lower()].field)(config) == value else ():
            key = _KEY[path.lower()]
            if not attrgetter(key.field)(config):
                yield f'{name}: {kind} "{value}" needs {path} (or {key.env})'


def changes(old: Config, new: Config) -> list[str]:
    """The keys whose values differ."""
    return [key.path for key in KEYS if key.field and attrgetter(key.field)(old) != attrgetter(key.field)(new)]


def _from_file(text: str, name: str, problems: list[str]) -> _Given:
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and a number of more digits than Python reads
        raise ConfigError(f"{name} is not TOML: {error}") from error
    given: _Given = {}
    for path, value in _leaves(table):
        where = f"{name}: {path}"
        problem = _problem(path, value, given)
        if problem:
            problems.append(f"{where} {problem}")
        else:
            given[path.lower()] = where, value
    return given


def _leaves(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """All values with their dotted paths; a table that is a value of a key, or of no key at all, counts as one."""
    for name, value in table.items():
        path = prefix + name
        if isinstance(value, dict) and path.lower() in _TABLES:
            yield from _leaves(value, path + ".")
        else:
            yield path, value


def _problem(path: str, value: object, given: _Given) -> str:
    """What is wrong with a value in the file whatever its meaning; empty if nothing is."""
    key = _KEY.get(path.lower())
    if path.lower() in _TABLES:
        return f"is {_word(value)}; it must be a table"
    if key is None:
        return f"is no setting; the nearest one is {_nearest(path, {key.path: key.path for key in KEYS})}"
    if path.lower() in given:
        return "is there twice (upper and lower case are the same)"
    return "" if key.kind.fits(value) else f"is {_word(value)}; it must be {key.kind.name}"


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> _Given:
    given: _Given = {}
    for key in KEYS:
        names = [name for name in key.variables if name in environ and (environ[name] or key.empty_counts)]
        if not names:
            continue
        where = f"environment: {names[0]}"
        try:
            given[key.path.lower()] = where, key.kind.parse(environ[names[0]])
        except ValueError:
            problems.append(f"{where} is {'not' if environ[names[0]] else 'empty; it must be'} {key.kind.name}")
    for name in environ:
        if (
            name.startswith("ATHENS_")
            and name not in _VARIABLES
            and not _SERVICE_LINK.fullmatch(f"{name}={environ[name]}")
        ):
            nearest = _nearest(name, {"ATHENS_" + key.env.removeprefix("ATHENS_"): key.env for key in KEYS})
            problems.append(f"environment: {name} is no setting; the nearest one is {nearest}")
    return given


def _nearest(name: str, candidates: Mapping[str, str]) -> str:
    """The value in ``candidates`` whose key looks most like ``name``."""
    by_lower = {key.lower(): value for key, value in candidates.items()}
    return by_lower[get_close_matches(name.lower(), by_lower, n=1, cutoff=0)[0]]


def _word(value: object) -> str:
    words = {str: "a string", bool: "true or false", int: "a whole number", float: "a decimal number"}
    return {**words, list: "an array", dict: "a table"}.get(type(value), "a date or time")


def _put(config: Any, field: list[str], value: object) -> Any:
    """The same tree with the value at ``field``."""
    first, *rest = field
    return evolve(config, **{first: _put(getattr(config, first), rest, value) if rest else value})
