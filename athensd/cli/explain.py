"""``athensd explain``: what the settings mean for one version, and what there is of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import click
from attrs import asdict, evolve, field, frozen

from athensd.cli.stores import opened
from athensd.config.report import without_secrets
from athensd.config.settings import Config
from athensd.doors.door import Keys
from athensd.doors.rules import ANONYMOUS, Action, Asker
from athensd.errors import AthensError, NotFound
from athensd.fetching import make_exempt
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import IStorage, Kind
from athensd.origin.chain import TOOLCHAIN, parse_goproxy
from athensd.startup import Rules, Unusable, ask_go, find_go, read_configuration, read_rules
from athensd.upkeep.warming import one_wanted

_ACCESS = {Action.ALLOW: "allowed", Action.DENY: "refused", Action.HIDE: "hidden"}
_FILTER = {"include": "let through", "exclude": "refused", "direct": "passed on and not stored"}


@frozen
class Hop:
    """One place to fetch from; the next one is asked after any error, or only when something is not there."""

    place: str
    after_any_error: bool


@frozen
class Explanation:
    """What holds for a version.  A rule is empty where the default holds, as is all that there is none of."""

    module: str
    version: str
    filter: str
    filter_rule: str
    revoked: str
    asker: str
    access: str
    access_rule: str
    download_mode: str
    download_mode_pattern: str
    download_mode_rule: str
    download_url: str
    network_mode: str
    private: bool
    origins: list[Hop]
    checksum_database: str
    exempt: bool
    validator: str
    lock: str
    stored: Mapping[str, int] = field(factory=dict)
    h1: str = ""
    unreadable: str = ""

    def lines(self) -> Iterator[str]:
        """In words."""
        yield f"{self.module}@{self.version}"
        yield f"filter: {_FILTER[self.filter]}, by {self.filter_rule or 'no rule'}"
        yield f"revoked: {self.revoked or 'no'}"
        yield f"access: {self._who()}"
        pattern = f'download "{self.download_mode_pattern}"' if self.download_mode_pattern else "the default"
        pattern += f" ({self.download_mode_rule})" if self.download_mode_rule else ""
        to = f" to {self.download_url}" if self.download_url else ""
        yield f"if not stored: {self.download_mode}{to}, by {pattern}"
        yield f"fetched from: {self._from()}"
        database = self.checksum_database or "off"
        yield f"checksum database: {f'not asked, it is exempt ({database})' if self.exempt else database}"
        yield f"validator: {self.validator or 'none'}"
        yield f"lock: {self.lock}"
        yield f"stored: {self.unreadable or self._files()}"

    def _who(self) -> str:
        if not self.access:
            return "whoever asks, there are no logins"
        return f"{self.access} for {self.asker or 'whoever has no login'}, by {self.access_rule or 'no rule'}"

    def _from(self) -> str:
        if self.network_mode == "offline":
            return "nowhere (NetworkMode offline)"
        text = ""
        for hop in self.origins:
            text += hop.place + (", after any error " if hop.after_any_error else ", if it is not there ")
        return (text.rpartition(", ")[0] or "nowhere") + (" (GONOPROXY)" if self.private else "")

    def _files(self) -> str:
        files = [f"{kind} ({length} bytes)" for kind, length in self.stored.items() if kind != Kind.ZIPHASH.value]
        return ", ".join([*files, *([self.h1] if self.h1 else [])]) or "nothing"


def asker_of(keys: Keys, name: str, groups: Collection[str]) -> Asker:
    """Who has this login, and is in these groups too; without a name somebody in them.  Raises ``ValueError``."""
    tokens = [token for token in keys.tokens.values() if token.name == name]
    if name and not tokens and name not in {keys.user, *keys.users}:
        raise ValueError(f"--as {name}: there is no such user and no such token")
    known = keys.access.groups.get(name, frozenset()).union(*(token.groups for token in tokens), groups)
    return Asker(name or ", ".join(f"the group {group}" for group in sorted(known)), known)


def explained(
    version: ModuleVersion, config: Config, rules: Rules, go_settings: Mapping[str, str], asker: Asker = ANONYMOUS
) -> Explanation:
    """What settings and rules say.  Raises ``ValueError`` when GOPROXY makes no sense."""
    path = version.path
    stone = rules.revoked.of(path, version.version)
    access, access_line = rules.keys.access.verdict(asker, path)
    verdict = rules.filter.verdict(path, version.version)
    rule = rules.modes.of(path)
    blocks = (block.pattern for block in rules.modes.blocks if matches(block.pattern, path))
    private = path != TOOLCHAIN and matches(go_settings["GONOPROXY"], path)
    hops = [
        Hop(without_secrets(hop.where), hop.after_any_error)
        for hop in parse_goproxy(go_settings["GOPROXY"])
        if path != TOOLCHAIN or hop.where != "direct"
    ]
    database = go_settings["GOSUMDB"].split("+")[0].split(" ")[0]
    return Explanation(
        module=path,
        version=version.version,
        filter=verdict.action.name.lower(),
        filter_rule=verdict.rule,
        revoked=f"since {stone.since:%Y-%m-%d}: {stone.reason}" if stone else "",
        asker=asker.name,
        access=_ACCESS[access] if rules.keys.closed else "",
        access_rule=f"{config.rules_file}, {access_line}" if access_line else "",
        download_mode=rule.mode.value,
        download_mode_pattern=next(blocks, ""),
        download_mode_rule=rule.where,
        download_url=rule.url if rule.mode.redirects else "",
        network_mode=config.network_mode,
        private=private,
        origins=[Hop("direct", False)] if private else hops,
        checksum_database="" if database == "off" else database,
        exempt=path in make_exempt(config, go_settings),
        validator=without_secrets(config.validator_hook),
        lock=config.single_flight_type,
    )


async def explain_version(
    reactor: Any, *, version: str, name: str, groups: Collection[str], config_file: str | None, as_json: bool
) -> int:
    """``athensd explain``."""
    try:
        [wanted] = one_wanted(version)
        config = read_configuration(config_file)
        go_settings = ask_go(find_go(config.go_binary), config.go_binary_env_vars)
        rules = read_rules(config)
        explanation = explained(wanted, config, rules, go_settings, asker_of(rules.keys, name, groups))
    except ValueError as error:
        raise Unusable(str(error)) from error
    try:
        with opened(reactor, config) as store:
            explanation = await _looked_up(explanation, store.storage, wanted)
    except (Unusable, AthensError) as error:
        # What the settings say is worth having all the same.
        explanation = evolve(explanation, unreadable=str(error))
    if as_json:
        click.echo(json.dumps(asdict(explanation), indent=2, ensure_ascii=False))
    else:
        for line in explanation.lines():
            click.echo(line)
    return 0


async def _looked_up(explanation: Explanation, storage: IStorage, version: ModuleVersion) -> Explanation:
    stored, h1 = {}, ""
    for kind in Kind:
        try:
            blob = await storage.open(version, kind)
        except NotFound:
            continue
        stored[kind.value] = blob.length
        if kind is Kind.ZIPHASH:
            h1 = b"".join([piece async for piece in blob.chunks()]).decode("ascii", "replace").strip()
    return evolve(explanation, stored=stored, h1=h1)
