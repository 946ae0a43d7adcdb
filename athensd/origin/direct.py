"""Modules from where they are kept: the go command asks the version control host.

Each command works in a directory of its own: an empty current directory (a go.mod there would have a say), a module
cache that is thrown away afterwards, and in it a link to one ``cache/vcs`` for all, so that history is not cloned
again for every version.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from athensd.blob import FileBlob
from athensd.errors import AthensError, TimedOut, UpstreamFailed
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IFlight, IOrigin, Kind
from athensd.origin.go_complaints import complaint, is_certain, is_damage, without_credentials
from athensd.origin.go_environment import Access, go_environment, lay_out
from athensd.origin.go_process import Finished, GoCommand
from athensd.origin.logins import without_login
from athensd.origin.repositories import Repositories
from athensd.origin.reuse import OldAnswers
from athensd.origin.turns import Turns
from athensd.origin.vcs_cache import VcsCache
from athensd.spool import Spool
from athensd.steps import step

log = structlog.get_logger()

NAME = "direct"
LIST = ("list", "-m", "-e", "-json", "-versions", "-retracted", "--")
RESOLVE = ("list", "-m", "-e", "-json", "-retracted", "--")
DOWNLOAD = ("mod", "download", "-json", "--")

# What go's answer calls the files of a version.
FILES = {Kind.INFO: "Info", Kind.MOD: "GoMod", Kind.ZIP: "Zip"}

Answer = dict[str, Any]


@define(eq=False)
class _Work:
    """The directory of one command; ``changed``: it may have changed a clone."""

    directory: Path
    changed: bool = True


@define(eq=False)
class _Download:
    """One version that is being downloaded, and the directories of those who wait for it."""

    takers: set[Path] = field(factory=set)
    work: Deferred[tuple[AthensError | None, set[Path]]] | None = None


@implementer(IOrigin)
@define(eq=False)
class DirectOrigin:
    """The go command with ``GOPROXY=direct``.

    ``host``, ``settings`` and ``access`` make its environment (see ``go_environment``).  ``flight`` must be of this
    process, since files are handed over by linking them.  ``vcs`` has the cloned repositories, which outlive the
    process; one go command takes at most ``timeout`` seconds, and begins when ``turns`` lets it.
    """

    _go: GoCommand
    _flight: IFlight
    _spool: Spool
    _in_thread: Callable[..., Awaitable[Any]]
    _host: Mapping[str, str]
    _settings: Mapping[str, str]
    _vcs: VcsCache
    _timeout: float
    _turns: Turns
    _access: Callable[[], Access] = Access
    _repositories: Repositories = field(init=False, factory=Repositories)
    _old: OldAnswers = field(init=False, factory=OldAnswers)
    _downloads: dict[ModuleVersion, _Download] = field(init=False, factory=dict)

    @property
    def waiting(self) -> int:
        """How many questions wait for their turn."""
        return self._turns.waiting

    async def list(self, path: str) -> Sequence[Listed]:
        """The tagged versions, retracted ones too: a client reads from the highest version which are retracted."""
        with step("origin.list", origin=NAME, module=path):
            answer = await self._latest(path)
            if answer.get("Error") and not answer.get("Versions"):
                raise _complaint(answer, path, "latest")
            return tuple(Listed(version) for version in answer.get("Versions", ()))

    async def resolve(self, path: str, query: str) -> Info:
        with step("origin.resolve", origin=NAME, module=path, version=query):
            answer = await (self._latest(path) if query == "latest" else self._resolved(path, query))
            if answer.get("Error"):
                raise _complaint(answer, path, query)
            if not answer.get("Version"):
                raise UpstreamFailed(f"{path}@{query}: the go command named no version")
            return Info(answer["Version"], answer.get("Time"), _shown(answer.get("Origin")))

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        """All three files where go makes them.

        Of a version that asks for a newer go there are only INFO and MOD, and asking for its ZIP raises
        ``UpstreamFailed``.  Those who ask for files of one version at the same time share one command, which ends when
        the last of them leaves.
        """
        with step("origin.fetch", origin=NAME, module=version.path, version=version.version, kind=kind.value) as this:
            served: set[Path] = set()
            while into not in served:  # whoever joins when the files were handed out already must ask again
                fault, served = await self._together(version, into)
            files = _files(into)
            if kind not in files:
                raise fault or UpstreamFailed(f"{version}: the go command made no .{kind.value} file")
            this.note(bytes=sum(blob.length for blob in files.values()))
            return files

    async def _together(self, version: ModuleVersion, into: Path) -> tuple[AthensError | None, set[Path]]:
        """What ``_download`` gives, ours or one that is under way."""
        download = self._downloads.setdefault(version, _Download())
        download.takers.add(into)
        try:
            return await self._flight.run(f"go mod download {version}", lambda: self._wanted(version, download))
        finally:
            download.takers.discard(into)
            if not download.takers:
                self._downloads.pop(version, None)
                if download.work is not None:
                    download.work.cancel()

    async def _wanted(self, version: ModuleVersion, download: _Download) -> tuple[AthensError | None, set[Path]]:
        """Download as long as somebody waits for it; nobody is served when all have left."""
        download.work = Deferred.fromCoroutine(self._download(version, download.takers))
        try:
            return await download.work
        except CancelledError:
            if download.takers:
                raise
            return None, set()

    async def _download(self, version: ModuleVersion, takers: set[Path]) -> tuple[AthensError | None, set[Path]]:
        """Download and hand the files to all takers: the complaint, if some file is missing, and who was served."""
        async with self._turn(version.path) as work:
            # Where go finds the extracted tree already, it does not extract the zip.
            name = f"{escape_path(version.path)}@{escape_version(version.version)}"
            (work.directory / "mod" / name).mkdir(parents=True)
            answers = await self._ask(work, DOWNLOAD, [version.path], version.version)
            answer = answers[version.path]
            fault = _complaint(answer, version.path, version.version) if answer.get("Error") else None
            made = _made(answer)
            if not made:
                raise fault or UpstreamFailed(f"{version}: the go command made no file")
            if answer.get("Version") != version.version:
                raise UpstreamFailed(f"{version}: the go command answered with version {answer.get('Version')}")
            served = set(takers)
            for into in served:
                _link(made, into)
            return fault, served

    async def _resolved(self, path: str, query: str) -> Answer:
        async with self._turn(path) as work:
            answers = await self._ask(work, RESOLVE, [path], query)
            return answers[path]

    async def _latest(self, path: str) -> Answer:
        """What go says of a module's versions and its latest one, asked with all that wait for the same repository."""
        url = self._repositories.url(path)
        return await self._turns.ask(url or path, path, partial(self._all_latest, url))

    async def _all_latest(self, url: str | None, paths: Sequence[str]) -> Mapping[str, Answer]:
        async with self._work(url) as work:
            return await self._ask(work, LIST, paths, "latest")

    @asynccontextmanager
    async def _turn(self, path: str) -> AsyncIterator[_Work]:
        url = self._repositories.url(path)
        async with self._turns.turn(url or path), self._work(url) as work:
            yield work

    @asynccontextmanager
    async def _work(self, url: str | None) -> AsyncIterator[_Work]:
        """A place for a command on one repository, if it is known which."""
        with self._spool.directory() as directory:
            lay_out(directory)
            (directory / "mod/cache/vcs").symlink_to(self._vcs.directory)
            work = _Work(directory)
            try:
                with self._vcs.held(url):
                    yield work
            finally:
                await self._in_thread(self._clear, work)

    def _clear(self, work: _Work) -> None:
        """There may be thousands of files, hence in a thread; what cannot be removed is swept later."""
        shutil.rmtree(work.directory, ignore_errors=True)
        if work.changed:
            self._vcs.settle()

    async def _ask(self, work: _Work, command: Sequence[str], paths: Sequence[str], query: str) -> Mapping[str, Answer]:
        """go's answers by module, that of the first one in any case.

        A clone that turns out to be damaged is removed and the question put once more.
        """
        answers = await self._run(work, command, paths, query)
        damaged = [path for path in answers if is_damage(_error_text(answers[path]), path=path, version=query)]
        for path in damaged:
            url = answers[path].get("Origin", {}).get("URL")
            if await self._in_thread(self._vcs.drop, _error_text(answers[path]), url):
                answers |= await self._run(work, command, [path], query)
        for path, answer in answers.items():
            origin = answer.get("Origin", {})
            if url := origin.get("URL"):
                self._repositories.learn(path, origin)
                self._vcs.used(url)
        return answers

    async def _run(self, work: _Work, command: Sequence[str], paths: Sequence[str], query: str) -> dict[str, Answer]:
        about = log.bind(command=" ".join(command), module=paths[0], version=query)
        if len(paths) > 1:
            about = about.bind(modules=len(paths))
        environment = go_environment(self._host, self._settings, work.directory, self._access())
        arguments = [f"{path}@{query}" for path in paths]
        shown = " ".join([*command, arguments[0], *(["..."] if len(paths) > 1 else [])])
        with step("go", command=_name(command), arguments=shown, module=paths[0], version=query) as this:
            try:
                finished = await self._go.run(
                    [*self._with_old(work, command, arguments), *arguments],
                    environment,
                    work.directory / "empty",
                    self._timeout,
                )
            except TimedOut as error:
                about.warning("go command", error=str(error))
                raise TimedOut(
                    f"{paths[0]}@{query}: its host did not send it within {self._timeout:g} seconds"
                ) from error
            except UpstreamFailed as error:
                about.warning("go command", error=str(error))
                raise UpstreamFailed(f"{paths[0]}@{query}: {error}") from error
            answers = _answers(finished, paths)
            this.note(
                exit=finished.code,
                cpu_seconds=round(finished.cpu_seconds, 3),
                peak_memory=finished.peak_memory,
                bytes=sum(file.stat().st_size for answer in answers.values() for file in _made(answer).values()),
            )
        work.changed = not all(answer.get("Reuse") for answer in answers.values())
        if command is not DOWNLOAD:
            self._remember(answers, query)
        _log(about, finished, _error_text(answers[paths[0]]))
        return answers

    def _with_old(self, work: _Work, command: Sequence[str], arguments: Iterable[str]) -> Sequence[str]:
        """The command; shown go's old answers, if there are any, so that only what has changed is looked up."""
        old = self._old.text(arguments) if command is not DOWNLOAD else ""
        if not old:
            return command
        file = work.directory / "old.json"
        file.write_text(old)
        return [*command[:-1], f"-reuse={file}", command[-1]]

    def _remember(self, answers: Mapping[str, Answer], query: str) -> None:
        for path, answer in answers.items():
            argument = f"{path}@{query}"
            if answer.get("Reuse"):
                continue
            error = _error_text(answer)
            # go would go on to repeat a failure of the moment for as long as the repository stays as it is.
            if answer.get("Origin") and (not error or is_certain(error, path=path, version=query)):
                files = FILES.values()  # they are gone with this command
                self._old.keep(argument, {name: value for name, value in answer.items() if name not in files})
            else:
                self._old.forget(argument)


