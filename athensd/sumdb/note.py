"""Signed notes: a text, and who has signed it.

The format is that of ``golang.org/x/mod/sumdb/note``: the text, an empty line, and lines of ``— name signature``.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterator

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from athensd.errors import VerificationFailed

_ED25519 = 1
_MAX_SIGNATURES = 100
_MARK = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_KEY_HASH = re.compile(r"[0-9A-Fa-f]{8}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@frozen
class Verifier:
    """Whose signatures count: a name, the hash that tells its keys apart, and the 32 bytes of an Ed25519 key."""

    name: str
    key_hash: bytes
    public_key: bytes

    def is_signed(self, text: bytes, signature: bytes) -> bool:
        """Whether this key made the signature of the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


def parse_verifier(key: str) -> Verifier:
    """Read a verifier key, ``name+hash+base64``.  Raises ``ValueError`` with Go's reason when it is none."""
    name, _, rest = key.partition("+")
    key_hash, _, encoded = rest.partition("+")
    data = decode_base64(encoded)
    if not (_NAME.fullmatch(name) and _KEY_HASH.fullmatch(key_hash) and data):
        raise ValueError("malformed verifier id")
    if bytes.fromhex(key_hash) != hash_of_key(name, data):
        raise ValueError("invalid verifier hash")
    if data[0] != _ED25519:
        raise ValueError("unknown verifier algorithm")
    if len(data) != 33:
        raise ValueError("malformed verifier id")
    return Verifier(name, bytes.fromhex(key_hash), data[1:])


def hash_of_key(name: str, key: bytes) -> bytes:
    """The four bytes by which a note says which key of a name has signed; ``key`` begins with its algorithm."""
    return hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]


def open_note(message: bytes, verifier: Verifier) -> str:
    """The text of a note that the verifier's key has signed, with the line break at its end (``note.Open``).

    Signatures of others are passed over.  Raises ``VerificationFailed`` when this is no note, when its signature is
    wrong, and when it has none that can be verified.
    """
    text, block = _split(message)
    signed = False
    for name, signature in _signatures(block):
        if signed or (name, signature[:4]) != (verifier.name, verifier.key_hash):
            continue
        if not verifier.is_signed(text.encode(), signature[4:]):
            raise VerificationFailed(f"invalid signature for key {name}+{verifier.key_hash.hex()}")
        signed = True
    if not signed:
        raise VerificationFailed("note has no verifiable signatures")
    return text


def decode_base64(text: str) -> bytes | None:
    """The bytes that the base64 text stands for; ``None`` when it is none."""
    # Python's own check lets padding pass where Go's does not.
    return b64decode(text) if _BASE64.fullmatch(text) else None


def _split(message: bytes) -> tuple[str, str]:
    """The text of a note and its lines of signatures."""
    try:
        text, blank, block = message.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise _malformed() from None
    if not blank or not block.endswith("\n") or _CONTROL.search(text + block):
        raise _malformed()
    return text + "\n", block


def _signatures(block: str) -> Iterator[tuple[str, bytes]]:
    """The name of each signature, and its bytes: four of them are the hash of the key."""
    for number, line in enumerate(block.removesuffix("\n").split("\n")):
        name, _, encoded = line.removeprefix(_MARK).partition(" ")
        signature = decode_base64(encoded) or b""
        if not (line.startswith(_MARK) and _NAME.fullmatch(name) and len(signature) > 4 and number < _MAX_SIGNATURES):
            raise _malformed()
        yield name, signature


def _malformed() -> VerificationFailed:
    return VerificationFailed("malformed note")
