"""Which database is asked, and about which modules."""

from __future__ import annotations

import pytest

from athensd.sumdb.names import KNOWN_KEYS, PUBLIC, Database, is_exempt, parse_gosumdb
from athensd.sumdb.note import parse_verifier
from tests.rig.sumdb import Signer

KEY = Signer().verifier_key
VERIFIER = parse_verifier(KEY)
KNOWN = parse_verifier(KNOWN_KEYS[PUBLIC])


@pytest.mark.parametrize(
    ("value", "database"),
    [
        ("", Database(KNOWN)),
        (PUBLIC, Database(KNOWN)),
        (KNOWN_KEYS[PUBLIC], Database(KNOWN)),
        (f"{PUBLIC} https://sum.example.test/x", Database(KNOWN, "https://sum.example.test/x")),
        ("sum.golang.google.cn", Database(KNOWN, "https://sum.golang.google.cn")),
        (KEY, Database(VERIFIER)),
        (f"  {KEY}\thttp://127.0.0.1:3000 ", Database(VERIFIER, "http://127.0.0.1:3000")),
        (
            Signer("sum.example.test:8080/a/b").verifier_key,
            Database(parse_verifier(Signer("sum.example.test:8080/a/b").verifier_key)),
        ),
        ("off", None),
    ],
)
def test_settings_are_read_as_go_reads_them(value: str, database: Database | None) -> None:
    """A known name, a key, either with a URL; nothing at all is the public database."""
    assert parse_gosumdb(value) == database


def test_a_database_has_the_name_of_its_key() -> None:
    """The name is that of the key, whatever the URL."""
    assert Database(KNOWN, "https://sum.example.test").name == PUBLIC == KNOWN.name


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (" ", "missing GOSUMDB"),
        ("on", "invalid GOSUMDB: malformed verifier id"),
        ("sum.example.test", "invalid GOSUMDB: malformed verifier id"),
        (f"{KEY} https://a.test https://b.test", "invalid GOSUMDB: too many fields"),
        (f"{KEY} ftp://a.test", "invalid GOSUMDB URL"),
        (f"{KEY} a.test", "invalid GOSUMDB URL"),
        (f"{KEY} https://", "invalid GOSUMDB URL"),
        (f"{KEY} https://[::1", "invalid GOSUMDB URL"),
        (f"{KEY} https://a.test:99999", "invalid GOSUMDB URL"),
        *(
            (Signer(name).verifier_key, "invalid sumdb name")
            for name in ("a/", "/a", "a//b", "../x", "a/../b", "a?b", "u@a", "é")
        ),
    ],
)
def test_other_settings_are_refused(value: str, reason: str) -> None:
    """What the go command would not take is refused as a value, with its words."""
    with pytest.raises(ValueError, match=f"^{reason}"):
        parse_gosumdb(value)


def test_a_password_is_not_repeated() -> None:
    """A URL that is refused may have a password in it, and is not told."""
    with pytest.raises(ValueError, match="invalid GOSUMDB URL") as caught:
        parse_gosumdb(f"{KEY} ftp://user:canary@a.test")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "gonosumdb", "goprivate", "exempt"),
    [
        ("example.com/m", "", "", False),
        ("example.com/m", "example.com", "", True),
        ("example.com/m", "", "example.com", True),
        ("example.com/m", "other.test", "example.com", False),
        ("git.corp.test/a/b", "other.test,*.corp.test", "", True),
        ("golang.org/toolchain", "golang.org", "*", False),
        ("golang.org/x/mod", "golang.org", "", True),
    ],
)
def test_private_modules_are_exempt(path: str, gonosumdb: str, goprivate: str, exempt: bool) -> None:
    """GONOSUMDB says which, or else GOPRIVATE; a toolchain is always checked."""
    assert is_exempt(path, gonosumdb, goprivate) is exempt
