"""The console command.  Verbs are imported when they are called: completion asks this module at each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from athensd import __version__

_CONFIG = click.option(
    "-c",
    "--config-file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The settings that name the store, as for the daemon: a TOML file (default: athens.toml here, if there is "
    "one) and the environment.",
)
_MODULE = click.option(
    "--module",
    "patterns",
    metavar="PATTERN",
    default="",
    help="Only modules that match, as in GOPRIVATE: github.com/us/*,*.our.example",
)
_JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="So many versions at a time."
)
_PLATFORM = click.option(
    "--platform",
    "platforms",
    metavar="OS/ARCH",
    multiple=True,
    default=["linux/amd64"],
    show_default=True,
    help="Where the releases of Go in WHAT are to run; may be given more than once.",
)
_FILE = click.argument("file", metavar="[FILE]", required=False, type=click.Path(dir_okay=False))
_EXITS = "Exit status: 0 nothing is wrong, 1 something is (each thing is a line), 2 it could not be done."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="athensd")
def main() -> None:
    """Look after athensd, the Go module proxy, and its stores.

    Everything here may be done while daemons use the same store.  The daemon itself is started by: twistd athens
    """


@main.command(epilog=_EXITS)
@_CONFIG
@_MODULE
@click.option("--sums", is_flag=True, help="Ask the checksum database too, except about private modules.")
@click.option("--repair", is_flag=True, help="Record missing hashes, and replace what is wrong and can be had again.")
@_JOBS
def fsck(**options: Any) -> None:
    """Check every file of the store.

    The hash (h1) of each zip is computed and compared with the one that was recorded when it was stored; the zip must
    be one that the go command accepts, its go.mod the one that is served, and the .info must speak of this version.

    With --repair, a wrong version is fetched again.  If what comes is right by the checksum database or the recorded
    hash, the wrong one goes into quarantine and the right one takes its place; else everything stays as it is.
    """
    from athensd.cli.run import run
    from athensd.cli.verbs import check

    run(lambda reactor: check(reactor, **options))


@main.command(epilog=_EXITS)
@click.argument("from_", metavar="FROM")
@click.argument("to", metavar="TO")
@_MODULE
@_JOBS
def copy(**options: Any) -> None:
    """Copy every complete version from one store to another.

    FROM and TO are each one of:

    \b
      FILE       the store that this TOML file of settings names (the environment does not count)
      disk:DIR   the store in a directory
      env:       the daemon's own: athens.toml here, if there is one, and the environment
      env:FILE   the same with another file

    What is copied is verified.  What TO has already is passed over, so a copy that was cut short goes on where it was
    when it is started again.  Nothing in TO is replaced: other bytes of the same version are a conflict, and named.
    """
    from athensd.cli.run import run
    from athensd.cli.verbs import copy_store

    run(lambda reactor: copy_store(reactor, **options))


@main.command("import", epilog=_EXITS)
@click.argument("what", metavar="DIR|BUNDLE", type=click.Path(exists=True, path_type=Path))
@click.option("--key", metavar="KEY", help="Of a bundle: who must have signed it, as athensd key has printed it.")
@_CONFIG
@_MODULE
@click.option("--sums", is_flag=True, help="Verify with the checksum database too, except for private modules.")
@_JOBS
def import_(what: Path, key: str | None, sums: bool, **options: Any) -> None:
    """Bring the modules in a directory or a bundle into the store.

    DIR is a module cache of the go command (GOMODCACHE, or cache/download in it), or a disk store of Athens.  Each
    version is verified; what is damaged is named and left out.  Nothing in the store is replaced.

    BUNDLE is what athensd export has written.  If any byte of it is not what was signed, nothing of it is taken.  Its
    checksum answers are kept where the daemon looks for them, and its modules are verified by them.
    """
    from athensd.cli.bundles import import_bundle
    from athensd.cli.run import run
    from athensd.cli.verbs import import_folder

    if what.is_dir():
        if key:
            raise click.UsageError("--key is for a bundle, and this is a directory")
        run(lambda reactor: import_folder(reactor, directory=what, sums=sums, **options))
    if sums:
        raise click.UsageError("--sums is for a directory; a bundle brings the answers along")
    if not key:
        raise click.UsageError("a bundle needs --key: who must have signed it")
    run(lambda reactor: import_bundle(reactor, file=what, key=key, **options))


@main.command(epilog=_EXITS)
@click.argument("what", metavar="[WHAT]...", nargs=-1)
@click.option("-o", "--output", metavar="BUNDLE", required=True, type=click.Path(path_type=Path), help="What to write.")
@click.option(
    "--key",
    metavar="FILE",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The secret key to sign with, as athensd key has made it.",
)
@click.option(
    "--since",
    metavar="BUNDLE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Leave out what is in this earlier bundle; may be given more than once.",
)
@_PLATFORM
@_CONFIG
@_MODULE
@_JOBS
def export(**options: Any) -> None:
    """Write what is stored into one file, for a site without a network.

    WHAT is as for athensd warm, which has it stored first; without any it is the whole store.  Each version is
    verified; what is missing, damaged or revoked is named and left out.  What the checksum database says of each goes
    along, all with one tree head, so that clients inside verify as everybody does.

    An export that was cut short goes on where it was when it is started again.
    """
    from athensd.cli.bundles import export
    from athensd.cli.run import run

    run(lambda reactor: export(reactor, **options))


@main.command(epilog="Exit status: 0 it is made, 2 it could not be done.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--name", default="athensd-bundle", show_default=True, help="A name for whoever signs.")
def key(**options: Any) -> None:
    """Make a key to sign bundles with.

    The secret part is written to FILE, which must not be there yet; keep it where bundles are written.  The public
    part is printed; it is what --key of athensd import needs.
    """
    from athensd.cli.bundles import make_key
    from athensd.cli.run import run

    run(lambda reactor: make_key(**options))


@main.command(epilog=_EXITS)
@click.argument("what", metavar="WHAT...", nargs=-1, required=True)
@click.option(
    "--url", metavar="URL", help="The daemon, perhaps with user:password@ (default: on this machine, by its settings)."
)
@_PLATFORM
@_CONFIG
@_JOBS
def warm(**options: Any) -> None:
    """Have a running daemon fetch and store what a build will need.

    WHAT is a go.mod, a go.sum, a vendor/modules.txt, MODULE@VERSION, or a release of Go such as go1.27.4.  Of each
    version .zip, .info and .mod are asked for; of those that go.sum names for their go.mod alone, that.  What is stored
    already is quickly there, so a run that was cut short is simply started again.

    A login is taken from the URL, or from the file that NETRC names, or from ~/.netrc.
    """
    from athensd.cli.run import run
    from athensd.cli.warm import warm_server

    run(lambda reactor: warm_server(reactor, **options))


@main.command(epilog="Exit status: 0 it is small enough, 1 it is not, 2 it could not be done.")
@click.option(
    "--to", metavar="BYTES", type=click.IntRange(0), help="So many bytes may stay (default: StorageMaxBytes)."
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and leave it where it is.")
@_CONFIG
@_MODULE
@_JOBS
def evict(**options: Any) -> None:
    """Make the store smaller: zips go, those used least recently first.

    Their versions stay, with .info, .mod and the hash of the zip.  A zip that is asked for again is fetched again, and
    must have this hash.

    What is pinned (StoragePinned) or private stays, and so does what its origin does not say it still has.
    """
    from athensd.cli.evict import evict_zips
    from athensd.cli.run import run

    run(lambda reactor: evict_zips(reactor, **options))


@main.command(epilog="Exit status: 0 it is explained, 2 it could not be done.")
@click.argument("version", metavar="MODULE@VERSION")
@click.option("--as", "name", metavar="USER", default="", help="What holds for this user, or the token of this name.")
@click.option("--group", "groups", metavar="GROUP", multiple=True, help="And for somebody who is in this group.")
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="As a JSON document.")
def explain(**options: Any) -> None:
    """Say what holds for a version, and what of it is stored.

    Named are the lines that decide in the filter, the rules of access and the download modes, whether it is revoked,
    where it would be fetched from and in which order, whether the checksum database is asked, the validator, the lock,
    and the files with their sizes and hash.  Nothing but the store is asked.
    """
    from athensd.cli.explain import explain_version
    from athensd.cli.run import run

    run(lambda reactor: explain_version(reactor, **options))


@main.command(epilog="Exit status: 0 it is done, 2 it could not be done.")
@click.argument("versions", metavar="[MODULE@VERSION]...", nargs=-1)
@click.option("-r", "--reason", metavar="TEXT", default="", help="Why; the go command shows it to whoever asks.")
@click.option("--undo", is_flag=True, help="Let them be had again.")
@_CONFIG
def revoke(**options: Any) -> None:
    """Let nobody have these versions any more; without any, list what is revoked.

    Every daemon that reads the same file (RevokedFile) knows it within a second and after each start: it answers 403
    with the reason, lists the version no more, and does not fetch it.  The stored files stay, as evidence.

    Who has had a version already is said by: athensd who MODULE@VERSION
    """
    from athensd.cli.revoke import revoke_versions
    from athensd.cli.run import run

    run(lambda reactor: revoke_versions(reactor, **options))


@main.command(epilog="Exit status: 0 it is said, 2 it could not be done.")
@click.argument("version", metavar="MODULE@VERSION")
@click.option("--since", metavar="WHEN", default="", help="Only from then on: 7d, 12h, 30m ago; 2026-01-31T12:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Every answer with all that was recorded, as a line of JSON.")
@_CONFIG
def who(**options: Any) -> None:
    """Say who was given a version.

    Each login and address is a line, with the status of the answers (403: refused), the files, how often, and from when
    to when.  Daemons record that if AuditFile names a file; what they did in the last second may be missing.
    """
    from athensd.cli.run import run
    from athensd.cli.who import who_had

    run(lambda reactor: who_had(reactor, **options))


@main.group(short_help="Look at the settings.")
def config() -> None:
    """Look at the settings: those of a file (default: athens.toml here, if there is one) and the environment."""


@config.command("check", epilog=_EXITS)
@_FILE
def config_check(**options: Any) -> None:
    """Say everything that is wrong with the settings.

    The files that they name are read too: filter, revoked versions, download modes, users, tokens, rules, certificate,
    credentials.  No other machine is asked anything, no store is opened, and nothing listens.
    """
    from athensd.cli.run import run
    from athensd.cli.settings import check_settings

    run(lambda reactor: check_settings(reactor, **options))


@config.command("show", epilog=_EXITS)
@_FILE
@click.option("--changed", is_flag=True, help="Only what differs from its default.")
def config_show(**options: Any) -> None:
    """Show every setting, and where it comes from: the default, the file, or a variable of the environment.

    Secrets are shown as ***, those in addresses too; what is empty is shown as empty.
    """
    from athensd.cli.run import run
    from athensd.cli.settings import show_settings

    run(lambda reactor: show_settings(reactor, **options))


@config.command("explain", epilog="Exit status: 0 it is explained, 2 there is no such setting.")
@click.argument("name", metavar="KEY")
def config_explain(name: str) -> None:
    """Say what a setting means, with its variable and its default.

    KEY is a key of the file, such as Storage.Disk.RootPath, or a variable of the environment.
    """
    from athensd.config.reference import explained

    try:
        click.echo(explained(name), nl=False)
    except LookupError as error:
        raise click.UsageError(str(error)) from error


if __name__ == "__main__":
    main()
