"""As much of HCL as settings need: ``key = "text"``, and blocks with labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import frozen


@frozen
class Statement:
    """``key = "text"`` with the text as its one value, or a block with its labels as values, and its line.

    ``None`` stands for a value that is no plain string in quotes: a number, a template, an expression.
    """

    line: int
    key: str
    values: tuple[str | None, ...]
    body: tuple[Statement, ...] | None = None


def parse_hcl(text: str, name: str) -> tuple[Statement, ...]:
    """The statements of a file that complaints call ``name``.

    Raises ``ValueError`` with the line that cannot be read, and when python-hcl2 is not installed.
    """
    try:
        from hcl2.api import parses_to_tree
        from lark.exceptions import UnexpectedInput
    except ImportError as error:
        raise ValueError(f"{name}: HCL is read by the package python-hcl2, which is not installed") from error
    try:
        return tuple(_statements(parses_to_tree(text).children[0]))
    except UnexpectedInput as error:
        raise ValueError(f"{name}:{error.line}: this is not HCL, from column {error.column} on") from error
    except RecursionError as error:
        raise ValueError(f"{name}: its blocks are nested too deeply") from error


def _statements(body: Any) -> Iterator[Statement]:
    """The statements in a body, a tree of lark's as ``hcl2.lark`` in python-hcl2 lays it down."""
    for tree in body.children:
        if tree.data == "attribute":
            key, _, value = tree.children
            yield Statement(tree.meta.line, str(key.children[0]), (_text(value),))
        elif tree.data == "block":
            key, *labels, _, inner, _ = tree.children
            values = tuple(_text(label) for label in labels)
            yield Statement(tree.meta.line, str(key.children[0]), values, tuple(_statements(inner)))


def _text(tree: Any) -> str | None:
    """The text of a string in quotes, ``None`` for anything else."""
    if tree.data == "expr_term" and len(tree.children) == 1:
        tree = tree.children[0]
    if tree.data != "string":
        return None
    _, *parts, _ = tree.children
    pieces = [part.children[0] for part in parts]
    if not all(isinstance(piece, str) for piece in pieces):
        return None
    try:
        return str(json.loads(f'"{"".join(pieces)}"'))  # JSON has the escapes of HCL.
    except ValueError:
        return None
