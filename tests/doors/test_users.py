"""The files of users and tokens, and what a client says of itself."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import bcrypt
import pytest

from athensd.doors.users import Login, Token, fits, parse_authorization, parse_tokens, parse_users

HASH = "$2y$05$" + "a" * 53
DIGEST = sha256(b"secret").hexdigest()


def test_users() -> None:
    """Each line is a user and a bcrypt hash; empty lines and comments say nothing."""
    text = f"# ours\n\nalice:{HASH}\n bob:{HASH.replace('2y', '2b')} \n"
    assert parse_users(text, "users") == {"alice": HASH.encode(), "bob": HASH.replace("2y", "2b").encode()}


@pytest.mark.parametrize(
    "hashed",
    [
        "$apr1$salt$xxxxxxxxxxxxxxxxxxxxxx",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "$6$salt$hash",
        "plain",
        "",
        HASH[:-1],
        HASH.replace("$05", "$03"),
        HASH.replace("$05", "$31"),
    ],
)
def test_a_hash_that_is_not_bcrypt(hashed: str) -> None:
    """It is refused by the number of its line; neither too cheap nor so dear that it would stop us."""
    with pytest.raises(ValueError, match="users, line 2: the hash of bob is not bcrypt") as caught:
        parse_users(f"alice:{HASH}\nbob:{hashed}", "users")
    assert not hashed or hashed not in str(caught.value)


def test_all_problems_of_users_at_once() -> None:
    """Each has a line, and no line shows a hash."""
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_users(f":{HASH}\na b:{HASH}\nalice:{HASH}\nalice:{HASH}\n{HASH}", "users")
    assert str(caught.value).splitlines() == [
        "users, line 1: must be NAME:HASH",
        "users, line 2: must be NAME:HASH",
        "users, line 4: alice is there twice",
        "users, line 5: must be NAME:HASH",
    ]


def test_tokens() -> None:
    """Each line is a name, a hash and perhaps groups."""
    other = sha256(b"other").hexdigest()
    text = f"ci sha256:{DIGEST} build,release\n# no more\nbot\tsha256:{other.upper()}\n"
    assert parse_tokens(text, "tokens") == {
        sha256(b"secret").digest(): Token("ci", frozenset({"build", "release"})),
        sha256(b"other").digest(): Token("bot"),
    }


@pytest.mark.parametrize(
    "line",
    ["ci", "ci secret", f"ci {DIGEST}", f"ci sha256:{DIGEST[1:]}", f"ci sha256:{DIGEST} a,,b", f"sha256:{DIGEST}"],
)
def test_a_line_that_is_no_token(line: str) -> None:
    """It is named by its number and not shown: it may be the token itself."""
    with pytest.raises(ValueError, match="tokens, line 1: must be") as caught:
        parse_tokens(line, "tokens")
    assert "secret" not in str(caught.value)


def test_a_token_twice() -> None:
    """Whose it is would not be clear."""
    with pytest.raises(ValueError, match="tokens, line 2: this token is there twice"):
        parse_tokens(f"a sha256:{DIGEST}\nb sha256:{DIGEST}", "tokens")


def test_a_token_of_nothing() -> None:
    """What a shell makes of a variable that is not set would let everybody in."""
    with pytest.raises(ValueError, match="tokens, line 1: this is the hash of an empty token"):
        parse_tokens(f"a sha256:{sha256(b'').hexdigest()}", "tokens")


def basic(text: bytes) -> str:
    return f"Basic {b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("value", "login"),
    [
        (basic(b"alice:pass"), Login("alice", b"pass")),
        (basic(b"alice:a:b"), Login("alice", b"a:b")),
        (basic("zoë:ü".encode()), Login("zoë", "ü".encode())),
        (basic(b"alice:").replace("Basic", "bAsIc  "), Login("alice", b"")),
        ("Bearer abc", Login("", b"abc")),
        ("bearer  abc ", Login("", b"abc")),
        (basic(b":pass"), None),
        (basic(b"alice"), None),
        (basic(b"\xff:x"), None),
        ("Basic ****", None),
        ("Basic", None),
        ("Digest a=b", None),
        ("", None),
    ],
)
def test_what_a_client_says(value: str, login: Login | None) -> None:
    """Basic and Bearer are known; what is neither is nothing."""
    assert parse_authorization(value) == login


def test_no_secret_is_shown() -> None:
    """A login that is printed has no secret in it."""
    assert "pass" not in repr(Login("alice", b"pass"))


@pytest.mark.parametrize("password", [b"right", b"x" * 100, b""])
def test_passwords(password: bytes) -> None:
    """The right one fits, of any length, as htpasswd hashes it; another does not."""
    hashed = bcrypt.hashpw(password[:72], bcrypt.gensalt(4))
    assert fits(password, hashed)
    assert not fits(b"wrong", hashed)
    assert not fits(password, b"$2y$05$short")
