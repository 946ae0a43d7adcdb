"""Wiring of ``athensd warm``: a running daemon as its clients see it."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from attrs import field, frozen
from treq.client import HTTPClient

from athensd.cli.progress import Progress
from athensd.config.kinds import web_address
from athensd.config.settings import Config
from athensd.errors import AthensError, Forbidden, NotFound, NotLoggedIn, Overloaded, UpstreamFailed
from athensd.fetching import outgoing
from athensd.origin.transfer import split_credentials
from athensd.startup import Unusable, read_configuration
from athensd.streams import exchange, pieces, plain_client, read_bounded
from athensd.upkeep.crowd import crowd, each_of
from athensd.upkeep.tally import Tally
from athensd.upkeep.warming import Wanted, Warmer, is_go_release, one_wanted, read_wanted, toolchains

WRONG = 1
SAID = 300
"""So many characters of what a server says are repeated."""
IDLE = 60.0
_WORDS: dict[int, type[AthensError]] = {401: NotLoggedIn, 403: Forbidden, 404: NotFound, 410: NotFound, 503: Overloaded}


@frozen
class Server:
    """A daemon at ``url``, asked with this ``Authorization`` (or none); it may think for ``patience`` seconds."""

    client: HTTPClient
    clock: Any
    url: str
    authorization: str = field(repr=False)
    patience: float

    async def ask(self, path: str) -> None:
        """Read a file to its end.  Raises what its status means, with what the server says, or ``StorageFailed``."""
        headers = {"Authorization": self.authorization} if self.authorization else {}
        url = f"{self.url}/{path}"
        response = await exchange(self.client, self.clock, "GET", url, headers, idle=self.patience)
        if response.code == 200:
            async for _ in pieces(response, IDLE, self.clock):
                pass
            return
        body = (await read_bounded(response, SAID, IDLE, self.clock)).decode("utf-8", "replace")
        said = "".join(letter for letter in body.strip().partition("\n")[0] if letter.isprintable())
        if 300 <= response.code < 400:
            said = "it is not fetched there, clients are sent elsewhere"
        raise _WORDS.get(response.code, UpstreamFailed)(f"{said or 'the server says nothing more'} ({response.code})")


async def warm_server(
    reactor: Any,
    *,
    what: Sequence[str],
    platforms: Sequence[str],
    url: str | None,
    config_file: str | None,
    jobs: int,
) -> int:
    """``athensd warm``."""
    wanted = read_words(what, platforms)
    config = Config() if url else read_configuration(config_file)
    address, authorization = _login(url or own_url(config))
    # A version that others are fetched before waits its turn, which is no silence of the network.
    patience = float(config.stash_timeout + config.timeout)
    server = Server(plain_client(outgoing(reactor, config)), reactor, address, authorization, patience)
    await _look(server)
    with Progress("warming", len(wanted)) as progress:
        tally = Tally(progress.say)
        await crowd(each_of(wanted.items()), progress.counted(Warmer(server.ask, tally).warm), jobs)
    click.echo(str(tally))
    return WRONG if tally.faults else 0


def read_words(what: Sequence[str], platforms: Sequence[str]) -> Wanted:
    """What all words mean, a release of Go for these platforms.  Raises ``Unusable`` with all that is wrong."""
    wanted: Wanted = {}
    problems = []
    for word in what:
        try:
            more = _read_word(word, platforms)
        except ValueError as error:
            problems.append(str(error))
        else:
            for version, kinds in more.items():
                wanted[version] = wanted.get(version, frozenset()) | kinds
    if problems:
        raise Unusable("\n".join(problems))
    return wanted


def _read_word(word: str, platforms: Sequence[str]) -> Wanted:
    if is_go_release(word):
        return toolchains(word, platforms)
    return one_wanted(word) if "@" in word and not Path(word).exists() else _read(word)


def _read(name: str) -> Wanted:
    try:
        return read_wanted(name, Path(name).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read: {getattr(error, 'strerror', 'not UTF-8 text')}") from error


async def _look(server: Server) -> None:
    """Raise ``StorageFailed`` or ``Unusable`` if nobody is there: then it is not for each version to say so."""
    response = await exchange(server.client, server.clock, "GET", f"{server.url}/healthz", {})
    await read_bounded(response, SAID, IDLE, server.clock)
    if response.code != 200:
        raise Unusable(f"{server.url} is no athensd: its /healthz answers {response.code}")


def own_url(config: Config) -> str:
    """Where a daemon of these settings is, for whoever is on the same machine.  Raises ``Unusable``."""
    if config.endpoints or config.unix_socket:
        raise Unusable("the settings have Listen or UnixSocket; say by --url where the daemon is")
    host = config.listen.host
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - it is left
        host = "localhost"
    scheme = "https" if config.tls_cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listen.port}{config.path_prefix}"


def _login(url: str) -> tuple[str, str]:
    """An address without login, and the login: its own, or that for its host in the file that go and curl look into."""
    try:
        host = urlsplit(web_address(url)).hostname or ""
        address, authorization = split_credentials(url.rstrip("/"))
    except ValueError as error:
        raise Unusable("--url must be an address as in http://localhost:3000") from error
    if authorization:
        return address, authorization
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc(str(file)).authenticators(host) if file.exists() else None
    except (NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file} cannot be read as a netrc file") from error
    if found is None:
        return address, ""
    user, _, password = found
    return address, f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
