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
_EXITS = "Exit status: 0 nothing is wrong, 1 something is (each thing is a line), 2 it could not be done."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="athensd")
def main() -> None:
    """Work on the stores of athensd, the Go module proxy.

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
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_CONFIG
@_MODULE
@click.option("--sums", is_flag=True, help="Verify with the checksum database too, except for private modules.")
@_JOBS
def import_(**options: Any) -> None:
    """Bring the modules in a directory into the store.

    DIR is a module cache of the go command (GOMODCACHE, or cache/download in it), or a disk store of Athens.  Each
    version is verified; what is damaged is named and left out.  Nothing in the store is replaced.
    """
    from athensd.cli.run import run
    from athensd.cli.verbs import import_folder

    run(lambda reactor: import_folder(reactor, **options))


if __name__ == "__main__":
    main()
