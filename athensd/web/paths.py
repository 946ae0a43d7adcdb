"""Which request paths can be ours at all (pure).

Asked before the router: a path that cannot be right costs next to nothing, and the router never sees one that is not
plain text.  What a path *means* is decided behind it, by the rules of ``gomod``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from athensd.errors import InvalidPath, Redirected

LONGEST = 2048
"""No module path with a version comes near: file systems end a name at 255 bytes."""

PAGES = {
    b"/": "home",
    b"/now": "now",
    b"/healthz": "healthz",
    b"/readyz": "readyz",
    b"/version": "version",
    b"/robots.txt": "robots",
    b"/catalog": "catalog",
    b"/index": "index",
    b"/metrics": "metrics",
    b"/style.css": "style",
}
HEALTH = {"healthz", "readyz"}
"""The routes of probes, which are answered whoever asks and however."""
OUTSIDE = {b"/healthz", b"/readyz", b"/metrics", b"/robots.txt"}
"""What is found without the prefix too, since whoever asks for it may not know of one."""
_MODULE = re.compile(rb"/(?!/)[\x21-\x7e]+/(?:@v/(?:(list)|[\x21-\x2e\x30-\x7e]+\.(info|mod|zip))|@(latest))")
_MODULE_PAGE = re.compile(rb"/mod/(?!/)[\x21-\x3f\x41-\x7e]+(?:@[\x21-\x2e\x30-\x3f\x41-\x7e]+)?")
"""A module, or a version of it.  Nothing of the protocol looks so: there an ``@`` follows a slash."""
_SUMDB = re.compile(rb"/sumdb/[\x21-\x7e]+/(?:supported|latest|(?:lookup|tile)/[\x21-\x7e]+)")
_EMPTY_OR_DOTS = re.compile(rb"//|/\.{1,2}(?:/|\Z)")


def below(raw: bytes, prefix: bytes) -> bytes:
    """A path without the prefix that all of ours begin with (empty, or ``/`` and no slash at its end).

    As in Athens, ``/`` above the prefix is for load balancers, who ask whether anybody is there.  Raises
    ``InvalidPath`` for other paths that are not below it.
    """
    if not prefix:
        return raw
    if raw.startswith(prefix + b"/"):
        return raw[len(prefix) :]
    if raw == prefix:
        raise Redirected(f"{prefix.decode()}/")
    if raw == b"/":
        return b"/healthz"
    if raw in OUTSIDE:
        return raw
    raise InvalidPath(f"there is nothing at this path; all that is here is below {prefix.decode()}/")


def route_of(raw: bytes) -> str:
    """The route of a path (percent-encoded, without query): what it asks for, in a word.

    Raises ``InvalidPath`` for a path that has not the shape of one of our own.
    """
    page = PAGES.get(raw)
    if page is not None:
        return page
    if len(raw) > LONGEST:
        raise InvalidPath("this path is longer than any module's")
    path = unquote_to_bytes(raw)
    page = PAGES.get(path)
    if page is not None:
        return page
    if _SUMDB.fullmatch(path) and not _EMPTY_OR_DOTS.search(path):
        return "sumdb"
    if _MODULE_PAGE.fullmatch(path) and b"/@" not in path and not _EMPTY_OR_DOTS.search(path):
        return "module"
    module = _MODULE.fullmatch(path)
    if module is None or _EMPTY_OR_DOTS.search(path):
        raise InvalidPath(
            "this is no path of the Go download protocol; "
            "it has /<module>/@v/list, /<module>/@latest and /<module>/@v/<version>.info, .mod and .zip, "
            "and the checksum databases at /sumdb/<name>/"
        )
    return module[module.lastindex or 0].decode()
