"""As much of a ``go.mod`` as says which others will be read (the Go module reference, "go.mod files").

It is no check: whatever a line of another kind holds is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from attrs import frozen

from athensd.gomod.version import ModuleVersion, is_canonical_for

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|//.*|[()]|[^\s()"`]+')
_PRUNED_SINCE = (1, 17)


@frozen
class ModFile:
    """The requirements of a module, and whether they are all that is read of its graph."""

    requires: tuple[ModuleVersion, ...]
    pruned: bool


def parse_mod(text: str) -> ModFile:
    """What a ``go.mod`` requires, and whether its ``go`` line is 1.17 or later ("Module graph pruning")."""
    go, requires = (0, 0), []
    for verb, words in _statements(text):
        if verb == "go" and words and (match := re.match(r"(\d{1,6})\.(\d{1,6})", words[0])):
            go = int(match[1]), int(match[2])
        elif verb == "require" and len(words) == 2 and is_canonical_for(*words):
            requires.append(ModuleVersion(*words))
    return ModFile(tuple(requires), go >= _PRUNED_SINCE)


def _statements(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line's verb and its words, without comments; a block's lines have the verb before the block."""
    block = ""
    for line in text.splitlines():
        words = [_unquoted(word) for word in _WORD.findall(line) if not word.startswith("//")]
        if not words:
            continue
        if block:
            if words[0] == ")":
                block = ""
            else:
                yield block, words
        elif words[-1] == "(":
            block = words[0]
        else:
            yield words[0], words[1:]


def _unquoted(word: str) -> str:
    if word.startswith("`"):
        return word[1:-1]
    if word.startswith('"'):
        try:
            return str(json.loads(word))
        except ValueError:
            return ""
    return word
