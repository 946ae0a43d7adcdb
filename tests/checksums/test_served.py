"""Which databases clients may ask through us."""

from __future__ import annotations

import pytest

from athensd.checksums.served import Served, parse_sumdbs
from athensd.sumdb.names import KNOWN_KEYS, PUBLIC
from athensd.sumdb.note import parse_verifier
from tests.rig.sumdb import Signer

KNOWN = parse_verifier(KNOWN_KEYS[PUBLIC])
OWN = Signer()
OWN_VERIFIER = parse_verifier(OWN.verifier_key)


@pytest.mark.parametrize(
    ("value", "served"),
    [
        ("https://sum.golang.org", Served(PUBLIC, None, KNOWN)),
        ("https://sum.golang.org/", Served(PUBLIC, None, KNOWN)),
        ("sum.golang.org", Served(PUBLIC, None, KNOWN)),
        ("sum.golang.google.cn", Served(PUBLIC, "https://sum.golang.google.cn", KNOWN)),
        (OWN.verifier_key, Served(OWN.name, None, OWN_VERIFIER)),
        (f"{OWN.verifier_key} https://x.example.test/y", Served(OWN.name, "https://x.example.test/y", OWN_VERIFIER)),
        (f"{OWN.verifier_key} http://127.0.0.1:3000", Served(OWN.name, "http://127.0.0.1:3000", OWN_VERIFIER)),
        ("https://x.example.test/y", Served("x.example.test/y", "https://x.example.test/y")),
        ("http://localhost:3000", Served("localhost:3000", "http://localhost:3000")),
        ("https://me:secret@x.example.test", Served("x.example.test", "https://me:secret@x.example.test")),
    ],
)
def test_a_database(value: str, served: Served) -> None:
    """A URL as in Athens, or what GOSUMDB may be; a key makes that it can be proven what the database says."""
    assert parse_sumdbs([value]) == {served.name: served}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (["http://sum.golang.org"], "value 1: the URL must begin with https://"),
        (
            ["https://a.example.test", f"{OWN.verifier_key} http://10.0.0.1"],
            "value 2: the URL must begin with https://",
        ),
        (["http://127.0.0.1.example.test"], "value 1: the URL must begin with https://"),
        (["off"], "value 1: a URL is missing"),
        ([""], "value 1: a URL is missing"),
        (["x.example.test"], "value 1: invalid GOSUMDB: malformed verifier id"),
        (["https://"], "value 1: no database can have this name"),
        (["https://x.example.test/?q"], "value 1: no database can have this name"),
        (["https://sum.golang.org", "sum.golang.org"], "value 2: sum.golang.org is there twice"),
    ],
)
def test_what_is_none(values: list[str], fault: str) -> None:
    """A value that cannot be used is named by its number, with what is wrong."""
    with pytest.raises(ValueError, match=f"SumDBs: {fault}"):
        parse_sumdbs(values)


def test_no_fault_repeats_a_password() -> None:
    """Neither what is wrong with a URL nor a repr shows the secret in it."""
    for value in ("http://me:secret@x.example.test", "https://me:secret@x.example.test/?"):
        with pytest.raises(ValueError, match="SumDBs") as fault:
            parse_sumdbs([value])
        assert "secret" not in str(fault.value)
    assert "secret" not in repr(parse_sumdbs(["https://me:secret@x.example.test"]))
