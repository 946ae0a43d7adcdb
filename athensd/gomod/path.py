"""Module paths and file paths: which ones Go accepts, and why not.

The rules are those of ``golang.org/x/mod/module`` (``CheckPath``, ``CheckFilePath``, ``SplitPathVersion``), with its
reasons as texts.  ``tests/gomod/test_differential.py`` holds both against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache

from athensd.errors import Forbidden, InvalidPath

_GOPKG_IN = "gopkg.in/"
_NOT_IN_MODULE_PATH = re.compile(r"[^A-Za-z0-9._~-]")
_NOT_IN_FIRST_ELEMENT = re.compile(r"[^a-z0-9.-]")
_NOT_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9!#$%&()+,\-.=@\[\]^_{}~ \x80-\U0010ffff]")
_WINDOWS_SHORT_NAME = re.compile(r"~[0-9]+\Z")
_LIKE_MAJOR = re.compile(r"/v([0-9.]+)\Z")
_MAJOR = re.compile(r"/v(?:[2-9]|[1-9][0-9]+)\Z")
_GOPKG_IN_MAJOR = re.compile(r"\.v(?:0|[1-9][0-9]*|(?:[1-9][0-9]*)?-unstable)\Z")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_WINDOWS_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))]
)


def quoted(text: str) -> str:
    """The text in quotes as printable ASCII: one other character, and the go command shows nothing of a message."""
    return json.dumps(text)


def check_path(path: str) -> None:
    """Return when ``path`` is a module path (``module.CheckPath``); else raise ``InvalidPath`` with Go's reason."""
    reason = _module_path_fault(path)
    if reason:
        raise InvalidPath(f"malformed module path {quoted(path)}: {reason}")


def check_fetchable(path: str) -> None:
    """Raise ``Forbidden`` for a module path whose host is an IP address: such a fetch would probe our own network.

    Any number as the last label counts as an address (``127.1``, ``10.0.0.0x1``), as it does for the C library.
    """
    host = path.partition("/")[0]
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise Forbidden(f"module path {quoted(path)}: an IP address is not fetched from; use a host name")


def file_path_fault(path: str) -> str | None:
    """Why ``path`` may not name a file in a module zip (``module.CheckFilePath``), or ``None`` when it may."""
    return _path_fault(path, _file_element_fault)


def file_element_fault(element: str) -> str | None:
    """Why ``element`` may not name one file or directory in a module zip, or ``None`` when it may."""
    return _element_fault(element) or _file_element_fault(element)


def split_path_version(path: str) -> tuple[str, str] | None:
    """The path without and with only its major version suffix (``module.SplitPathVersion``).

    The suffix is ``/v2`` and up, on ``gopkg.in`` ``.v0`` and up (perhaps with ``-unstable``), or empty.  ``None`` when
    the path ends in something that looks like a suffix and must not.
    """
    if path.startswith(_GOPKG_IN):
        suffix = _GOPKG_IN_MAJOR.search(path)
        return (path[: suffix.start()], suffix[0]) if suffix else None
    if not _LIKE_MAJOR.search(path):
        return path, ""
    suffix = _MAJOR.search(path)
    return (path[: suffix.start()], suffix[0]) if suffix else None


def _module_path_fault(path: str) -> str | None:
    if path.startswith("-"):
        return "leading dash"
    return _path_fault(path, _module_element_fault) or _host_fault(path) or _suffix_fault(path)


def _host_fault(path: str) -> str | None:
    host = path.partition("/")[0]
    if not host:
        return "leading slash"
    if "." not in host:
        return "missing dot in first path element"
    found = _NOT_IN_FIRST_ELEMENT.search(host)
    return f"invalid char '{found[0]}' in first path element" if found else None


def _suffix_fault(path: str) -> str | None:
    return None if split_path_version(path) else "invalid version"


def _path_fault(path: str, own_fault: Callable[[str], str | None]) -> str | None:
    if not _is_utf8(path):
        return "invalid UTF-8"
    if not path:
        return "empty string"
    if "//" in path:
        return "double slash"
    if path.endswith("/"):
        return "trailing slash"
    for element in path.split("/"):
        reason = _element_fault(element) or own_fault(element)
        if reason:
            return reason
    return None


def _element_fault(element: str) -> str | None:
    if not element:
        return "empty path element"
    if not element.strip("."):
        return f"invalid path element {quoted(element)}"
    return None


def _module_element_fault(element: str) -> str | None:
    if element.startswith("."):
        return "leading dot in path element"
    if element.endswith("."):
        return "trailing dot in path element"
    found = _NOT_IN_MODULE_PATH.search(element)
    if found:
        return _invalid_char(found[0])
    if _WINDOWS_SHORT_NAME.search(element.partition(".")[0]):
        return _device_fault(element) or "trailing tilde and digits in path element"
    return _device_fault(element)


@lru_cache(8192)  # a zip has the same few directories in thousands of names
def _file_element_fault(element: str) -> str | None:
    if element.endswith("."):
        return "trailing dot in path element"
    found = _NOT_IN_FILE_NAME.search(element)
    bad = found[0] if found else _not_a_letter(element)
    return _device_fault(element) if bad is None else _invalid_char(bad)


def _not_a_letter(element: str) -> str | None:
    """The first character beyond ASCII that is no letter to the Unicode tables of this Python."""
    if element.isascii():
        return None
    return next((char for char in element if not char.isascii() and not char.isalpha()), None)


def _device_fault(element: str) -> str | None:
    name = element.partition(".")[0]
    if name.upper() in _WINDOWS_DEVICES:
        return f"{quoted(name)} disallowed as path element component on Windows"
    return None


def _invalid_char(char: str) -> str:
    return f"invalid char '{quoted(char)[1:-1]}'"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
