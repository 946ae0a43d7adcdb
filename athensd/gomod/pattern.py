"""The glob lists of ``GOPRIVATE`` and its family: does a module path fall under one of them?

The rules are those of ``module.MatchPrefixPatterns`` and, for one glob, of Go's ``path.Match``.  A glob is made into a
regular expression; since a star in Go, once the text after it has been found, is never tried a second time, each star
and that text become an atomic group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_ONE = r"(?:\\.|[^\\\]-])"
_TERM = re.compile(
    rf"(?P<stars>\*+)|(?P<any>\?)|\[(?P<negated>\^?+)(?P<ranges>(?:{_ONE}(?:-{_ONE})?)+)\]|\\(?P<escaped>.)"
    r"|(?P<plain>[^\\\[*?])",
    re.DOTALL,
)
_RANGE = re.compile(rf"({_ONE})(?:-({_ONE}))?", re.DOTALL)


def matches(globs: str, path: str) -> bool:
    """Whether the beginning of a module path matches one of the comma-separated globs.

    A glob of three elements is held against the first three elements of the path, and so on.  Empty and malformed globs
    match nothing.
    """
    return any(_matches_beginning(glob.removesuffix("/"), path) for glob in globs.split(","))


def are_well_formed(globs: str) -> bool:
    """Whether each of the comma-separated globs can match something."""
    return all(glob.strip("/") and _expression(glob.removesuffix("/")) is not None for glob in globs.split(","))


def _matches_beginning(glob: str, path: str) -> bool:
    elements = path.split("/")
    count = glob.count("/") + 1
    if not glob or count > len(elements):
        return False
    expression = _expression(glob)
    return expression is not None and re.fullmatch(expression, "/".join(elements[:count]), re.DOTALL) is not None


@lru_cache(4096)
def _expression(glob: str) -> str | None:
    """The glob as a regular expression; ``None`` when it is malformed."""
    chunks = [""]
    for term in _terms(glob):
        if term is None:
            return None
        if term["stars"]:
            chunks.append("")
        else:
            chunks[-1] += _one_character(term)
    head, *middle, last = ["", *chunks] if len(chunks) == 1 else chunks
    star = "[^/]*" if len(chunks) > 1 else ""
    return head + "".join(f"(?>[^/]*?{chunk})" for chunk in middle) + star + last


def _terms(glob: str) -> Iterator[re.Match[str] | None]:
    """The terms of the glob in order; ``None`` as the last one where no term can be read."""
    at = 0
    while at < len(glob):
        term = _TERM.match(glob, at)
        yield term
        if term is None:
            return
        at = term.end()


def _one_character(term: re.Match[str]) -> str:
    if term["any"]:
        return "[^/]"
    if term["ranges"]:
        return _character_class(term["negated"], term["ranges"])
    return re.escape(term["escaped"] or term["plain"])


def _character_class(negated: str, ranges: str) -> str:
    pairs = [(low[-1], (high or low)[-1]) for low, high in _RANGE.findall(ranges)]
    body = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in pairs if low <= high)
    if body:
        return f"[{negated}{body}]"
    return "." if negated else "(?!)"
