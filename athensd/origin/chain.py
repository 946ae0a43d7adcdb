"""Several origins in the go command's own order: GOPROXY, GOPRIVATE and GONOPROXY (``go help goproxy``)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import frozen
from zope.interface import implementer

from athensd.errors import AthensError, NotFound
from athensd.gomod.info import Info
from athensd.gomod.listing import Listed
from athensd.gomod.pattern import matches
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.origin.folder import folder_of

T = TypeVar("T")
TOOLCHAIN = "golang.org/toolchain"
"""Go's own releases as a module.  It is kept in no repository, and the go command cannot be asked for it."""


@frozen
class Hop:
    """One place of a GOPROXY list: an http, https or file URL, ``direct`` or ``off``.

    The next place is asked ``after_any_error``, or only when something is not there.
    """

    where: str
    after_any_error: bool = False


def parse_goproxy(text: str) -> tuple[Hop, ...]:
    """Read GOPROXY: ``,`` goes on when something is not there (404, 410), ``|`` after any error.

    ``direct`` and ``off`` end the list, as in ``cmd/go/internal/modfetch``.  ``ValueError`` says what is wrong.
    """
    hops: list[Hop] = []
    for item, separator in re.findall(r"([^,|]+)([,|]?)", text):
        where = item.strip()
        if where:
            hops.append(Hop(_checked(where), separator == "|"))
        if where in {"direct", "off"}:
            break
    if not hops:
        raise ValueError("GOPROXY names no place to ask; 'direct' asks where the modules live")
    return tuple(hops)


def _checked(where: str) -> str:
    if where in {"direct", "off"} or re.match(r"https?://[^/]", where):
        return where
    if where.startswith("file:"):
        try:
            folder_of(where)
        except ValueError as error:
            raise ValueError(f"GOPROXY: {_shown(where)} {error}") from None
        return where
    if ":/" not in where and re.search(r"[.:/]", where) and not where.startswith("/"):
        return f"https://{where}"
    raise ValueError(f"GOPROXY: {_shown(where)} is neither an http(s) or file URL nor 'direct' nor 'off'")


def _shown(where: str) -> str:
    """An entry without a password."""
    return repr(re.sub(r"[^/]*@", "", where))


@implementer(IOrigin)
class OffOrigin:
    """``GOPROXY=off``: nothing is fetched."""

    async def list(self, path: str) -> Sequence[Listed]:
        raise self._refusal(path)

    async def resolve(self, path: str, query: str) -> Info:
        raise self._refusal(path)

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        raise self._refusal(version.path)

    def _refusal(self, path: str) -> NotFound:
        return NotFound(f"{path}: not stored here, and fetching is switched off (GOPROXY=off)")


@implementer(IOrigin)
class ChainOrigin:
    """The hops in their order; of module paths that ``private`` (a GONOPROXY list) matches only ``direct`` is asked.

    Of ``golang.org/toolchain`` that one is never asked, whatever is private: everybody's clients need it.
    """

    def __init__(self, hops: Sequence[tuple[Hop, IOrigin]], private: str, direct: IOrigin) -> None:
        self._hops = hops
        self._private = private
        self._direct = direct

    async def list(self, path: str) -> Sequence[Listed]:
        return await self._first(path, lambda origin: origin.list(path))

    async def resolve(self, path: str, query: str) -> Info:
        return await self._first(path, lambda origin: origin.resolve(path, query))

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        return await self._first(version.path, lambda origin: origin.fetch(version, kind, into))

    async def _first(self, path: str, ask: Callable[[IOrigin], Awaitable[T]]) -> T:
        """The first answer; else the most telling error: that of ``direct``, else a failure, else "not there"."""
        if path != TOOLCHAIN and matches(self._private, path):
            return await ask(self._direct)
        told: AthensError | None = None
        for hop, origin in self._hops:
            if path == TOOLCHAIN and hop.where == "direct":
                continue
            try:
                return await ask(origin)
            except AthensError as error:
                absent = isinstance(error, NotFound)
                if told is None or isinstance(told, NotFound) or hop.where == "direct" or not absent:
                    told = error
                if not absent and not hop.after_any_error:
                    break
        if told is None:
            raise NotFound(f"{path}: Go's toolchains come from an upstream, and GOPROXY names none")
        raise told
