"""Which repository a module is kept in, as far as go's answers have told.

That saves work and never decides an answer: whoever guesses wrong waits for the wrong clone, or for none.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

# Where go itself goes by the path alone.
_BY_PATH = re.compile(r"(github\.com|bitbucket\.org)/[\w.-]+/[\w.-]+")
_MAJOR = re.compile(r"/v[0-9]+$")


class Repositories:
    """The roots of module paths and the URLs of their repositories, ``limit`` of them, those used last."""

    def __init__(self, limit: int = 10_000) -> None:
        self._urls: OrderedDict[str, str] = OrderedDict()
        self._limit = limit

    def learn(self, path: str, origin: Mapping[str, Any]) -> None:
        """Take note of the ``Origin`` in go's answer about a module."""
        if url := origin.get("URL"):
            root = _root(path, origin.get("Subdir", ""))
            self._urls[root] = str(url)
            self._urls.move_to_end(root)
            if len(self._urls) > self._limit:
                self._urls.popitem(last=False)

    def url(self, path: str) -> str | None:
        """The repository of the longest root that ``path`` is under, or ``None``."""
        for root in [*accumulate(path.split("/"), "{}/{}".format)][::-1]:
            if root in self._urls:
                self._urls.move_to_end(root)
                return self._urls[root]
        by_path = _BY_PATH.match(path)
        return f"https://{by_path[0]}" if by_path else None


def _root(path: str, subdir: str) -> str:
    """The path that a module at the root of the repository has."""
    for end in (path, _MAJOR.sub("", path)):
        if subdir and end.endswith(f"/{subdir}"):
            return end.removesuffix(f"/{subdir}")
    return path if subdir else _MAJOR.sub("", path)
