"""Signed notes and the keys that verify them."""

from __future__ import annotations

import pytest

from athensd.errors import VerificationFailed
from athensd.sumdb.names import KNOWN_KEYS, PUBLIC
from athensd.sumdb.note import open_note, parse_verifier
from tests.rig.sumdb import Signer

SIGNER = Signer()
VERIFIER = parse_verifier(SIGNER.verifier_key)
TEXT = "first\n\nthird\n"
# What the public database said once about golang.org/x/mod@v0.40.0.
REAL_TEXT = "go.sum database tree\n66327379\nxWutPmGGbpWR/1iGpo4T2OIen8osXrozOwt4QinWKyg=\n"
REAL_SIGNATURE = "Az3grh7C5yhBIx4LGre+Cxy+IpZfAQbghxRv7p159h49g8+zHJS+EDmfu3UMGCrx93kygGV0LR6jZIFivT37qTUmIgM="


def test_a_signed_text_is_given_back() -> None:
    """The text is as it was signed, its own empty lines and its last line break included."""
    assert open_note(SIGNER.sign(TEXT), VERIFIER) == TEXT


def test_the_public_database_signs_with_the_known_key() -> None:
    """A real head of the public database is verified by the key that is known here."""
    message = f"{REAL_TEXT}\n\N{EM DASH} {PUBLIC} {REAL_SIGNATURE}\n".encode()
    verifier = parse_verifier(KNOWN_KEYS[PUBLIC])
    assert open_note(message, verifier) == REAL_TEXT
    with pytest.raises(VerificationFailed, match=r"^invalid signature for key .*\+033de0ae$"):
        open_note(message.replace(b"66327379", b"66327378"), verifier)


@pytest.mark.parametrize(
    "others", [[Signer("other.example.test")], [Signer(seed=2)], [Signer(f"o{n}") for n in range(99)]]
)
def test_signatures_of_others_are_passed_over(others: list[Signer]) -> None:
    """Other names, and other keys of the same name, may have signed as well: up to a hundred signatures in all."""
    lines = [signer.line(TEXT) for signer in others]
    for signatures in ([*lines, SIGNER.line(TEXT)], [SIGNER.line(TEXT), *lines]):
        assert open_note(f"{TEXT}\n{''.join(signatures)}".encode(), VERIFIER) == TEXT


def test_one_signature_is_enough() -> None:
    """Where the same key has signed more than once the first signature counts."""
    assert open_note(f"{TEXT}\n{SIGNER.line(TEXT)}{SIGNER.line('else')}".encode(), VERIFIER) == TEXT


GOOD = SIGNER.sign(TEXT)
OTHER = Signer("other.example.test").sign(TEXT)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "malformed note"),
        (b"<html>not found</html>\n", "malformed note"),
        (GOOD[:-1], "malformed note"),
        (GOOD + b"\n", "malformed note"),
        (GOOD + b"x\n", "malformed note"),
        (GOOD.replace(b"first", b"fi\xffst"), "malformed note"),
        (GOOD.replace(b"first", b"fi\tst"), "malformed note"),
        (GOOD.replace(b"\n\xe2", b"\n-\xe2"), "malformed note"),
        (GOOD + SIGNER.line(TEXT).encode() * 100, "malformed note"),
        (GOOD[:-3] + b"\n", "malformed note"),
        (TEXT.encode() + b"\n\xe2\x80\x94 a AAAAAA==\n", "malformed note"),
        (OTHER, "note has no verifiable signatures"),
        (GOOD.replace(b"first", b"First"), "invalid signature for key sum.example.test"),
        (f"{TEXT}\n{SIGNER.line('else')}{SIGNER.line(TEXT)}".encode(), "invalid signature for key sum.example.test"),
    ],
)
def test_other_notes_are_refused(message: bytes, reason: str) -> None:
    """What is no note, was changed, or is signed by others only, is refused with Go's reason."""
    with pytest.raises(VerificationFailed) as caught:
        open_note(message, VERIFIER)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "malformed verifier id"),
        ("name", "malformed verifier id"),
        (SIGNER.verifier_key[:-1], "malformed verifier id"),
        (SIGNER.verifier_key + "=", "malformed verifier id"),
        (SIGNER.verifier_key.replace("sum.", "sum ."), "malformed verifier id"),
        (SIGNER.verifier_key.replace("sum.", "som."), "invalid verifier hash"),
        ("a+00000000+AQ==", "invalid verifier hash"),
        ("a+1a137d52+Ag==", "unknown verifier algorithm"),
        ("a+d56cc4fe+AQ==", "malformed verifier id"),
    ],
)
def test_other_keys_are_refused(key: str, reason: str) -> None:
    """A key that is none is refused as a value, with Go's reason."""
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_verifier(key)
