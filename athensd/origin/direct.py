"""Modules from where they are kept: the go command asks the version control host.

Each command works in a directory of its own: an empty current directory (a go.mod there would have a say), a module
cache that is thrown away afterwards, and in it a link to one ``cache/vcs`` for all, so that history is not cloned
again for every version.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from attrs import define, field
from zope.interface import implementer

from athensd.blob import FileBlob
from athensd.errors import AthensError, TimedOut, UpstreamFailed
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IFlight, IOrigin, Kind
from athensd.origin.go_complaints import complaint, is_damage, without_credentials
from athensd.origin.go_environment import go_environment, lay_out
from athensd.origin.go_process import Finished, GoCommand
from athensd.spool import Spool
from athensd.steps import step

log = structlog.get_logger()

LIST = ("list", "-m", "-e", "-json", "-versions", "-retracted", "--")
RESOLVE = ("list", "-m", "-e", "-json", "-retracted", "--")
DOWNLOAD = ("mod", "download", "-json", "--")

# What go's answer calls the files of a version.
FILES = {Kind.INFO: "Info", Kind.MOD: "GoMod", Kind.ZIP: "Zip"}


@implementer(IOrigin)
@define(eq=False)
class DirectOrigin:
    """The go command with ``GOPROXY=direct``.

    ``host`` and ``settings`` make its environment (see ``go_environment``).  ``flight`` must be of this process, since
    files are handed over by linking them.  ``vcs`` is the directory of cloned repositories, which outlives the process;
    one go command takes at most ``timeout`` seconds.
    """

    _go: GoCommand
    _flight: IFlight
    _spool: Spool
    _in_thread: Callable[..., Awaitable[Any]]
    _host: Mapping[str, str]
    _settings: Mapping[str, str]
    _vcs: Path
    _timeout: float
    _takers: dict[ModuleVersion, set[Path]] = field(init=False, factory=dict)

    async def list(self, path: str) -> Sequence[Listed]:
        """The tagged versions, retracted ones too: a client reads from the highest version which are retracted."""
        async with self._work() as work:
            answer = await self._ask(work, LIST, path, "latest")
            if answer.get("Error") and not answer.get("Versions"):
                raise _complaint(answer, path, "latest")
            return tuple(Listed(version) for version in answer.get("Versions", ()))

    async def resolve(self, path: str, query: str) -> Info:
        async with self._work() as work:
            answer = await self._ask(work, RESOLVE, path, query)
            if answer.get("Error"):
                raise _complaint(answer, path, query)
            if not answer.get("Version"):
                raise UpstreamFailed(f"{path}@{query}: the go command named no version")
            return Info(answer["Version"], answer.get("Time"), answer.get("Origin"))

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        """All three files where go makes them.

        Of a version that asks for a newer go there are only INFO and MOD, and asking for its ZIP raises
        ``UpstreamFailed``.  Those who ask for files of one version at the same time share one command.
        """
        served: set[Path] = set()
        while into not in served:  # whoever joins when the files were handed out already must ask again
            fault, served = await self._together(version, into)
        files = _files(into)
        if kind in files:
            return files
        raise fault or UpstreamFailed(f"{version}: the go command made no .{kind.value} file")

    async def _together(self, version: ModuleVersion, into: Path) -> tuple[AthensError | None, set[Path]]:
        """What ``_download`` gives, ours or one that is under way."""
        takers = self._takers.setdefault(version, set())
        takers.add(into)
        try:
            return await self._flight.run(f"go mod download {version}", lambda: self._download(version))
        finally:
            takers.discard(into)
            if not takers:
                self._takers.pop(version, None)

    async def _download(self, version: ModuleVersion) -> tuple[AthensError | None, set[Path]]:
        """Download and hand the files to all takers: the complaint, if some file is missing, and who was served."""
        async with self._work() as work:
            # Where go finds the extracted tree already, it does not extract the zip.
            name = f"{escape_path(version.path)}@{escape_version(version.version)}"
            (work / "mod" / name).mkdir(parents=True)
            answer = await self._ask(work, DOWNLOAD, version.path, version.version)
            fault = _complaint(answer, version.path, version.version) if answer.get("Error") else None
            made = _made(answer)
            if not made:
                raise fault or UpstreamFailed(f"{version}: the go command made no file")
            if answer.get("Version") != version.version:
                raise UpstreamFailed(f"{version}: the go command answered with version {answer.get('Version')}")
            served = set(self._takers.get(version, ()))
            for into in served:
                _link(made, into)
            return fault, served

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Path]:
        """A directory for one command; it may hold thousands of files, so they are removed in a thread."""
        with self._spool.directory() as work:
            lay_out(work)
            self._vcs.mkdir(parents=True, exist_ok=True)
            (work / "mod/cache/vcs").symlink_to(self._vcs.absolute())
            try:
                yield work
            finally:
                await self._in_thread(shutil.rmtree, work, True)  # what cannot be removed is swept later

    async def _ask(self, work: Path, command: Sequence[str], path: str, query: str) -> dict[str, Any]:
        """go's answer.  A clone that turns out to be damaged is removed and the question put once more."""
        answer = await self._run(work, command, path, query)
        url = answer.get("Origin", {}).get("URL")
        if not url or not is_damage(_error_text(answer), path=path, version=query):
            return answer
        await self._in_thread(_remove_clone, self._vcs, url)
        return await self._run(work, command, path, query)

    async def _run(self, work: Path, command: Sequence[str], path: str, query: str) -> dict[str, Any]:
        about = log.bind(command=" ".join(command), module=path, version=query)
        environment = go_environment(self._host, self._settings, work)
        arguments = [*command, f"{path}@{query}"]
        with step("go", command=_name(command), arguments=" ".join(arguments), module=path, version=query) as this:
            try:
                finished = await self._go.run(arguments, environment, work / "empty", self._timeout)
            except TimedOut as error:
                about.warning("go command", error=str(error))
                raise TimedOut(f"{path}@{query}: its host did not send it within {self._timeout:g} seconds") from error
            except UpstreamFailed as error:
                about.warning("go command", error=str(error))
                raise UpstreamFailed(f"{path}@{query}: {error}") from error
            answer = _answer(finished)
            this.note(
                exit=finished.code,
                cpu_seconds=round(finished.cpu_seconds, 3),
                peak_memory=finished.peak_memory,
                bytes=sum(path.stat().st_size for path in _made(answer).values()),
            )
        _log(about, finished, _error_text(answer))
        return answer


