"""Who can be known: the users file, the tokens file, and what a client says of itself (pure).

Passwords are kept as htpasswd has them, by bcrypt, and tokens as SHA-256: a token is long and random, so that a quick
hash of it cannot be turned round.  No complaint shows what stands in a line, only where.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from hashlib import sha256

from attrs import field, frozen

NAME = r"[^\s:#*,][^\s:,]*"
"""The name of a user, a token or a group."""
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}")
_TOKEN = re.compile(rf"({NAME})\s+sha256:([0-9a-fA-F]{{64}})(?:\s+({NAME}(?:,{NAME})*))?")
_OF_NOTHING = sha256().digest()
LONGEST_PASSWORD = 72
"""bcrypt looks at no more bytes, and htpasswd gives it no more."""


@frozen
class Token:
    """Whose it is, and what groups that is in."""

    name: str
    groups: frozenset[str] = frozenset()


@frozen
class Login:
    """What a client says; a bearer of a token has no ``name``."""

    name: str
    secret: bytes = field(repr=False)


def parse_users(text: str, file: str) -> Mapping[str, bytes]:
    """The bcrypt hashes of all users, by name, from a file as ``htpasswd -B`` writes it.

    Raises ``ValueError`` with a line for each problem; any other hash than bcrypt is one.
    """
    users: dict[str, bytes] = {}
    problems = []
    for where, line in lines(text):
        name, colon, hashed = line.partition(":")
        if not colon or not re.fullmatch(NAME, name):
            problems.append(f"{file}, {where}: must be NAME:HASH")
        elif not _BCRYPT.fullmatch(hashed):
            problems.append(
                f"{file}, {where}: the hash of {name} is not bcrypt ($2y$, cost 4 to 15); make it by htpasswd -B"
            )
        elif name in users:
            problems.append(f"{file}, {where}: {name} is there twice")
        else:
            users[name] = hashed.encode()
    if problems:
        raise ValueError("\n".join(problems))
    return users


def parse_tokens(text: str, file: str) -> Mapping[bytes, Token]:
    """All tokens by their SHA-256, from lines ``NAME sha256:HEX [GROUP,GROUP]``.

    Raises ``ValueError`` with a line for each problem.
    """
    tokens: dict[bytes, Token] = {}
    problems = []
    for where, line in lines(text):
        match = _TOKEN.fullmatch(line)
        if match is None:
            problems.append(f"{file}, {where}: must be NAME sha256:HEX, or that and GROUP,GROUP")
        elif (digest := bytes.fromhex(match[2])) in tokens:
            problems.append(f"{file}, {where}: this token is there twice")
        elif digest == _OF_NOTHING:
            problems.append(f"{file}, {where}: this is the hash of an empty token")
        else:
            tokens[digest] = Token(match[1], frozenset((match[3] or "").split(",")) - {""})
    if problems:
        raise ValueError("\n".join(problems))
    return tokens


def parse_authorization(value: str) -> Login | None:
    """What an ``Authorization`` header says (RFC 7617, RFC 6750); ``None`` if that is nothing we know."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return Login("", rest.strip().encode("latin-1", "replace"))
    if scheme.lower() != "basic":
        return None
    try:
        name, found, secret = b64decode(rest.strip(), validate=True).partition(b":")
        return Login(name.decode(), secret) if found and name else None
    except ValueError:
        return None


def lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines that say something, each with its place in the file."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if words and not words.startswith("#"):
            yield f"line {number}", words


def fits(password: bytes, hashed: bytes) -> bool:
    """Whether this is the password of a hash; that takes as long as the hash wants."""
    import bcrypt

    try:
        return bcrypt.checkpw(password[:LONGEST_PASSWORD], hashed)
    except ValueError:
        return False
