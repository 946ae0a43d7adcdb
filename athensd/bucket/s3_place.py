"""Where a bucket is."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import frozen


@frozen
class S3Place:
    """A bucket at an ``endpoint``, without one at Amazon."""

    bucket: str
    region: str
    endpoint: str = ""
    path_style: bool = False

    @property
    def url(self) -> str:
        """The bucket's address.  Its name is part of the host where that can work, unless ``path_style`` is wanted."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        endpoint = self.endpoint or f"https://s3.{self.region}.{suffix}"
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        # A certificate for *.host covers no name with a dot before the host.
        in_path = self.path_style or _has_no_subdomains(parts.hostname or "") or "." in self.bucket
        host = parts.netloc if in_path else f"{self.bucket}.{parts.netloc}"
        path = parts.path.rstrip("/") + (f"/{self.bucket}" if in_path else "")
        return f"{parts.scheme}://{host}{path}"


def minio_place(endpoint: str, *, ssl: bool, bucket: str, region: str) -> S3Place:
    """A bucket as Athens' settings for MinIO name it: ``endpoint`` is a host and a port, perhaps with a scheme.

    Path style, which every MinIO takes; but Amazon and Alibaba's OSS, which Athens reaches in this way too, do not.
    """
    host = endpoint.rpartition("://")[2].rstrip("/")
    path_style = not host.partition(":")[0].endswith((".aliyuncs.com", ".amazonaws.com"))
    return S3Place(bucket, region, f"{'https' if ssl else 'http'}://{host}", path_style)


def _has_no_subdomains(host: str) -> bool:
    """Whether this is an address, or a name of one word as containers have them."""
    try:
        ip_address(host)
    except ValueError:
        return "." not in host
    return True
