"""A site that asks for a login, in front of a server or a directory that does not."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import trustme
from twisted.internet import ssl
from twisted.web.proxy import ReverseProxyResource
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from twisted.web.static import File


class Wall:
    """``http`` and ``https`` are its ports, ``authority`` is the file of those who vouch for the second one."""

    def __init__(self, reactor: Any, behind: int | Path, login: str, state: Path) -> None:
        """``behind`` is a port of this machine or a directory; ``login`` is ``user:password``."""
        authority = trustme.CA()
        self.authority = state / "wall.pem"
        authority.cert_pem.write_to_path(self.authority)
        leaf = authority.issue_cert("localhost")  # by an address it is no good to hg
        pem = leaf.private_key_pem.bytes() + b"".join(part.bytes() for part in leaf.cert_chain_pems)
        within = File(str(behind)) if isinstance(behind, Path) else ReverseProxyResource("127.0.0.1", behind, b"")
        site = Site(_Gate(within, login))
        plain = reactor.listenTCP(0, site, interface="127.0.0.1")
        options = ssl.PrivateCertificate.loadPEM(pem).options()
        secure = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self._ports = [plain, secure]
        self.http = plain.getHost().port
        self.https = secure.getHost().port

    def stop(self) -> list[Any]:
        return [port.stopListening() for port in self._ports]


class _Gate(Resource):
    def __init__(self, within: IResource, login: str) -> None:
        super().__init__()
        self._within = within
        self._expected = b"Basic " + base64.b64encode(login.encode())

    def getChild(self, path: bytes, request: Any) -> IResource:
        request.prepath.pop()
        request.postpath.insert(0, path)
        return self._within if request.getHeader(b"authorization") == self._expected else _Refusal()


class _Refusal(Resource):
    isLeaf = True

    def render(self, request: Any) -> bytes:
        request.setResponseCode(401)
        request.setHeader(b"WWW-Authenticate", b'Basic realm="rig"')
        return b"internal host words for nobody else\n"
