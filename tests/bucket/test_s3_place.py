"""The addresses of buckets."""

from __future__ import annotations

import pytest

from athensd.bucket.s3_place import S3Place, minio_place


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (S3Place("athens", "eu-west-1"), "https://athens.s3.eu-west-1.amazonaws.com"),
        (S3Place("athens", "eu-west-1", path_style=True), "https://s3.eu-west-1.amazonaws.com/athens"),
        (S3Place("my.athens", "eu-west-1"), "https://s3.eu-west-1.amazonaws.com/my.athens"),
        (S3Place("athens", "cn-north-1"), "https://athens.s3.cn-north-1.amazonaws.com.cn"),
        (S3Place("athens", "auto", "https://s3.example.com/"), "https://athens.s3.example.com"),
        (S3Place("athens", "auto", "https://s3.example.com:8443/store/"), "https://athens.s3.example.com:8443/store"),
        (S3Place("athens", "auto", "s3.example.com"), "https://athens.s3.example.com"),
        (S3Place("athens", "auto", "http://s3.example.com", True), "http://s3.example.com/athens"),
        (S3Place("athens", "auto", "http://127.0.0.1:9000"), "http://127.0.0.1:9000/athens"),
        (S3Place("athens", "auto", "http://[::1]:9000"), "http://[::1]:9000/athens"),
        (S3Place("athens", "auto", "http://minio:9000"), "http://minio:9000/athens"),
    ],
)
def test_url(place, url):
    """The bucket is part of the host where a name and a certificate can have it so, else of the path."""
    assert place.url == url


@pytest.mark.parametrize(
    ("endpoint", "ssl", "url"),
    [
        ("minio.example.com:9000", False, "http://minio.example.com:9000/athens"),
        ("http://minio.example.com:9000", True, "https://minio.example.com:9000/athens"),
        ("fra1.digitaloceanspaces.com", True, "https://fra1.digitaloceanspaces.com/athens"),
        ("oss-cn-beijing.aliyuncs.com", True, "https://athens.oss-cn-beijing.aliyuncs.com"),
        ("s3.amazonaws.com", True, "https://athens.s3.amazonaws.com"),
    ],
)
def test_minio(endpoint, ssl, url):
    """Whether there is TLS is said by its setting and not by the scheme; path style, but for those who refuse it."""
    assert minio_place(endpoint, ssl=ssl, bucket="athens", region="").url == url
