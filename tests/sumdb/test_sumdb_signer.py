"""Keys that sign notes, as ``golang.org/x/mod/sumdb/note`` has them."""

from __future__ import annotations

import pytest

from athensd.errors import VerificationFailed
from athensd.sumdb.note import open_note, parse_verifier
from athensd.sumdb.signer import new_signer, parse_signer

# From the examples of that package.
SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNED = f"""{TEXT}
\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def test_as_go_does() -> None:
    """The same key signs the same text in the same way, and is published in the same way."""
    signer = parse_signer(SECRET)
    assert (signer.public, signer.secret) == (PUBLIC, SECRET)
    assert signer.verifier == parse_verifier(PUBLIC)
    assert signer.sign(TEXT).decode() == SIGNED


def test_a_new_key() -> None:
    """It is like no other; what it signs is opened by its public part alone; its text shows no secret."""
    signer, other = new_signer("us.example"), new_signer("us.example")
    assert parse_signer(signer.secret + "\n") == signer != other
    assert open_note(signer.sign("a\n\nb\n"), parse_verifier(signer.public)) == "a\n\nb\n"
    with pytest.raises(VerificationFailed):
        open_note(signer.sign("a\n"), other.verifier)
    assert repr(signer) == "Signer(name='us.example')"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_name_that_no_note_can_have(name: str) -> None:
    """A key with it could not be read again."""
    with pytest.raises(ValueError, match="no space"):
        new_signer(name)


@pytest.mark.parametrize(
    "text", ["", PUBLIC, SECRET[:-4], SECRET.replace("c74f", "c74e"), SECRET.replace("+AY", "+BY"), SECRET + "!"]
)
def test_what_is_no_key(text: str) -> None:
    """It is refused, and not repeated."""
    with pytest.raises(ValueError, match=r"^(malformed signer key|invalid signer hash)$"):
        parse_signer(text)
