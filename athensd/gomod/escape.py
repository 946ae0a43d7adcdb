"""How paths and versions are written in URLs and file names: each upper-case letter as ``!`` and its lower case.

The rules of ``golang.org/x/mod/module``: servers and file systems that ignore case still keep two modules apart.  What
is unescaped here is text that has been percent-decoded already.
"""

from __future__ import annotations

import re

from athensd.errors import InvalidPath
from athensd.gomod.path import check_path, file_element_fault, quoted

_UPPER = re.compile(r"[A-Z]")
_ESCAPED = re.compile(r"(?:[^A-Z!\x80-\U0010ffff]|![a-z])*", re.DOTALL)
_BANG = re.compile(r"!([a-z])")


def escape_path(path: str) -> str:
    """The escaped form of a module path.  Raises ``InvalidPath`` when it is none."""
    check_path(path)
    return _escape(path)


def unescape_path(escaped: str) -> str:
    """The module path that ``escaped`` stands for.  Raises ``InvalidPath`` when it stands for none."""
    path = _unescape(escaped)
    if path is None:
        raise InvalidPath(f"invalid escaped module path {quoted(escaped)}")
    try:
        check_path(path)
    except InvalidPath as fault:
        raise InvalidPath(f"invalid escaped module path {quoted(escaped)}: {fault}") from None
    return path


def escape_version(version: str) -> str:
    """The escaped form of a version, branch or tag.  Raises ``InvalidPath`` when it could not name a file."""
    if "!" in version or not version.isascii() or file_element_fault(version):
        raise InvalidPath(f"version {quoted(version)} invalid: disallowed version string")
    return _escape(version)


def unescape_version(escaped: str) -> str:
    """The version, branch or tag that ``escaped`` stands for.  Raises ``InvalidPath`` when it could not name a file."""
    version = _unescape(escaped)
    if version is None:
        raise InvalidPath(f"invalid escaped version {quoted(escaped)}")
    fault = file_element_fault(version)
    if fault:
        raise InvalidPath(f"invalid escaped version {quoted(version)}: {fault}")
    return version


def _escape(text: str) -> str:
    return _UPPER.sub(lambda letter: "!" + letter[0].lower(), text)


def _unescape(escaped: str) -> str | None:
    if not _ESCAPED.fullmatch(escaped):
        return None
    return _BANG.sub(lambda pair: pair[1].upper(), escaped)
