"""What is recorded of an answer (pure)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from athensd.errors import InvalidPath
from athensd.gomod.escape import unescape_path, unescape_version

_FILE = re.compile(r"/(?P<path>.+)/@(?:v/(?:(?P<version>[^/]+)\.(?P<file>info|mod|zip)|list)|latest)")


class Record(NamedTuple):
    """One answer: when it ended, in seconds since 1970, who had asked, and what he was given.

    ``version`` is what he has asked for, a branch perhaps; of a ``list`` and of ``latest`` it is empty, as ``user`` is
    of somebody without a login, and ``trace`` where there is none.
    """

    time: float
    user: str
    client: str
    module: str
    version: str
    file: str
    status: int
    bytes: int
    cache: str
    request: str
    trace: str


def file_of(path: str) -> tuple[str, str, str] | None:
    """The module, the version and the file that a path of the download protocol means; ``None`` when it means none.

    It is as it was sent, but without the prefix of all paths.
    """
    path = unquote(path)
    found = _FILE.fullmatch(path)
    if found is None:
        return None
    try:
        module = unescape_path(found["path"])
        version = unescape_version(found["version"]) if found["version"] else ""
    except InvalidPath:
        return None
    return module, version, found["file"] or path.rpartition("/")[2].removeprefix("@")
