"""A running daemon is asked for versions, so that they are stored before anybody needs them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator

from attrs import frozen

from athensd.errors import AthensError
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.modfile import parse_mod
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import Kind
from athensd.upkeep.tally import Tally

GO_MOD = frozenset({Kind.MOD})
# Fetching a zip brings the others, so that they are there when they are asked for.
_ORDER = (Kind.ZIP, Kind.INFO, Kind.MOD)

Wanted = dict[ModuleVersion, frozenset[Kind]]
"""Versions, and which files of each."""


def read_wanted(name: str, text: str) -> Wanted:
    """The versions in a ``go.mod``, a ``go.sum`` or a ``modules.txt``, as which is said by the end of the file's name.

    A ``go.mod`` names what it requires; ``replace`` and ``exclude`` do not count.  ``go.sum`` says of which versions
    nothing but the ``go.mod`` is needed.  Raises ``ValueError`` with a line for each problem.
    """
    read = next((read for end, read in _READERS.items() if name.endswith(end)), None)
    if read is None:
        raise ValueError(f"{name} is neither a go.mod, a go.sum nor a modules.txt, by its name")
    wanted: Wanted = {}
    problems = []
    for number, words, kinds in read(text):
        if len(words) == 2 and is_canonical_for(*words):
            version = ModuleVersion(*words)
            wanted[version] = wanted.get(version, frozenset()) | kinds
        else:
            problems.append(f"{name}:{number}: this names no version of a module")
    if problems:
        raise ValueError("\n".join(problems))
    return wanted


def one_wanted(word: str) -> Wanted:
    """The version that ``PATH@VERSION`` means.  Raises ``ValueError``."""
    path, _, version = word.partition("@")
    if not is_canonical_for(path, version):
        raise ValueError(f"{word} is no version of a module, as golang.org/x/text@v0.3.0 is one")
    return {ModuleVersion(path, version): frozenset(_ORDER)}


def is_go_release(word: str) -> bool:
    """Whether this is the name of a release of Go, such as ``go1.27.4``."""
    return re.fullmatch(r"go1(\.[0-9]+)+((rc|beta)[0-9]+)?", word) is not None


def toolchains(release: str, platforms: Iterable[str]) -> Wanted:
    """What the go command fetches when it changes to this release, on platforms such as ``linux/amd64``.

    Raises ``ValueError``.
    """
    wanted: Wanted = {}
    for platform in platforms:
        if not re.fullmatch("[a-z0-9]+/[a-z0-9]+", platform):
            raise ValueError(f"{platform} is no platform, as linux/amd64 is one")
        wanted |= one_wanted(f"golang.org/toolchain@v0.0.1-{release}.{platform.replace('/', '-')}")
    return wanted


_Line = tuple[int, list[str], frozenset[Kind]]


def _go_mod(text: str) -> Iterator[_Line]:
    for version in parse_mod(text).requires:
        yield 0, [version.path, version.version], frozenset(_ORDER)


def _go_sum(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            version = words[1] if len(words) == 3 else ""
            kinds = GO_MOD if version.endswith("/go.mod") else frozenset(_ORDER)
            yield number, [words[0], version.removesuffix("/go.mod")], kinds


def _modules_txt(text: str) -> Iterator[_Line]:
    """Of what is replaced its replacement is wanted, if it is a module and not a directory."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# "):
            module, replaced, other = line.removeprefix("# ").partition("=>")
            words = (other if replaced else module).split()
            if not replaced or len(words) == 2:
                yield number, words, frozenset(_ORDER)


_READERS: dict[str, Callable[[str], Iterator[_Line]]] = {
    ".mod": _go_mod,
    ".sum": _go_sum,
    "modules.txt": _modules_txt,
}


@frozen
class Warmer:
    """Has versions stored by a daemon.

    ``ask`` fetches a file, by its path in the download protocol, and throws it away; it raises words of ``errors``.
    """

    ask: Callable[[str], Awaitable[None]]
    tally: Tally

    async def warm(self, wanted: tuple[ModuleVersion, frozenset[Kind]]) -> None:
        """Ask for files of a version; the tally is told what came of it.  After the first failure no more is asked."""
        version, kinds = wanted
        try:
            for kind in _ORDER:
                if kind in kinds:
                    name = f"{escape_version(version.version)}.{kind.value}"
                    await self.ask(f"{escape_path(version.path)}/@v/{name}")
        except AthensError as error:
            self.tally.fault(version, str(error))
            self.tally.count("failed")
        else:
            self.tally.count("only the go.mod" if kinds == GO_MOD else "warm")
