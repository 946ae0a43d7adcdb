"""Addresses of repositories, as they may be shown."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"([a-z][a-z+.-]*://)([^/\s'\"]*)@")


def without_login(text: str) -> str:
    """``text`` whose URLs have no password, and those of http no user either: that may be a token."""
    return _LOGIN.sub(lambda url: url[0] if ":" not in url[2] and not url[1].startswith("http") else url[1], text)