def _name(command: Sequence[str]) -> str:
    """The command without its flags, such as ``go mod download``."""
    return " ".join(["go", *itertools.takewhile(lambda word: not word.startswith("-"), command)])


def _made(answer: Mapping[str, Any]) -> dict[Kind, Path]:
    """The files that go says it made."""
    return {kind: Path(answer[name]) for kind, name in FILES.items() if answer.get(name)}


def _answer(finished: Finished) -> dict[str, Any]:
    """The one object that go printed; where it printed none (a fatal error), one that holds its stderr."""
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    return {"Error": finished.stderr.decode(errors="replace") or f"exit status {finished.code}"}


def _error_text(answer: Mapping[str, Any]) -> str:
    """``go mod download`` gives a text, ``go list`` an object."""
    error = answer.get("Error", "")
    return str(error.get("Err", "")) if isinstance(error, dict) else str(error)


def _complaint(answer: Mapping[str, Any], path: str, query: str) -> AthensError:
    return complaint(_error_text(answer), path=path, version=query, origin=answer.get("Origin"))


def _log(about: structlog.typing.FilteringBoundLogger, finished: Finished, error: str) -> None:
    cost = {"exit": finished.code, "seconds": round(finished.seconds, 3), "cpu_seconds": round(finished.cpu_seconds, 3)}
    if error:
        about.warning("go command", **cost, error=without_credentials(error))
    else:
        about.info("go command", **cost)


def _link(made: Mapping[Kind, Path], into: Path) -> None:
    into.mkdir(exist_ok=True)
    for kind, path in made.items():
        os.link(path, into / f"version.{kind.value}")


def _files(directory: Path) -> dict[Kind, Blob]:
    found = {kind: directory / f"version.{kind.value}" for kind in FILES}
    return {kind: FileBlob(path, path.stat().st_size) for kind, path in found.items() if path.exists()}


def _remove_clone(vcs: Path, url: str) -> None:
    """Remove the clone of a URL, unless a go command holds its lock: then that one sees to it."""
    for key in vcs.glob("*.info"):  # go writes there what it hashed to get the name, such as git3:https://...
        if key.read_text().partition(":")[2].strip() == url:
            with key.with_suffix(".lock").open("ab") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(key.with_suffix(""), ignore_errors=True)
