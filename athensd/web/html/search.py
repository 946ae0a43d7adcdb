"""Looking for modules in a store, by a part of their path."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from attrs import frozen

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path
from athensd.interfaces import ICatalog, IStorage
from athensd.web.html.known import KnownPaths

MOST = 50
"""So many modules are shown at once."""
Sees = Callable[[str], bool]


@frozen
class Found:
    """Modules; ``whole`` unless there may be more, and those of which it is known come after ``next``, if it is set."""

    paths: Sequence[str]
    whole: bool = True
    next: str = ""


async def search(storage: IStorage, known: KnownPaths, sees: Sees, query: str, after: str = "") -> Found:
    """The modules that may be seen and have ``query`` in their path, whatever its case; the very one comes first.

    With ``after`` only those that come later.  Raises ``StorageFailed``.
    """
    exact = [query] if not after and await _is_stored(storage, sees, query) else []
    if not ICatalog.providedBy(storage):
        return Found(exact, whole=False)
    found, more = matching(await known.paths(), sees, query, after)
    others = [path for path in await known.confirmed(found) if path not in exact]
    return Found([*exact, *others], known.whole and not more, found[-1] if more else "")


def matching(paths: Sequence[str], sees: Sees, query: str, after: str = "") -> tuple[list[str], bool]:
    """The first of ``paths``, which are in order, that match and may be seen; and whether there are more (pure)."""
    text = query.lower()
    found: list[str] = []
    for path in paths[bisect_right(paths, after) :]:
        if text in path.lower() and sees(path):
            if len(found) == MOST:
                return found, True
            found.append(path)
    return found, False


async def _is_stored(storage: IStorage, sees: Sees, path: str) -> bool:
    try:
        check_path(path)
    except InvalidPath:
        return False
    return sees(path) and bool(await storage.versions(path))
