"""All that is under the root, and the one place where errors become answers."""

from __future__ import annotations

from typing import Any

import structlog
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from athensd.blob import BytesBlob
from athensd.errors import AthensError, NotFound, Overloaded
from athensd.web.download import DownloadRoutes
from athensd.web.pages import PageRoutes
from athensd.web.reply import NEVER, refuse, refuse_with
from athensd.web.request import AthensRequest
from athensd.web.sumdb import SumDBRoutes

log = structlog.get_logger()


def site_resource(download: DownloadRoutes, pages: PageRoutes, sumdb: SumDBRoutes | None = None) -> IResource:
    """The root resource."""
    app: Any = Klein()
    pages.mount(app)
    if sumdb is not None:
        sumdb.mount(app)
    download.mount(app)
    app.handle_errors(AthensError)(_refused)
    app.handle_errors(HTTPException)(_unrouted)
    app.handle_errors(CancelledError)(_given_up)
    app.handle_errors(Exception)(_unexpected)
    root: IResource = app.resource()
    return root


def _refused(request: AthensRequest, failure: Failure) -> bytes | Deferred[None]:
    error = failure.value
    assert isinstance(error, AthensError)
    if request.startedWriting:
        log.warning("answer cut off", error=str(error))
        return _cut_off(request)
    body = refuse(request, error, request.request_id, request.private)
    if isinstance(error, NotFound) and error.cached:
        request.cache = "negative"
        # Of a file the store is asked first, for another instance may have put it there by now.
        if error.holds and request.route in {"list", "latest"}:
            request.again(BytesBlob(body), error.holds)
    return body


def _unrouted(request: AthensRequest, failure: Failure) -> bytes:
    """The router knows no such path."""
    return refuse(request, NotFound("there is nothing at this path"), request.request_id)


def _given_up(request: AthensRequest, failure: Failure) -> bytes:
    """The client is still there, so it is us who leave."""
    return refuse(request, Overloaded("athensd is stopping; ask again in a few seconds"), request.request_id)


def _unexpected(request: AthensRequest, failure: Failure) -> bytes | Deferred[None]:
    error = failure.value
    log.error("unexpected error", exc_info=(type(error), error, failure.getTracebackObject()))
    if request.startedWriting:
        return _cut_off(request)
    return refuse_with(request, 500, NEVER, "athensd failed; its log says why", request.request_id)


def _cut_off(request: AthensRequest) -> Deferred[None]:
    """The head has promised a body that cannot be had any more: only a broken connection can say so.

    The Deferred never fires; the lost connection ends the request.
    """
    transport: Any = request.transport
    transport.abortConnection()
    return Deferred()
