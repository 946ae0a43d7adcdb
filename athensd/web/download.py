"""The routes of the download protocol (``go help goproxy``; the Go module reference, "GOPROXY protocol")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from klein import Klein

from athensd.gomod.escape import unescape_path, unescape_version
from athensd.gomod.path import check_fetchable
from athensd.gomod.pattern import matches
from athensd.proxy import Answer, Verbs
from athensd.web.reply import A_MINUTE, FOR_EVER, Content, kept_by, send
from athensd.web.request import AthensRequest

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
ZIP = "application/zip"
LOOK_AGAIN = 60.0
"""Seconds."""


class DownloadRoutes:
    """``private`` is a list of patterns (GOPRIVATE) of modules that no shared cache may keep.

    ``again``: whether the next one who asks may be given the same without asking ``proxy``.
    """

    def __init__(self, proxy: Verbs, private: str, *, again: bool = True) -> None:
        self._proxy = proxy
        self._private = private
        self._again = again

    def mount(self, app: Klein) -> None:
        """Add the routes to an application."""
        for rule, handler in (
            ("/<path:escaped>/@v/list", self._list),
            ("/<path:escaped>/@latest", self._latest),
            ("/<path:escaped>/@v/<version>.info", self._info),
            ("/<path:escaped>/@v/<version>.mod", self._mod),
            ("/<path:escaped>/@v/<version>.zip", self._zip),
        ):
            app.route(rule, methods=["GET"])(handler)

    async def _list(self, request: AthensRequest, escaped: str) -> None:
        path = self._module(request, escaped)
        await self._answer(request, TEXT, await self._proxy.list(path, stored_only=_stored_only(request)))

    async def _latest(self, request: AthensRequest, escaped: str) -> None:
        path = self._module(request, escaped)
        await self._answer(request, JSON, await self._proxy.latest(path, stored_only=_stored_only(request)))

    async def _info(self, request: AthensRequest, escaped: str, version: str) -> None:
        await self._file(request, escaped, version, JSON, self._proxy.info)

    async def _mod(self, request: AthensRequest, escaped: str, version: str) -> None:
        await self._file(request, escaped, version, TEXT, self._proxy.mod)

    async def _zip(self, request: AthensRequest, escaped: str, version: str) -> None:
        await self._file(request, escaped, version, ZIP, self._proxy.zip)

    async def _file(
        self, request: AthensRequest, escaped: str, version: str, type: str, verb: Callable[..., Awaitable[Answer]]
    ) -> None:
        path = self._module(request, escaped)
        request.version = unescape_version(version)
        answer = await verb(path, request.version, stored_only=_stored_only(request))
        await self._answer(request, type, answer)

    async def _answer(self, request: AthensRequest, type: str, answer: Answer) -> None:
        request.cache = answer.state
        request.age = answer.age
        request.setHeader("X-Cache", answer.state)
        caching = kept_by(FOR_EVER if answer.age is None else A_MINUTE, request.private)
        whole = await send(request, Content(answer.blob, type, caching, answer.age, answer.etag))
        if whole is not None and answer.state == "hit" and self._again:
            # What never changes is looked up again now and then all the same: another process may have deleted it.
            request.again(whole, LOOK_AGAIN if answer.age is None else answer.holds)

    def _module(self, request: AthensRequest, escaped: str) -> str:
        """The module path that is meant: the border behind which all paths are known to be harmless."""
        path = unescape_path(escaped)
        check_fetchable(path)
        request.module = path
        request.private |= matches(self._private, path)
        request.admit(path)
        return path


def _stored_only(request: AthensRequest) -> bool:
    """Whether the client wants what is here and nothing fetched."""
    return (request.getHeader("disable-module-fetch") or "").strip().lower() == "true"
