"""The verbs of ``athensd config``: what is wrong with the settings, and what they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from athensd.checksums.served import parse_sumdbs
from athensd.config.report import report
from athensd.config.settings import Config
from athensd.fetching import outgoing, proxies
from athensd.listening import WITH_OURS, make_listeners, read_certificate
from athensd.retaining import read_pins
from athensd.startup import (
    DEFAULT_FILE,
    Unusable,
    ask_go,
    check_hgrc,
    find_go,
    read_configuration,
    read_netrc,
    read_rules,
)

WRONG = 1
# The settings whose files are read together; those of each are read whatever is wrong with the others.
_RULES = [
    ["filter_file"],
    ["download_mode", "download_url"],
    ["revoked_file", "storage_type", "storage", "go_get_dir"],
    ["basic_auth_user", "basic_auth_pass"],
    ["users_file"],
    ["tokens_file", "rules_file"],
]


async def check_settings(reactor: Any, *, file: str | None) -> int:
    """``athensd config check``."""
    found = list(_problems(reactor, file))
    for problem in found:
        click.echo(problem)
    click.echo(f"problems: {len(found)}")
    return WRONG if found else 0


async def show_settings(_reactor: Any, *, file: str | None, changed: bool) -> int:
    """``athensd config show``.  Raises ``Unusable`` for what ``config check`` would name first."""
    config = read_configuration(file)
    name = file or DEFAULT_FILE
    text = Path(name).read_text() if file or Path(name).exists() else ""
    for setting in report(config, text, os.environ, name):
        if setting.changed or not changed:
            click.echo(str(setting))
    return 0


def _problems(reactor: Any, file: str | None) -> Iterator[str]:
    """All that a start would stumble over, short of what only other machines know."""
    try:
        config = read_configuration(file)
    except Unusable as error:
        yield from str(error).split("\n")
        return
    looks: list[Callable[[], object]] = [
        *(partial(_read_alone, config, names) for names in _RULES),
        partial(read_certificate, config),
        partial(_check_listeners, reactor, config),
        partial(read_netrc, config),
        partial(check_hgrc, config),
        partial(parse_sumdbs, config.sum_dbs),
        partial(read_pins, config),
        partial(outgoing, reactor, config),
        lambda: proxies(config, ask_go(find_go(config.go_binary), config.go_binary_env_vars)),
    ]
    for look in looks:
        try:
            look()
        except (Unusable, ValueError) as error:
            yield from str(error).split("\n")


def _check_listeners(reactor: Any, config: Config) -> None:
    """Whether there is something to listen at.  What is wrong with the certificate is not said here."""
    try:
        certificate = read_certificate(config)
    except Unusable:
        certificate = None
        without = tuple(each for each in config.endpoints if not each.strip().startswith(WITH_OURS))
        config = evolve(config, endpoints=without)
    make_listeners(reactor, config, certificate)


def _read_alone(config: Config, names: list[str]) -> None:
    """What files of the operator say by these settings, as if he had made no others."""
    read_rules(evolve(Config(), **{name: getattr(config, name) for name in names}))
