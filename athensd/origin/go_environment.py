"""The environment in which the go command runs, built from nothing.

A fetch must not depend on what happens to be set where the daemon was started (GOFLAGS, GIT_DIR, a language ...), yet
the operator's own access to private hosts must work as it does for ``go get``: so HOME stays the operator's, and
proxies, certificates, ssh and the settings of Go about private modules are handed on by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

PASSED_ON = (
    *("PATH", "HOME", "XDG_CONFIG_HOME", "GOROOT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_ALLOW_PROTOCOL"),
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


def go_environment(host: Mapping[str, str], settings: Mapping[str, str], work: Path) -> dict[str, str]:
    """The whole environment of one go command.

    ``host`` is the daemon's own environment, of which only known names are handed on; ``settings``
    (``GoBinaryEnvVars``) wins over it and over the defaults below, but not over ``OURS``.  ``work`` is an absolute
    directory for this one command, laid out by ``lay_out``.
    """
    given = {name: host[name] for name in PASSED_ON if host.get(name)}
    given |= dict(_git_list(host)) | dict(settings)
    environment = _defaults(work, insecure=bool(given.get("GOINSECURE"))) | given
    if "GIT_SSH" not in given:
        # This wins over a core.sshCommand in ~/.gitconfig: who has one must set GIT_SSH_COMMAND as well.
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10")
    environment["GOFLAGS"] = f"{settings.get('GOFLAGS', '')} -modcacherw".strip()
    environment |= _git_settings(given)
    return environment | {name: _ours(work)[name] for name in OURS}


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


def _git_settings(given: Mapping[str, str]) -> dict[str, str]:
    """``GIT_SETTINGS``, appended to the given list."""
    start = _count(given)
    environment = {"GIT_CONFIG_COUNT": str(start + len(GIT_SETTINGS))}
    for i, (key, value) in enumerate(GIT_SETTINGS, start):
        environment |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return environment
