"""Who signs notes.  The keys are those of ``golang.org/x/mod/sumdb/note``; the secret one is a line of text too."""

from __future__ import annotations

import re
from base64 import b64encode

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from athensd.sumdb.note import Verifier, decode_base64, hash_of_key

_ED25519 = b"\x01"
_KEY = re.compile(r"PRIVATE\+KEY\+(?P<name>[^\s+]+)\+(?P<hash>[0-9a-f]{8})\+(?P<data>\S+)")


@frozen
class Signer:
    """A name, and the 32 bytes of a secret Ed25519 key."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """What others check its signatures with."""
        public = self._key.public_key().public_bytes_raw()
        return Verifier(self.name, hash_of_key(self.name, _ED25519 + public), public)

    @property
    def secret(self) -> str:
        """The key as text, for its owner alone: ``PRIVATE+KEY+name+hash+base64``."""
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_hash.hex()}+{_base64(_ED25519 + self.seed)}"

    @property
    def public(self) -> str:
        """The verifier key, for everybody: ``name+hash+base64``."""
        verifier = self.verifier
        return f"{self.name}+{verifier.key_hash.hex()}+{_base64(_ED25519 + verifier.public_key)}"

    def sign(self, text: str) -> bytes:
        """The note of a text, which ends in a line break (``note.Sign``)."""
        signature = self.verifier.key_hash + self._key.sign(text.encode())
        return f"{text}\n\N{EM DASH} {self.name} {_base64(signature)}\n".encode()

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def new_signer(name: str) -> Signer:
    """One with a key that nobody has.  Raises ``ValueError`` for a name that no note can have."""
    if not re.fullmatch(r"[^\s+]+", name):
        raise ValueError("the name of a key has no space and no + in it")
    return Signer(name, Ed25519PrivateKey.generate().private_bytes_raw())


def parse_signer(text: str) -> Signer:
    """Read a secret key (``note.NewSigner``).  Raises ``ValueError``, without its text, when it is none."""
    found = _KEY.fullmatch(text.strip())
    data = decode_base64(found["data"]) if found else None
    if not found or not data or len(data) != 33 or not data.startswith(_ED25519):
        raise ValueError("malformed signer key")
    signer = Signer(found["name"], data[1:])
    if signer.verifier.key_hash.hex() != found["hash"]:
        raise ValueError("invalid signer hash")
    return signer


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
