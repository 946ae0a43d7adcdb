"""The glob lists of GOPRIVATE."""

import time

import pytest

from athensd.gomod.pattern import are_well_formed, matches


@pytest.mark.parametrize(
    "globs, path",
    [
        ("*", "rsc.io/quote"),
        ("rsc.io", "rsc.io/quote/v2"),
        ("rsc.io/", "rsc.io/quote"),
        ("rsc.io/*", "rsc.io/quote/v2"),
        ("rsc.io/qu?te", "rsc.io/quote"),
        ("rsc.io/[a-z]uote", "rsc.io/quote"),
        ("rsc.io/[^x-z]uote", "rsc.io/quote"),
        ("rsc.io/[x\\-q]uote", "rsc.io/quote"),
        ("rsc.io/q\\uote", "rsc.io/quote"),
        ("*.corp.com", "git.corp.com/a"),
        ("*.corp.com,rsc.io/private", "rsc.io/private/x"),
        (",,rsc.io,", "rsc.io/quote"),
        ("[,rsc.io", "rsc.io/quote"),
        ("*/*", "rsc.io/quote/v2"),
        ("*o*e", "foorfe"),
    ],
)
def test_matches(globs, path):
    """A glob is held against as many elements of the path as it has itself."""
    assert matches(globs, path)


@pytest.mark.parametrize(
    "globs, path",
    [
        ("", "rsc.io/quote"),
        (",", "rsc.io/quote"),
        ("rsc.io/*", "rsc.io"),
        ("rsc.io/quote/v2", "rsc.io/quote"),
        ("rsc.io/q", "rsc.io/quote"),
        ("*.corp.com", "corp.com/a"),
        ("*.corp.com", "git.corp.com.evil.org/a"),
        ("rsc?io?quote", "rsc.io/quote"),
        ("rsc.io/[", "rsc.io/quote"),
        ("rsc.io/[]quote", "rsc.io/quote"),
        ("rsc.io/[a-]uote", "rsc.io/quote"),
        ("rsc.io/[z-a]uote", "rsc.io/quote"),
        ("rsc.io/quote\\", "rsc.io/quote"),
        ("**[", "rsc.io"),
        (" rsc.io", "rsc.io/quote"),
        ("RSC.io", "rsc.io/quote"),
        ("{rsc.io,x}", "rsc.io/quote"),
    ],
)
def test_does_not_match(globs, path):
    """Missing elements, slashes under a star, and malformed globs match nothing."""
    assert not matches(globs, path)


def test_stars_are_not_tried_again():
    """A star that found what follows it stays there, as in Go, where more would match if it moved on."""
    assert not matches("*[^x]*b/", "a/b")


def test_many_stars_take_no_time():
    """A glob cannot be made to take long."""
    start = time.process_time()
    assert not matches("a*" * 40 + "b", "a" * 4000)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("globs", ["a", "a/", "*", "a/*/b,c", "[a-z]x", r"a\*"])
def test_well_formed(globs):
    """Each glob can match something."""
    assert are_well_formed(globs)


@pytest.mark.parametrize("globs", ["", "/", "a,", ",a", "a,,b", "[a", "a/[", "a,[]"])
def test_not_well_formed(globs):
    """One that matches nothing whatever the path is a mistake."""
    assert not are_well_formed(globs)
