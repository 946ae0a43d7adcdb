"""What the operator allows: the filter, what is revoked and the validator, in front of the five verbs.

What is excluded or revoked is refused by name, and is in no list, no ``@latest`` and behind no branch.  What is to be
had directly goes past the store.  All may ask for the version that a branch stands for, so that is found out first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import evolve, field, mutable

from athensd.blob import BytesBlob, read_all
from athensd.errors import Forbidden, NotFound, Redirected
from athensd.gomod.escape import escape_path, escape_version
from athensd.gomod.info import parse_info
from athensd.gomod.listing import parse_list, render_list
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import Kind
from athensd.policy.filter import Action, Filter
from athensd.policy.listing import allowed_versions, latest_allowed
from athensd.policy.revoked import Revoked
from athensd.proxy import Answer, Verbs

Validate = Callable[[ModuleVersion], Awaitable[None]]
"""Raises ``Forbidden``, or ``UpstreamFailed`` when it could not be found out."""


async def allow(version: ModuleVersion) -> None:
    """The validator of those who have none."""


@mutable(eq=False)
class Gate:
    """``proxy`` for what is included and ``passing`` for what is to be had directly, or a redirection to ``elsewhere``.

    ``filter`` and ``revoked`` may be replaced at any time.
    """

    proxy: Verbs
    filter: Filter
    passing: Verbs
    elsewhere: str = ""
    validate: Validate = field(default=allow)
    revoked: Revoked = field(factory=Revoked)

    def keeps(self, version: ModuleVersion) -> bool:
        """Whether a version may be stored here."""
        verdict = self.filter.verdict(version.path, version.version)
        return verdict.action is Action.INCLUDE and not self.revoked.of(version.path, version.version)

    async def list(self, path: str, *, stored_only: bool = False) -> Answer:
        """All versions that may be had."""
        answer = await self._way(path, None, "@v/list").list(path, stored_only=stored_only)
        if not self._are_rules(path):
            return answer
        listed = (await read_all(answer.blob)).decode().split()
        left = allowed_versions(partial(self._allows, path), listed)
        return evolve(answer, blob=BytesBlob(render_list(left).encode()))

    async def latest(self, path: str, *, stored_only: bool = False) -> Answer:
        """The ``.info`` of the version that ``@latest`` stands for, or of the highest one that may be had."""
        way = self._way(path, None, "@latest")
        answer = await way.latest(path, stored_only=stored_only)
        if not self._are_rules(path) or self._allows(path, await _version(answer)):
            return answer
        listed = parse_list((await read_all((await way.list(path, stored_only=stored_only)).blob)).decode())
        best = latest_allowed(partial(self._allows, path), listed)
        if best is None:
            raise NotFound(f"{path}: this proxy excludes all of its versions")
        found = await self._way(path, best, _file(best, Kind.INFO)).info(path, best, stored_only=stored_only)
        return _bound(found, answer)

    async def info(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The ``.info`` of a version, or of that which a branch, tag, commit or prefix stands for."""
        if is_canonical_for(path, query):
            way = await self._admitted(path, query, Kind.INFO)
            return await self._still(path, query, way.info(path, query, stored_only=stored_only))
        answer = await self._way(path, None, _file(query, Kind.INFO)).info(path, query, stored_only=stored_only)
        await self._admitted(path, await _version(answer), Kind.INFO)
        return answer

    async def mod(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The ``go.mod`` of a version."""
        version, said = await self._resolved(path, query, stored_only)
        way = await self._admitted(path, version, Kind.MOD)
        return _bound(await self._still(path, version, way.mod(path, version, stored_only=stored_only)), said)

    async def zip(self, path: str, query: str, *, stored_only: bool = False) -> Answer:
        """The module zip of a version."""
        version, said = await self._resolved(path, query, stored_only)
        way = await self._admitted(path, version, Kind.ZIP)
        return _bound(await self._still(path, version, way.zip(path, version, stored_only=stored_only)), said)

    async def _resolved(self, path: str, query: str, stored_only: bool) -> tuple[str, Answer | None]:
        """The canonical version, and the answer that said so."""
        if is_canonical_for(path, query):
            return query, None
        answer = await self.info(path, query, stored_only=stored_only)
        return await _version(answer), answer

    async def _admitted(self, path: str, version: str, kind: Kind) -> Verbs:
        """Who answers for a version.  Raises ``Forbidden``."""
        way = self._way(path, version, _file(version, kind))
        await self.validate(ModuleVersion(path, version))
        return way

    async def _still(self, path: str, version: str, answering: Awaitable[Answer]) -> Answer:
        """The answer, unless the version is revoked by now: it may have taken minutes to fetch."""
        answer = await answering
        self.revoked.check(path, version)
        return answer

    def _are_rules(self, path: str) -> bool:
        return bool(self.filter) or self.revoked.any_of(path)

    def _allows(self, path: str, version: str) -> bool:
        excluded = self.filter.verdict(path, version).action is Action.EXCLUDE
        return not excluded and not self.revoked.of(path, version)

    def _way(self, path: str, version: str | None, name: str) -> Verbs:
        if version:
            self.revoked.check(path, version)
        verdict = self.filter.verdict(path, version)
        if verdict.action is Action.EXCLUDE:
            what = f"{path}@{version}" if version else path
            raise Forbidden(f"{what}: excluded by this proxy's filter, rule {verdict.rule}")
        if verdict.action is Action.INCLUDE:
            return self.proxy
        if self.elsewhere:
            raise Redirected(f"{self.elsewhere}/{escape_path(path)}/{name}", 303)
        return self.passing


def _bound(answer: Answer, said: Answer | None) -> Answer:
    """An answer that holds as long as the one that said which version is meant."""
    return answer if said is None else evolve(answer, age=said.age, holds=said.holds)


async def _version(answer: Answer) -> str:
    return parse_info(await read_all(answer.blob)).version


def _file(version: str, kind: Kind) -> str:
    return f"@v/{escape_version(version)}.{kind.value}"
