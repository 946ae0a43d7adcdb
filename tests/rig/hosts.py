"""Every git host of the world, on loopback.

Three listeners in the reactor of the test: a plain HTTP site, the same site under a throw-away certificate authority,
and a forward proxy that answers *every* host name from that site.  With ``environment`` of it, go and git reach
github.com or example.test without a network.

The site serves ``<root>/<host>/<path>.git`` by smart HTTP and go-import pages for it.
"""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import trustme
from attrs import define, field
from twisted.internet import ssl
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.web import resource, server

NAMES = ("github.com", "example.test", "golang.org")


@define
class World:
    """What the site says.  ``faults``, ``pages`` and ``private`` are keyed by prefixes of ``host/path``."""

    root: Path
    faults: dict[str, int] = field(factory=dict)  # the status to answer with; 0: no answer, ever
    pages: dict[str, str] = field(factory=dict)  # "VCS ROOT" of the go-import page
    private: dict[str, str] = field(factory=dict)  # "user:password"
    asked: list[str] = field(factory=list)  # "METHOD host/path" of every request

    def repository(self, path: str) -> str | None:
        """The directory below ``root`` for a ``host/path`` with or without ``.git``."""
        name = path.removesuffix(".git") + ".git"
        return name if (self.root / name).is_dir() else None


class Hosts:
    """The three listeners."""

    def __init__(self, reactor: Any, world: World, state: Path) -> None:
        self.world = world
        authority = trustme.CA()
        self._authority_file = state / "ca.pem"
        authority.cert_pem.write_to_path(self._authority_file)
        leaf = authority.issue_cert(*NAMES)
        pem = leaf.private_key_pem.bytes() + b"".join(part.bytes() for part in leaf.cert_chain_pems)
        site = server.Site(_Site(world))
        options = ssl.PrivateCertificate.loadPEM(pem).options()
        plain = reactor.listenTCP(0, site, interface="127.0.0.1")
        secure = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        way_in = Factory.forProtocol(lambda: _WayIn(reactor, plain.getHost().port, secure.getHost().port))
        proxy = reactor.listenTCP(0, way_in, interface="127.0.0.1")
        self._ports = [plain, secure, proxy]
        self.http = plain.getHost().port
        self.proxy = proxy.getHost().port

    def environment(self) -> dict[str, str]:
        """What makes go and git ask here."""
        proxy, authority = f"http://127.0.0.1:{self.proxy}", str(self._authority_file)
        return {
            "HTTPS_PROXY": proxy,
            "HTTP_PROXY": proxy,
            "SSL_CERT_FILE": authority,
            "GIT_SSL_CAINFO": authority,
        }

    def stop(self) -> list[Any]:
        return [port.stopListening() for port in self._ports]


class _Site(resource.Resource):
    isLeaf = True

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._git = _GitBackend(world.root)

    def render(self, request: Any) -> Any:
        path, _, query = _host_and_path(request).partition("?")
        self._world.asked.append(f"{request.method.decode()} {path}")
        fault = _longest(self._world.faults, path)
        if fault is not None:
            return _fail(request, self._world.faults[fault])
        private = _longest(self._world.private, path)
        if private is not None and not _logged_in(request, self._world.private[private]):
            request.setHeader(b"WWW-Authenticate", b'Basic realm="rig"')
            return _fail(request, 401)
        for tail in ("/info/refs", "/git-upload-pack"):
            repository = self._world.repository(path.removesuffix(tail))
            if path.endswith(tail) and repository:
                return self._git.answer(request, f"/{repository}{tail}", query)
        return self._page(request, path) if "go-get=1" in query else _fail(request, 404)

    def _page(self, request: Any, path: str) -> Any:
        found = _longest(self._world.pages, path)
        tag = f"{found} {self._world.pages[found]}" if found else self._own_tag(path)
        if not tag:
            return _fail(request, 404)
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        return f'<html><head><meta name="go-import" content="{tag}"></head></html>\n'.encode()

    def _own_tag(self, path: str) -> str:
        while "/" in path:
            if self._world.repository(path):
                return f"{path} git https://{path}"
            path = path.rpartition("/")[0]
        return ""


