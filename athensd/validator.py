"""The validator hook: another server of the operator's says which versions may be had (Athens' ``ValidatorHook``)."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from athensd.errors import Forbidden, UpstreamFailed
from athensd.gomod.version import ModuleVersion
from athensd.steps import headers, step
from athensd.waiting import within

log = structlog.get_logger()
REMEMBERED = 20_000
"""So many verdicts at most."""


class Validator:
    """Asks ``url`` by POST of ``{"Module": …, "Version": …}``: 200 allows, 403 forbids, all else is a failure.

    A verdict holds for ``fresh`` seconds, an answer may take ``timeout``.  What the server says in words is for the
    log.
    """

    def __init__(
        self,
        url: str,
        client: HTTPClient,
        clock: IReactorTime,
        now: Callable[[], float],
        *,
        timeout: float,
        fresh: float,
    ) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._now = now
        self._timeout = timeout
        self._fresh = fresh
        self._verdicts: OrderedDict[ModuleVersion, tuple[bool, float]] = OrderedDict()

    async def check(self, version: ModuleVersion) -> None:
        """Raise ``Forbidden`` for what may not be had, ``UpstreamFailed`` when that could not be found out."""
        allowed, until = self._verdicts.get(version, (False, 0.0))
        if self._now() >= until:
            allowed = await within(self._clock, self._timeout, self._ask(version), f"validating {version}")
            self._verdicts[version] = allowed, self._now() + self._fresh
            self._verdicts.move_to_end(version)
            if len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)
        if not allowed:
            raise Forbidden(f"{version}: the validator of this proxy refuses it")

    async def _ask(self, version: ModuleVersion) -> bool:
        question = json.dumps({"Module": version.path, "Version": version.version}).encode()
        head = Headers({"Content-Type": ["application/json"]})
        with step("validator", module=version.path, version=version.version) as this:
            for name, value in headers().items():
                head.setRawHeaders(name, [value])
            try:
                response: Any = await self._client.post(self._url, data=question, headers=head)
                said = await response.text()
            except CancelledError:
                raise
            except Exception as error:
                log.warning("the validator failed", module=version.path, version=version.version, error=str(error))
                raise UpstreamFailed(f"{version}: the validator of this proxy cannot be asked") from error
            this.note(status=response.code)
        if said or response.code not in {200, 403}:
            about = {"module": version.path, "version": version.version, "status": response.code}
            log.warning("the validator says", **about, text=said[:500])
        if response.code not in {200, 403}:
            raise UpstreamFailed(f"{version}: the validator of this proxy failed ({response.code})")
        return bool(response.code == 200)
