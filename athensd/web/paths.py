"""Which request paths can be ours at all (pure).

Asked before the router: a path that cannot be right costs next to nothing, and the router never sees one that is not
plain text.  What a path *means* is decided behind it, by the rules of ``gomod``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from athensd.errors import InvalidPath

LONGEST = 2048
"""No module path with a version comes near: file systems end a name at 255 bytes."""

PAGES = frozenset({b"/", b"/healthz", b"/readyz", b"/version", b"/robots.txt", b"/catalog", b"/index"})
_MODULE = re.compile(rb"/(?!/)[\x21-\x7e]+(?:/@v/(?:list|[\x21-\x2e\x30-\x7e]+\.(?:info|mod|zip))|/@latest)")
_EMPTY_OR_DOTS = re.compile(rb"//|/\.{1,2}(?:/|\Z)")


def check_request_path(raw: bytes) -> None:
    """Raise ``InvalidPath`` unless the path (percent-encoded, without query) has the shape of one of our own."""
    if raw in PAGES:
        return
    if len(raw) > LONGEST:
        raise InvalidPath("this path is longer than any module's")
    path = unquote_to_bytes(raw)
    if path in PAGES:
        return
    if not _MODULE.fullmatch(path) or _EMPTY_OR_DOTS.search(path):
        raise InvalidPath(
            "this is no path of the Go download protocol; "
            "it has /<module>/@v/list, /<module>/@latest and /<module>/@v/<version>.info, .mod and .zip"
        )
