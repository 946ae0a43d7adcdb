"""Another server of the download protocol (``go help goproxy``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from zope.interface import implementer

from athensd.blob import BytesBlob, FileBlob
from athensd.errors import Forbidden, NotFound
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.info import Info, parse_info
from athensd.gomod.listing import Listed, latest_of, parse_list
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, IOrigin, Kind
from athensd.origin.transfer import split_credentials

MIB = 1 << 20
LIMIT = {Kind.INFO: MIB, Kind.MOD: 16 * MIB, Kind.ZIP: 500 * MIB}
"""The largest file of each kind, in bytes: Go's own limits (golang.org/x/mod/zip), ours for ``.info``."""
LIST_LIMIT = 64 * MIB


class Transfers(Protocol):
    """What gets the files that are at URLs.  Raises the words of ``athensd.errors``."""

    async def small(self, url: str, what: str, limit: int, authorization: str = "") -> bytes:
        """The whole file, which is at most ``limit`` bytes."""

    async def file(self, url: str, what: str, limit: int, path: Path, authorization: str = "") -> int:
        """Write it to a new file and return its length."""


@implementer(IOrigin)
class UpstreamOrigin:
    """The proxy at ``base``, a URL as GOPROXY has it, perhaps with a user and a password.

    ``host`` is what it is called; empty is the one in the URL.
    """

    def __init__(self, base: str, transfer: Transfers, host: str = "") -> None:
        self._base, self._authorization = split_credentials(base.rstrip("/"))
        self.host = host or urlsplit(self._base).netloc
        self._transfer = transfer

    async def list(self, path: str) -> Sequence[Listed]:
        text = await self._small(self._url(path, "@v/list"), f"{path} (list)", LIST_LIMIT)
        return parse_list(text.decode("utf-8", "replace"))

    async def resolve(self, path: str, query: str) -> Info:
        if query == "latest":
            return await self._latest(path)
        return await self._info(path, f"@v/{escape_version(query)}.info", f"{path}@{query}")

    async def fetch(self, version: ModuleVersion, kind: Kind, into: Path) -> Mapping[Kind, Blob]:
        url = self._url(version.path, f"@v/{escape_version(version.version)}.{kind.value}")
        what = f"{version} {kind.value}"
        if kind is Kind.ZIP:
            into.mkdir(exist_ok=True)
            path = into / kind.value
            length = await self._transfer.file(url, what, LIMIT[kind], path, self._authorization)
            return {kind: FileBlob(path, length)}
        return {kind: BytesBlob(await self._small(url, what, LIMIT[kind]))}

    async def _latest(self, path: str) -> Info:
        """``@latest``, which an upstream need not have: then what its list says, as the go command does."""
        try:
            return await self._info(path, "@latest", f"{path}@latest")
        except (NotFound, Forbidden) as error:
            best = latest_of(await self.list(path))
            if best is None:
                raise NotFound(f"{path}: {self.host} knows no version of it") from error
            return await self.resolve(path, best)

    async def _info(self, path: str, name: str, what: str) -> Info:
        return parse_info(await self._small(self._url(path, name), what, LIMIT[Kind.INFO]))

    async def _small(self, url: str, what: str, limit: int) -> bytes:
        return await self._transfer.small(url, what, limit, self._authorization)

    def _url(self, path: str, name: str) -> str:
        # The go command's own spelling: what it need not, it does not escape, but "!" it does (url.PathEscape).
        return f"{self._base}/{quote(f'{escape_path(path)}/{name}', safe='/$&+=:@-_.~')}"
