"""What the go command said before: it is shown it again and says whether that still holds, for one ``ls-remote``."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

LIMIT = 32 * 1024 * 1024


class OldAnswers:
    """Answers by the arguments (``path@query``) that they were given to, those used last, ``limit`` characters."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._limit = limit
        self._size = 0

    def keep(self, argument: str, answer: Mapping[str, Any]) -> None:
        """Remember an answer that may be shown again, in place of an older one."""
        self.forget(argument)
        text = json.dumps(answer)
        self._texts[argument] = text
        self._size += len(text)
        while self._size > self._limit:
            self._size -= len(self._texts.popitem(last=False)[1])

    def forget(self, argument: str) -> None:
        self._size -= len(self._texts.pop(argument, ""))

    def text(self, arguments: Iterable[str]) -> str:
        """The content of a file for ``-reuse``; empty when nothing is known."""
        known = [argument for argument in arguments if argument in self._texts]
        for argument in known:
            self._texts.move_to_end(argument)
        return "\n".join(self._texts[argument] for argument in known)
