"""What happens when something is not stored: the setting ``DownloadMode``."""

from __future__ import annotations

from contextlib import suppress

from attrs import field, mutable
from twisted.internet.defer import CancelledError

from athensd.errors import AthensError, NotFound, Redirected
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import Blob, Kind
from athensd.policy.download_mode import DownloadMode, DownloadModes, redirect_target
from athensd.policy.revoked import Revoked
from athensd.stash import Fetches
from athensd.steps import aside

_IN_THE_BACKGROUND = {DownloadMode.ASYNC, DownloadMode.ASYNC_REDIRECT}


@mutable(eq=False)
class Misses:
    """Fetches by ``stash`` and answers as ``modes`` say, but fetches nothing that is ``revoked``.

    Both may be replaced at any time.
    """

    stash: Fetches
    modes: DownloadModes
    revoked: Revoked = field(factory=Revoked)

    def fetches(self, path: str) -> bool:
        """Whether anything of a module is fetched."""
        return self.modes.of(path).mode in {DownloadMode.SYNC, *_IN_THE_BACKGROUND}

    async def fetch(self, version: ModuleVersion, kind: Kind) -> Blob:
        """The file, once it is fetched.

        Raises what the stash raises, ``NotFound`` for what is not fetched or not yet, ``Redirected``, ``Forbidden``.
        """
        # The gate refuses it by name; a prefix or @latest may lead here.
        self.revoked.check(version.path, version.version)
        rule = self.modes.of(version.path)
        if rule.mode is DownloadMode.SYNC:
            return await self.stash.fetch(version, kind)
        if rule.mode in _IN_THE_BACKGROUND:
            aside("behind", lambda: self._behind(version, kind), module=version.path, version=version.version)
        if rule.mode.redirects:
            name = f"{escape_path(version.path)}/@v/{escape_version(version.version)}.{kind.value}"
            raise Redirected(redirect_target(rule.url, name))
        if rule.mode is DownloadMode.ASYNC:
            raise NotFound(f"{version}: not stored here yet; it is being fetched, so ask again in a while")
        raise NotFound(f"{version}: not stored here, and this proxy does not fetch it")

    async def _behind(self, version: ModuleVersion, kind: Kind) -> None:
        with suppress(AthensError, CancelledError):  # the stash has logged it
            await self.stash.fetch(version, kind)