def _name(command: Sequence[str]) -> str:
    """The command without its flags, such as ``go mod download``."""
    return " ".join(["go", *itertools.takewhile(lambda word: not word.startswith("-"), command)])


def _made(answer: Mapping[str, Any]) -> dict[Kind, Path]:
    """The files that go says it made."""
    return {kind: Path(answer[name]) for kind, name in FILES.items() if answer.get(name)}


def _answers(finished: Finished, paths: Sequence[str]) -> dict[str, Answer]:
    """The objects that go printed, by module.  It prints all of them or, at a fatal error, none: then its stderr."""
    found: dict[str, Answer] = {}
    with suppress(ValueError, TypeError, KeyError):
        text = finished.stdout.decode().strip()
        while text:
            answer, end = json.JSONDecoder().raw_decode(text)
            found[answer["Path"]] = answer
            text = text[end:].lstrip()
    if paths[0] not in found:
        found = {paths[0]: {"Error": finished.stderr.decode(errors="replace") or f"exit status {finished.code}"}}
    return found


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


def _shown(origin: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Where a version comes from, for clients: a page may name a repository with the login to it."""
    return {**origin, "URL": without_login(origin["URL"])} if origin and origin.get("URL") else origin


def _link(made: Mapping[Kind, Path], into: Path) -> None:
    into.mkdir(exist_ok=True)
    info = made.get(Kind.INFO)
    if info and (text := info.read_text()) != without_login(text):
        info.write_text(without_login(text))
    for kind, path in made.items():
        os.link(path, into / f"version.{kind.value}")


def _files(directory: Path) -> dict[Kind, Blob]:
    found = {kind: directory / f"version.{kind.value}" for kind in FILES}
    return {kind: FileBlob(path, path.stat().st_size) for kind, path in found.items() if path.exists()}
