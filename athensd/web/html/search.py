"""Looking for modules in a store, by a part of their path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path
from athensd.interfaces import ICatalog, IStorage

MOST = 50
"""So many modules are shown at once."""
PAGE_SIZE = 1000
PAGES = 10
"""So much of the catalog one search reads."""
Sees = Callable[[str], bool]


@frozen
class Found:
    """Modules; ``whole`` unless there may be more, ``next`` leads on to these, where something can."""

    paths: Sequence[str]
    whole: bool = True
    next: str = ""


async def search(storage: IStorage, sees: Sees, query: str, token: str = "") -> Found:
    """The modules that may be seen and have ``query`` in their path, whatever its case.

    Raises ``StorageFailed``, and ``InvalidRequest`` for a token that no search gave out.
    """
    exact = [query] if not token and await _is_stored(storage, sees, query) else []
    if not ICatalog.providedBy(storage):
        return Found(exact, whole=False)
    return await _scan(ICatalog(storage), sees, query.lower(), token, dict.fromkeys(exact))


async def _is_stored(storage: IStorage, sees: Sees, path: str) -> bool:
    try:
        check_path(path)
    except InvalidPath:
        return False
    return sees(path) and bool(await storage.versions(path))


async def _scan(catalog: ICatalog, sees: Sees, query: str, token: str, found: dict[str, None]) -> Found:
    last: tuple[str, int] | None = None
    for _ in range(PAGES):
        page = await catalog.page(token, PAGE_SIZE)
        for count, version in enumerate(page.versions, 1):
            if not sees(version.path):
                continue
            if query in version.path.lower():
                if len(found) == MOST and version.path not in found:
                    return Found(list(found), False, await _after(catalog, last))
                found[version.path] = None
            last = token, count
        token = page.next
        if not token:
            return Found(list(found))
    return Found(list(found), False, await _after(catalog, last))


async def _after(catalog: ICatalog, last: tuple[str, int] | None) -> str:
    """The token that leads on after the last version that may be seen: it may name that one, and no other."""
    return (await catalog.page(*last)).next if last else ""
