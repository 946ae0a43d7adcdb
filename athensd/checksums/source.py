"""Where a database is asked: as the go command does (``cmd/go/internal/modfetch``, ``initBase``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from athensd.errors import AthensError, NotFound, UpstreamFailed
from athensd.interfaces import IFlight
from athensd.waiting import within

SMALL = 1 << 20
"""The longest lookup or tree head, in bytes."""
LONGEST = 64 << 20
"""The longest tile, in bytes: those with the records themselves are long."""


class Gets(Protocol):
    """An HTTP client."""

    async def small(self, url: str, what: str, limit: int, authorization: str = "") -> bytes:
        """The body of a 200, at most ``limit`` bytes; raises the words of ``athensd.errors`` for all else."""


class Asks(Protocol):
    """What can be asked for the files of a database."""

    async def ask(self, path: str, limit: int) -> bytes:
        """The file at ``path`` below the database's URL.  Raises ``NotFound``, ``UpstreamFailed`` and their like."""


@frozen
class Place:
    """The URL of a proxy or a database; the next one is asked ``after_any_error``, or only when it has no database."""

    url: str
    authorization: str = field(default="", repr=False)
    after_any_error: bool = False


class Source:
    """Asks ``direct`` or, if one of the ``proxies`` says that it has the database, this proxy and no other.

    The first answer to that holds for an hour, or until asking fails.  A question takes ``timeout`` seconds at most.
    Nothing of a client's request is passed on: there is only the path.
    """

    def __init__(
        self,
        name: str,
        direct: Place,
        gets: Gets,
        flight: IFlight,
        clock: IReactorTime,
        now: Callable[[], float],
        *,
        proxies: Sequence[Place] = (),
        timeout: float = 60,
        remembered: float = 3600,
    ) -> None:
        self._name = name
        self._direct = direct
        self._gets = gets
        self._flight = flight
        self._clock = clock
        self._now = now
        self._proxies = proxies
        self._timeout = timeout
        self._remembered = remembered
        self._found: Place | None = None
        self._until = 0.0

    async def ask(self, path: str, limit: int) -> bytes:
        """The file at ``path`` below the database's URL, at most ``limit`` bytes."""
        place = await self._place()
        try:
            return await self._get(place, path, f"{self._name}/{path}", limit)
        except UpstreamFailed:
            self._found = None
            raise

    async def _place(self) -> Place:
        if not self._proxies:
            return self._direct
        if self._found is None or self._now() >= self._until:
            self._found = await self._flight.run(f"sumdb {self._name} supported", self._find)
            self._until = self._now() + self._remembered
        return self._found

    async def _find(self) -> Place:
        for proxy in self._proxies:
            offered = Place(f"{proxy.url}/sumdb/{self._name}", proxy.authorization)
            try:
                await self._get(offered, "supported", f"{self._name} (supported)", SMALL)
            except AthensError as error:
                if not (isinstance(error, NotFound) or proxy.after_any_error):
                    raise UpstreamFailed(
                        f"it is not known where the checksum database can be asked: {error}"
                    ) from error
            else:
                return offered
        return self._direct

    async def _get(self, place: Place, path: str, what: str, limit: int) -> bytes:
        # The go command's own spelling; in the paths of module files it escapes "!" too, here it does not.
        url = f"{place.url}/{quote(path, safe='/!$&+=:@-_.~')}"
        return await within(
            self._clock, self._timeout, self._gets.small(url, what, limit, place.authorization), f"asking for {what}"
        )


class NoSource:
    """Where nobody may be asked: ``NetworkMode`` offline, ``GOPROXY=off``."""

    async def ask(self, path: str, limit: int) -> bytes:
        """Raises ``UpstreamFailed``."""
        raise UpstreamFailed(f"{path}: not kept here, and this proxy asks nobody (NetworkMode offline or GOPROXY=off)")
