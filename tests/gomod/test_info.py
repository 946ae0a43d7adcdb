"""The .info document."""

import json
from datetime import UTC, datetime

import pytest

from athensd.errors import VerificationFailed
from athensd.gomod.info import Info, parse_info, parse_time, render_info

ORIGIN = {"VCS": "git", "URL": "https://github.com/x/y", "Hash": "0123", "Ref": "refs/tags/v1.0.0"}


def test_round_trip():
    """What was parsed is rendered in Go's own form, byte for byte."""
    data = (
        b'{"Version":"v1.0.0","Time":"2019-11-09T02:19:31Z",'
        b'"Origin":{"VCS":"git","URL":"https://github.com/x/y","Hash":"0123","Ref":"refs/tags/v1.0.0"}}'
    )
    assert parse_info(data) == Info("v1.0.0", "2019-11-09T02:19:31Z", ORIGIN)
    assert render_info(parse_info(data)) == data


def test_only_a_version():
    """Time and Origin may be missing or null, and are then left out."""
    for text in ['{"Version":"v1.0.0"}', '{"Version":"v1.0.0","Time":null,"Origin":null}']:
        assert parse_info(text.encode()) == Info("v1.0.0")
    assert render_info(Info("v1.0.0")) == b'{"Version":"v1.0.0"}'


def test_unknown_fields_are_dropped():
    """Fields that Go does not define are not passed on, in Origin neither."""
    document = {"Version": "v1.0.0", "Name": "x", "Short": "y", "Origin": {"VCS": "git", "Token": "secret", "Ref": ""}}
    assert parse_info(json.dumps(document).encode()) == Info("v1.0.0", None, {"VCS": "git"})


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "not JSON"),
        (b"not found", "not JSON"),
        (b'{"Version":"v1.0.0"', "not JSON"),
        (b'{"Version":"v1.0.0\xff"}', "not JSON"),
        (b"[" * 100000, "not JSON"),
        (b'["v1.0.0"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "no Version"),
        (b'{"Version":""}', "no Version"),
        (b'{"Version":1}', "no Version"),
        (b'{"Version":"main"}', "not canonical"),
        (b'{"Version":"v1.0"}', "not canonical"),
        (b'{"Version":"../../x"}', "not canonical"),
        (b'{"Version":"v1.0.0+meta"}', "not canonical"),
        (b'{"Version":"v1.0.0","Time":1}', "Time"),
        (b'{"Version":"v1.0.0","Time":"yesterday"}', "not RFC 3339"),
        (b'{"Version":"v1.0.0","Origin":"git"}', "Origin"),
        (b'{"Version":"v1.0.0","Origin":{"URL":["x"]}}', "URL"),
    ],
)
def test_bad_documents(data, words):
    """A document that is no .info is refused with what is wrong with it."""
    with pytest.raises(VerificationFailed, match=words):
        parse_info(data)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2019-11-09T02:19:31Z", datetime(2019, 11, 9, 2, 19, 31, tzinfo=UTC)),
        ("2019-11-09T04:19:31+02:00", datetime(2019, 11, 9, 2, 19, 31, tzinfo=UTC)),
        ("2019-11-09T02:19:31.5Z", datetime(2019, 11, 9, 2, 19, 31, 500000, tzinfo=UTC)),
        ("2019-11-09T02:19:31.123456789Z", datetime(2019, 11, 9, 2, 19, 31, 123456, tzinfo=UTC)),
    ],
)
def test_times(text, expected):
    """RFC 3339 times are read with any zone and fraction."""
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2019-11-09",
        "20191109T021931Z",
        "2019-11-09 02:19:31Z",
        "2019-11-09T02:19:31",
        "2019-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_no_times(text):
    """Other ways to write a time, and days that never were, are refused."""
    with pytest.raises(ValueError):
        parse_time(text)
