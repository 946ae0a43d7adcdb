"""Addresses of repositories, as they may be shown."""

from __future__ import annotations

import pytest

from athensd.origin.logins import without_login


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://git.test/m", "https://git.test/m"),
        ("https://me:sekret@git.test/m", "https://git.test/m"),
        ("http://token@git.test/m", "http://git.test/m"),
        ("ssh://git@git.test/m", "ssh://git@git.test/m"),
        ("ssh://git:sekret@git.test/m", "ssh://git.test/m"),
        ("svn+ssh://me:sekret@git.test/m", "svn+ssh://git.test/m"),
        ("https://me:sek@ret@git.test/m", "https://git.test/m"),
        ("x.test/m@v1.0.0", "x.test/m@v1.0.0"),
        ('{"URL":"https://a:b@git.test/m","Ref":"x@y"}', '{"URL":"https://git.test/m","Ref":"x@y"}'),
    ],
)
def test_what_is_left(text: str, shown: str) -> None:
    """No password and, where it may be a token, no user; all else stays."""
    assert without_login(text) == shown
