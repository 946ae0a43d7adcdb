"""What servers answer, and what is made of it."""

from __future__ import annotations

import pytest

from athensd.bucket.s3_answers import Listing, parse_listing, refused
from athensd.errors import StorageFailed

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def listing(contents: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    keys = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in contents.split())
    return f'<?xml version="1.0"?>\n<ListBucketResult {NAMESPACE}>{more}{keys}</ListBucketResult>'.encode()


def error(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret host</Message>{more}</Error>".encode()


def test_listing():
    """Names are those of the objects, decoded if the server says that they are encoded."""
    encoded = "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
    assert parse_listing(listing("a/%40v/v1%2B2 a+b", encoded)) == Listing(["a/@v/v1+2", "a b"], "")
    assert parse_listing(listing("a/%40v a+b")) == Listing(["a/%40v", "a+b"], "")
    assert parse_listing(listing("")) == Listing([], "")
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>on=</NextContinuationToken>"
    assert parse_listing(listing("a", more)) == Listing(["a"], "on=")
    assert parse_listing(listing("a").replace(NAMESPACE.encode(), b"")) == Listing(["a"], "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome</html>",
        b"<ListBucketResult>",
        listing("a")[:-30],
        listing("a", ""),
        listing("a", "<IsTruncated>true</IsTruncated>"),
        listing("a").replace(b"<Key>a</Key>", b""),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + listing("a").partition(b"\n")[2],
    ],
)
def test_no_listing(body):
    """An answer that is no list, or not the whole of it, is never taken for an empty one."""
    with pytest.raises(StorageFailed):
        parse_listing(body)


@pytest.mark.parametrize(
    ("status", "body", "region", "words"),
    [
        (403, error("InvalidAccessKeyId"), "", "the access key is unknown"),
        (403, error("SignatureDoesNotMatch"), "", "the secret key is not that of the access key"),
        (403, error("RequestTimeTooSkewed"), "", "clocks"),
        (403, error("AccessDenied"), "", "access is denied"),
        (400, error("ExpiredToken"), "", "token .* expired"),
        (404, error("NoSuchBucket"), "", "no such bucket"),
        (301, error("PermanentRedirect"), "eu-west-3", "the region eu-west-3"),
        (301, b"", "eu-west-3", "the region eu-west-3"),
        (400, error("AuthorizationHeaderMalformed", "<Region>eu-west-2</Region>"), "", "the region eu-west-2"),
        (307, error("TemporaryRedirect"), "", "another region"),
        (301, error("PermanentRedirect"), "<script>", "another region"),
        (503, error("SlowDown"), "", "too much to do"),
        (409, error("ConditionalRequestConflict"), "", "others are writing"),
        (418, error("NewWord"), "", "answered 418 NewWord"),
        (418, error("secret: http://x"), "", "answered 418$"),
        (502, b"<html>Bad gateway, secret</html>", "", "answered 502$"),
        (500, b"not xml", "", "answered 500$"),
    ],
)
def test_refusals(status, body, region, words):
    """An error is told in words of ours, which say what to do and nothing of the server's own."""
    refusal = refused(status, body, region)
    assert refusal.status == status
    with pytest.raises(StorageFailed, match=words):
        raise refusal
    assert "secret" not in str(refusal).replace("the secret key", "")


@pytest.mark.parametrize(
    ("status", "body", "passing"),
    [
        (503, error("SlowDown"), True),
        (500, error("InternalError"), True),
        (503, b"", True),
        (429, b"", True),
        (400, error("RequestTimeout"), True),
        (409, error("ConditionalRequestConflict"), True),
        (409, error("BucketAlreadyExists"), False),
        (412, error("PreconditionFailed"), False),
        (403, error("AccessDenied"), False),
        (404, error("NoSuchKey"), False),
    ],
)
def test_passing(status, body, passing):
    """It is asked again where that can help, and nowhere else."""
    assert refused(status, body).passing is passing
