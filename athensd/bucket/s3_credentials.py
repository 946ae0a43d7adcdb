"""Where the keys for S3 come from, settings or whatever botocore finds on this machine, and what is done with them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from athensd.errors import StorageFailed

AGAIN_AFTER = 5.0
"""For so many seconds after keys could not be had nobody looks again: looking can take that long itself."""


@frozen
class S3Key:
    """What requests are signed with; ``token`` comes with keys that expire."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


Keys = Callable[[], Awaitable[S3Key]]
"""The keys that are valid now.  Raises ``StorageFailed`` when there are none."""


def s3_keys(
    *,
    key: str,
    secret: str,
    token: str,
    use_default: bool,
    endpoint: str,
    relative_uri: str,
    environ: Mapping[str, str],
    in_thread: Callable[..., Awaitable[Any]],
    clock: IReactorTime,
) -> Keys:
    """The first of: botocore's chain if wanted, the container's endpoint if named, the static key, botocore's chain.

    The chain looks at the environment, profiles, web identity, container and instance metadata.  Athens looks there
    only when ``use_default`` is set, and has nothing to sign with when no other key is given.  Raises ``ImportError``
    without botocore.
    """
    import botocore.session  # type: ignore[import-untyped]
    from botocore.credentials import ContainerProvider  # type: ignore[import-untyped]

    # At level debug it logs what it signs, and so tokens.
    logging.getLogger("botocore").setLevel(logging.INFO)
    if endpoint and not use_default:
        wanted = {ContainerProvider.ENV_VAR_FULL: endpoint + relative_uri}
    elif relative_uri and not use_default and not key:
        wanted = {ContainerProvider.ENV_VAR: relative_uri}
    elif key and not use_default:
        return fixed_key(S3Key(key, secret, token))
    else:
        return FoundKeys(lambda: botocore.session.Session().get_credentials(), in_thread, clock)
    for name in (ContainerProvider.ENV_VAR_AUTH_TOKEN, ContainerProvider.ENV_VAR_AUTH_TOKEN_FILE):
        if name in environ:
            wanted[name] = environ[name]
    return FoundKeys(ContainerProvider(wanted).load, in_thread, clock)


def fixed_key(key: S3Key) -> Keys:
    """A key that never changes."""

    async def keys() -> S3Key:
        return key

    return keys


def signer(region: str) -> Callable[[S3Key, str, str, Mapping[str, str]], Mapping[str, str]]:
    """Adds to headers what Amazon's Signature Version 4 needs; the body is not signed, so it need not be read twice."""
    from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    unsigned = Config(s3={"payload_signing_enabled": False})

    def sign(key: S3Key, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        request.context["client_config"] = unsigned
        S3SigV4Auth(key, "s3", region).add_auth(request)
        return dict(request.headers.items())

    return sign


class FoundKeys:
    """The keys that ``load`` finds: botocore's credentials, which renew themselves some time before they expire.

    Finding and renewing may ask servers and run programs, so it is done by ``in_thread``.
    """

    def __init__(self, load: Callable[[], Any], in_thread: Callable[..., Awaitable[Any]], clock: IReactorTime) -> None:
        self._load = load
        self._in_thread = in_thread
        self._clock = clock
        self._turn = DeferredLock()
        self._found: Any = None
        self._failed_at = -AGAIN_AFTER
        self._failure = ""

    async def __call__(self) -> S3Key:
        if self._found is None:
            await self._find()
        try:
            if _is_due(self._found):
                frozen_key = await self._in_thread(self._found.get_frozen_credentials)
            else:
                frozen_key = self._found.get_frozen_credentials()
        except Exception as error:
            raise StorageFailed(f"the S3 credentials could not be renewed ({type(error).__name__})") from error
        return S3Key(frozen_key.access_key, frozen_key.secret_key, frozen_key.token or "")

    async def _find(self) -> None:
        await self._turn.acquire()
        try:
            if self._found is None and self._clock.seconds() - self._failed_at >= AGAIN_AFTER:
                await self._look()
        finally:
            self._turn.release()
        if self._found is None:
            raise StorageFailed(self._failure)

    async def _look(self) -> None:
        try:
            self._found = await self._in_thread(self._load)
            self._failure = "no S3 credentials were found on this machine, and none are set"
        except Exception as error:
            self._failure = f"the S3 credentials could not be had ({type(error).__name__})"
        self._failed_at = self._clock.seconds()


def _is_due(found: Any) -> bool:
    """Whether asking for the keys may take time; fixed ones, from a profile or the environment, are never due."""
    due: Callable[[], bool] = getattr(found, "refresh_needed", lambda: False)
    return due()
