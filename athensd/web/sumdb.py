"""The routes of the checksum databases, at ``/sumdb/<name>/`` (golang.org/design/25530-sumdb)."""

from __future__ import annotations

from collections.abc import Container, Mapping

from klein import Klein

from athensd.blob import BytesBlob
from athensd.checksums.database import Answer, Database
from athensd.errors import Forbidden, InvalidPath, NotFound
from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.sumdb.tile import Tile, parse_tile_path
from athensd.web.download import TEXT
from athensd.web.reply import A_MINUTE, FOR_EVER, Content, kept_by, send
from athensd.web.request import AthensRequest

BYTES = "application/octet-stream"


class SumDBRoutes:
    """``databases`` by their names.  None is asked about the modules that are ``exempt``, by their paths."""

    def __init__(self, databases: Mapping[str, Database], exempt: Container[str]) -> None:
        self._databases = databases
        self._exempt = exempt

    def mount(self, app: Klein) -> None:
        """Add the routes to an application."""
        app.route("/sumdb/<path:rest>", methods=["GET"])(self._answer)

    async def _answer(self, request: AthensRequest, rest: str) -> None:
        database, path = self._find(rest)
        if path == "supported":
            await send(request, Content(BytesBlob(b""), TEXT, A_MINUTE))
        elif path == "latest":
            await self._send(request, TEXT, await database.latest(), A_MINUTE)
        elif path.startswith("lookup/"):
            await self._send(request, TEXT, await database.lookup(self._version(request, path)), FOR_EVER)
        else:
            await self._send(request, BYTES, await database.tile(_tile(path)), FOR_EVER)

    def _find(self, rest: str) -> tuple[Database, str]:
        """The database, and what is asked of it; a name may have a path."""
        for name in sorted(self._databases, key=len, reverse=True):
            if rest.startswith(f"{name}/"):
                return self._databases[name], rest.removeprefix(f"{name}/")
        raise NotFound("this proxy has no checksum database of this name (SumDBs)")

    def _version(self, request: AthensRequest, path: str) -> ModuleVersion:
        module, _, version = path.removeprefix("lookup/").partition("@")
        found = ModuleVersion(unescape_path(module), unescape_version(version))
        request.module, request.version = found.path, found.version
        request.admit(found.path)
        if found.path in self._exempt:
            raise Forbidden(f"{found.path}: this proxy asks no checksum database about it; put it into your GONOSUMDB")
        if not is_canonical_for(found.path, found.version):
            raise InvalidPath(f"{found}: the checksum database has versions only in their full form")
        return found

    async def _send(self, request: AthensRequest, type: str, answer: Answer, caching: str) -> None:
        request.cache = answer.state
        request.age = answer.age
        request.setHeader("X-Cache", answer.state)
        caching = kept_by(caching if answer.proven else A_MINUTE, request.private)
        await send(request, Content(BytesBlob(answer.data), type, caching, answer.age))


def _tile(path: str) -> Tile:
    try:
        return parse_tile_path(path)
    except ValueError as fault:
        raise InvalidPath(str(fault)) from None
