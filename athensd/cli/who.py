"""``athensd who``: who was given a version."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from athensd.audit.file import AuditFile, Visitor
from athensd.audit.record import Record
from athensd.startup import Unusable, read_configuration
from athensd.upkeep.warming import one_wanted

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


async def who_had(_reactor: object, *, version: str, since: str, as_json: bool, config_file: str | None) -> int:
    """``athensd who``."""
    config = read_configuration(config_file)
    try:
        [wanted] = one_wanted(version)
        after = _time(since, datetime.now(UTC)) if since else 0.0
    except ValueError as error:
        raise Unusable(str(error)) from error
    if not config.audit_file:
        raise Unusable("AuditFile (or ATHENS_AUDIT_FILE) names no file: nothing is recorded")
    if not Path(config.audit_file).exists():
        raise Unusable(f"there is no file {config.audit_file}: nothing was recorded yet")
    file = AuditFile(Path(config.audit_file), config.audit_days, config.audit_rows)
    if as_json:
        for record in file.about(wanted.path, wanted.version, after):
            click.echo(_document(record))
        return 0
    visitors = file.who(wanted.path, wanted.version, after)
    for visitor in visitors:
        click.echo(_line(visitor))
    click.echo(f"visitors: {len({(each.user, each.client) for each in visitors})}")
    return 0


def _time(text: str, now: datetime) -> float:
    """The time that ``7d``, ``12h``, ``30m`` ago was, or a day or time as such; in seconds since 1970."""
    ago = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    if ago:
        return now.timestamp() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--since {text}: must be as 7d, 12h, 30m, 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _line(visitor: Visitor) -> str:
    who = f"{visitor.user}@{visitor.client}" if visitor.user else visitor.client
    files = ",".join(visitor.files)
    return f"{who} {visitor.status} {files} {visitor.count}x {_shown(visitor.first)} to {_shown(visitor.last)}"


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _document(record: Record) -> str:
    when = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({**record._asdict(), "time": when}, ensure_ascii=False)