class _GitBackend:
    """``git http-backend`` (CGI, RFC 3875), in a thread and whole."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def answer(self, request: Any, path: str, query: str) -> Any:
        content = request.content.read()
        environment = {
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH": os.environ["PATH"],
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.method.decode(),
            "CONTENT_LENGTH": str(len(content)),
            "REMOTE_ADDR": "127.0.0.1",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        headers = {
            b"content-type": "CONTENT_TYPE",
            b"content-encoding": "HTTP_CONTENT_ENCODING",
            b"git-protocol": "GIT_PROTOCOL",
        }
        for header, name in headers.items():
            if value := request.getHeader(header):
                environment[name] = value.decode()
        left = request.notifyFinish()
        left.addErrback(lambda reason: None)
        made = deferToThread(_made_by_git, content, environment)
        made.addCallback(lambda output: left.called or _pass_on(request, output))
        made.addErrback(lambda failure: left.called or request.processingFailed(failure))
        return server.NOT_DONE_YET


def _made_by_git(content: bytes, environment: dict[str, str]) -> bytes:
    argv = ["git", "http-backend"]
    return subprocess.run(argv, check=True, input=content, env=environment, stdout=subprocess.PIPE).stdout


def _pass_on(request: Any, output: bytes) -> None:
    head, _, body = output.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"Status":
            request.setResponseCode(int(value[:3]))
        else:
            request.setHeader(name, value)
    request.write(body)
    request.finish()


class _Pipe(Protocol):
    """Hands on what it gets to its peer."""

    peer: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def connectionLost(self, reason: Any) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.loseConnection()


class _WayIn(_Pipe):
    """A forward proxy: CONNECT leads to the secure site, everything else to the plain one."""

    def __init__(self, reactor: Any, plain: int, secure: int) -> None:
        self._reactor = reactor
        self._plain = plain
        self._secure = secure
        self._head = b""

    def dataReceived(self, data: bytes) -> None:
        if self.peer is not None:
            super().dataReceived(data)
            return
        waited = b"\r\n\r\n" in self._head
        self._head += data
        if not waited and b"\r\n\r\n" in self._head:
            port = self._secure if self._head.startswith(b"CONNECT ") else self._plain
            endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port)
            endpoint.connect(Factory.forProtocol(_Pipe)).addCallbacks(self._through, self._refused)

    def _through(self, peer: _Pipe) -> None:
        peer.peer, self.peer = self, peer
        if self._head.startswith(b"CONNECT "):
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._head = self._head.partition(b"\r\n\r\n")[2]
        peer.transport.write(self._head)

    def _refused(self, reason: Any) -> None:
        self.transport.loseConnection()


def _host_and_path(request: Any) -> str:
    """``host/path?query``; by its address the site is asked for ``/host/path`` itself."""
    uri = request.uri.decode("latin-1")
    if "://" in uri.partition("?")[0]:
        host, _, path = uri.partition("://")[2].partition("/")
    else:
        host, path = request.getHeader(b"host").decode(), uri.removeprefix("/")
    name = host.partition(":")[0]
    return path if name == "127.0.0.1" else f"{name}/{path}"


def _longest(prefixes: dict[str, Any], path: str) -> str | None:
    return max((prefix for prefix in prefixes if f"{path}/".startswith(f"{prefix}/")), key=len, default=None)


def _fail(request: Any, status: int) -> Any:
    if status == 0:
        return server.NOT_DONE_YET
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain")
    return b"internal host words for nobody else\n"


def _logged_in(request: Any, credentials: str) -> bool:
    return request.getHeader(b"authorization") == b"Basic " + base64.b64encode(credentials.encode())
