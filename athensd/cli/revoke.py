"""``athensd revoke``: versions that nobody is to have any more, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from athensd.gomod.version import ModuleVersion
from athensd.policy.revoked import RESTORED, REVOKED, line_of
from athensd.startup import Unusable, read_configuration, read_rules, tombstone_file
from athensd.tombstones import append_line
from athensd.upkeep.warming import one_wanted

_UNDONE = "undone"
"""The reason of a line that somebody gave none for."""


async def revoke_versions(
    _reactor: object, *, versions: Sequence[str], reason: str, undo: bool, config_file: str | None
) -> int:
    """``athensd revoke``; without ``versions`` it lists them."""
    config = read_configuration(config_file)
    file = tombstone_file(config)
    if file is None:
        raise Unusable(
            f'with StorageType "{config.storage_type}" RevokedFile (or ATHENS_REVOKED_FILE) must name a file'
            " that all instances read"
        )
    # A line behind one that makes no sense would be read by nobody.
    revoked = read_rules(config).revoked
    if not versions:
        for stone in sorted(revoked, key=lambda stone: stone.since):
            click.echo(str(stone).removeprefix(f"{REVOKED} "))
        return 0
    wanted = [_version(word) for word in versions]
    if not undo and not reason.strip():
        raise Unusable("--reason TEXT is needed: whoever asks for the version is shown it")
    if not " ".join(reason.split()).isprintable():
        raise Unusable("--reason must be text that can be shown, in UTF-8")
    for version in wanted:
        if undo and revoked.of(version.path, version.version) is None:
            raise Unusable(f"{version} is not revoked")
    for version in wanted:
        line = line_of(RESTORED if undo else REVOKED, version, datetime.now(UTC), reason or _UNDONE)
        _append(file, line)
        click.echo(line)
    return 0


def _version(word: str) -> ModuleVersion:
    try:
        [version] = one_wanted(word)
    except ValueError as error:
        raise Unusable(str(error)) from error
    return version


def _append(file: Path, line: str) -> None:
    try:
        append_line(file, line)
    except OSError as error:
        raise Unusable(f"{file} cannot be written: {error.strerror}; be the user that the daemon runs as") from error
