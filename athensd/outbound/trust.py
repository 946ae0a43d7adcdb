"""Whose certificates our own requests trust: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` as Go reads them.

OpenSSL would take ``SSL_CERT_FILE`` in place of what the system trusts, and in ``SSL_CERT_DIR`` it sees only files that
are named by a hash.  Go (``crypto/x509``) reads the file and then every file of the directories, those of the system
where no others are named: an authority of one's own stands beside the public ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates

FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
DIRECTORIES = "/etc/ssl/certs:/etc/pki/tls/certs"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def trust_root(environ: Mapping[str, str]) -> Any:
    """The authorities that are trusted, as Twisted wants them (``IOpenSSLTrustRoot``).

    Raises ``ValueError`` when ``SSL_CERT_FILE`` cannot be read: a word now is better than failures later.
    """
    file, directories = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if not (file or directories):
        return platformTrust()
    texts = [_named(Path(file))] if file else list(_readable(map(Path, FILES)))[:1]
    for directory in (directories or DIRECTORIES).split(":"):
        texts += _readable(_inside(Path(directory)))
    blocks = dict.fromkeys(block for text in texts for block in _PEM.findall(text))
    return trustRootFromCertificates(list(_certificates(blocks)))


def _named(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"SSL_CERT_FILE cannot be read: {error.strerror}") from error


def _inside(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(directory.iterdir())
    except OSError:
        return


def _readable(files: Iterator[Path]) -> Iterator[bytes]:
    for file in files:
        try:
            yield file.read_bytes()
        except OSError:
            continue


def _certificates(blocks: Mapping[bytes, None]) -> Iterator[Certificate]:
    for block in blocks:
        try:
            yield Certificate.loadPEM(block)
        except (crypto.Error, ValueError):
            continue  # Go passes over what it cannot read
