"""The environment in which the go command runs, built from nothing.

A fetch must not depend on what happens to be set where the daemon was started (GOFLAGS, GIT_DIR, a language ...), yet
the operator's own access to private hosts must work as it does for ``go get``: so HOME stays the operator's, and
proxies, certificates, ssh and the settings of Go about private modules are handed on by name.  Where the settings of
the daemon name other credentials, HOME is a directory of links to all that is in the operator's, but for these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

PASSED_ON = (
    *("PATH", "HOME", "USER", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "GOROOT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_PROXY_SSL_CAINFO"),
    *("GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_NO_VERIFY"),
    *("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "SVN_SSH", "BRZ_SSH", "GIT_ASKPASS"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_ALLOW_PROTOCOL"),
    *("NETRC", "HGRCPATH"),
    *("GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH"),
)

# What no setting changes: a fetch is direct, verified by its caller, and leaves nothing outside its directory.
OURS = ("GOENV", "GOPROXY", "GOSUMDB", "GOMODCACHE", "GOPATH")

GIT_SETTINGS = (
    # Packs are moved in whole at the end of a fetch, so a killed fetch leaves no half-unpacked objects behind.
    ("fetch.unpackLimit", "1"),
    # Maintenance would run in the background, outside the process group that a time-out kills.
    ("maintenance.auto", "false"),
    ("gc.auto", "0"),
    # A smudge filter replaces the files that `git archive` packs, and so the module's hash.
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
)


@frozen
class Access:
    """What the settings of the daemon do about credentials.

    The variables in ``environment`` have these values in any case, those of the host in ``not_passed_on`` are left out,
    and ``git`` has settings of git that come after all others.
    """

    environment: Mapping[str, str] = field(factory=dict)
    not_passed_on: Collection[str] = ()
    git: Sequence[tuple[str, str]] = ()


AS_ON_HOST = Access()


def go_environment(
    host: Mapping[str, str], settings: Mapping[str, str], work: Path, access: Access = AS_ON_HOST
) -> dict[str, str]:
    """The whole environment of one go command.

    ``host`` is the daemon's own environment, of which only known names are handed on; ``settings``
    (``GoBinaryEnvVars``) wins over it and over the defaults below, but not over ``OURS``.  ``work`` is an absolute
    directory for this one command, laid out by ``lay_out``.
    """
    given = {name: host[name] for name in PASSED_ON if host.get(name) and name not in access.not_passed_on}
    given |= dict(_git_list(host)) | dict(settings)
    environment = _defaults(work, insecure=bool(given.get("GOINSECURE"))) | given
    if "GIT_SSH" not in given:
        # This wins over a core.sshCommand in ~/.gitconfig: who has one must set GIT_SSH_COMMAND as well.
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10")
    environment["GOFLAGS"] = f"{settings.get('GOFLAGS', '')} -modcacherw".strip()
    environment |= _git_settings(given, [*GIT_SETTINGS, *access.git])
    return environment | dict(access.environment) | {name: _ours(work)[name] for name in OURS}


def lay_out(work: Path) -> None:
    """Make the directories that ``go_environment`` names inside ``work``."""
    work.mkdir(exist_ok=True)
    for name in ("tmp", "empty", "mod", "mod/cache"):
        (work / name).mkdir()


def _ours(work: Path) -> dict[str, str]:
    return {
        "GOENV": "off",
        "GOPROXY": "direct",
        "GOSUMDB": "off",
        "GOMODCACHE": str(work / "mod"),
        "GOPATH": str(work / "gopath"),
    }


def _defaults(work: Path, insecure: bool) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TMPDIR": str(work / "tmp"),
        "GOCACHE": str(work / "build"),
        "LC_ALL": "C",
        "GOWORK": "off",
        "GO111MODULE": "on",
        # A newer toolchain is not fetched behind the operator's back.
        "GOTOOLCHAIN": "local",
        "GIT_TERMINAL_PROMPT": "0",
        "GCM_INTERACTIVE": "never",
        "GIT_TEMPLATE_DIR": str(work / "empty"),
        # A module's page may name any URL: no file://, git:// or ext:: unless the operator asks for it.
        "GIT_ALLOW_PROTOCOL": "https:ssh:http:git" if insecure else "https:ssh",
        # A host that sends less than a byte a second for so long has failed.
        "GIT_HTTP_LOW_SPEED_LIMIT": "1",
        "GIT_HTTP_LOW_SPEED_TIME": "30",
        "HGPLAIN": "1",
        # fossil clones for nobody without a name.
        "USER": "athensd",
    }


def _count(given: Mapping[str, str]) -> int:
    """The length of git's list of settings in the environment; a list that git would refuse counts as none."""
    count = given.get("GIT_CONFIG_COUNT", "")
    return int(count) if count.isdecimal() else 0


def _git_list(host: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if count := _count(host):
        yield "GIT_CONFIG_COUNT", str(count)
    for i in range(count):
        for name in (f"GIT_CONFIG_KEY_{i}", f"GIT_CONFIG_VALUE_{i}"):
            yield name, host.get(name, "")


def _git_settings(given: Mapping[str, str], ours: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Our settings, appended to the given list."""
    start = _count(given)
    environment = {"GIT_CONFIG_COUNT": str(start + len(ours))}
    for i, (key, value) in enumerate(ours, start):
        environment |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return environment
