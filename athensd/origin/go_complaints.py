"""What a failed go command means.

go prints no code: it knows "not there" from "could not look", but says so in words only.  So the words are sorted
here.  Names, URLs and what a host said can spell anything (a module may be called ``x/not-found``), hence they are cut
out before a word is matched.  A module that was *read* and lacks the version is a certain answer, which go shows by an
``Origin`` in the failing answer.

What is unknown counts as a failure: to call a thing "not there" without knowing hides it until the answer expires.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from attrs import frozen

from athensd.errors import AthensError, Forbidden, NotFound, Overloaded, UpstreamFailed, VerificationFailed


@frozen
class Rule:
    """When ``pattern`` is found, raise ``word`` with ``text``, and with go's own words too if they are for the user."""

    pattern: re.Pattern[str]
    word: type[AthensError]
    text: str
    quote: bool = False


def _rule(pattern: str, word: type[AthensError], text: str, *, quote: bool = False) -> Rule:
    return Rule(re.compile(pattern, re.MULTILINE), word, text, quote)


READ = _rule(
    r"unknown revision|no matching versions|invalid version(?!: (?:git|hg|svn|bzr|fossil)\b)",
    NotFound,
    "its repository has no such version",
    quote=True,
)

# The first that fits wins, so what could be mistaken for something below stands above it.
RULES = (
    _rule(
        r"checksum mismatch|SECURITY ERROR",
        VerificationFailed,
        "the bytes are not those that the checksum database or a go.sum knows",
    ),
    _rule(
        r"verifying (?:go\.mod|module)|/lookup/",
        UpstreamFailed,
        "the checksum database could not be asked",
    ),
    _rule(
        r"requires go >= |switching to go",
        UpstreamFailed,
        "the go command of this proxy is too old for it; the operator of the proxy can install a newer one",
        quote=True,
    ),
    # Another server is no answer to a rule of the operator, so these are not "not there".
    _rule(
        r"GOVCS disallows|transport '[^']*' not allowed|lookup disabled by",
        Forbidden,
        "this proxy is not allowed to use the version control system or protocol that it is kept in",
        quote=True,
    ),
    # Nobody could fetch these, here or elsewhere.
    _rule(
        r"file scheme disallowed|unknown vcs",
        NotFound,
        "its import page names a repository that cannot be fetched from",
    ),
    _rule(
        r"executable file not found|[Nn]o space left|[Rr]ead-only file system|permission denied$|mkdir /"
        r"|missing \w+ command|cannot run |[Cc]annot allocate|[Tt]oo many open files|[Dd]isk quota"
        r"|resource temporarily unavailable",
        UpstreamFailed,
        "this proxy lacks something that it needs for the fetch: a program, disk space, memory or a permission",
    ),
    # A revision that the host named as a reference and that cannot be found was lost by the clone.
    _rule(
        r"unknown revision refs/|\.lock': File exists|invalid object|cannot read '[0-9a-f]{40}'|bad object"
        r"|not a tree object|unable to read tree|loose object .* corrupt|Another git process|exists with wrong content"
        # Killed while it was made, or removed by somebody else.
        r"|'origin' does not appear to be a git repository|could not lock config file|fatal: not a git repository"
        r"|/cache/vcs/[0-9a-f]{64}: no such file or directory",
        UpstreamFailed,
        "this proxy's copy of its repository was damaged; ask again",
    ),
    # A host that hides a private repository asks for a login as well, so clients must be able to go on elsewhere.
    _rule(
        r"could not read (?:Username|Password)|Authentication failed|Permission denied \(|Host key verification failed"
        r"|No \S+ host key is known|The requested URL returned error: 40[13]|: 40[13] (?:Unauthorized|Forbidden)"
        r"|abort: (?:http )?authorization|Authorization failed|HTTP (?:Error|status) 40[13]",
        NotFound,
        "its host asks for a login: there is no such repository, or it is private and this proxy has no access to it "
        "(set GOPRIVATE to fetch it yourself, or ask the operator of the proxy for access)",
    ),
    _rule(r"returned error: 429|: 429 ", Overloaded, "its host asks for fewer requests; ask again later"),
    _rule(
        r"returned error: 5\d\d|: 5\d\d |Could not resolve (?:host|proxy)|Failed to connect"
        r"|[Cc]onnection (?:refused|reset|timed out|closed)|no such host|i/o timeout|Operation (?:too slow|timed out)"
        r"|TLS|certificate|early EOF|RPC failed|unexpected disconnect|deadline exceeded|[Nn]etwork is unreachable"
        r"|No route to host|proxyconnect|EOF$|hung up|kex_exchange_identification"
        r"|no secure protocol found for repository|cannot connect to host",
        UpstreamFailed,
        "its host could not be reached or failed; ask again later",
    ),
    _rule(
        r"repository '.*' not found|(?<!command )not found$|: (?:404|410) |no go-import meta tags"
        r"|does not appear to be a git repository|HTTP Error (?:404|410)|Not a branch: ",
        NotFound,
        "there is no such module: no repository answers to this path",
    ),
    _rule(
        r"cannot match ",
        NotFound,
        "there is no such version: this query has a meaning only inside a module",
    ),
    # ssh: what the host said was cut out, and this is all that git or hg itself says.
    _rule(
        r"Could not read from remote repository|no suitable response from remote hg",
        NotFound,
        "there is no such repository, or this proxy has no access to it by ssh",
    ),
    _rule(
        r"unknown revision|invalid module version|no matching versions for query|malformed|disallowed version"
        r"|no commits|invalid version: (?!git|hg|svn|bzr|fossil)|cannot use relative path|never use backslash"
        r"|not a valid|can't request explicit version|invalid operation on toolchain module",
        NotFound,
        "there is no such module or version",
        quote=True,
    ),
    # Below the words for a broken transfer, which git ends with these as well.
    _rule(
        r"invalid index-pack output|file too large|SIGXFSZ",
        UpstreamFailed,
        "its history or its zip is a larger file than this proxy makes",
    ),
)

UNKNOWN = _rule("", UpstreamFailed, "the go command failed in a way that this proxy does not know; its log says more")

_DAMAGED = next(rule for rule in RULES if "damaged" in rule.text)
_GOAUTH = re.compile(r"GOAUTH=.*")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")
_URL = re.compile(r"[a-z][a-z+.-]*://[^\s'\"]*[^\s'\":,]")
_COMMAND = re.compile(r"\b(git|hg|svn|bzr|fossil) [^\n]* in /[^\n:]*: exit status")
# hg puts the same sign before the words of ssh, which are not the host's.
_SSH = r"(?! (?:ssh: connect |Host key |\S+@\S+: Permission denied \())"
_REMOTE = re.compile(rf"^\s*(?:remote:{_SSH}|fatal: remote error:|ERROR:).*$", re.MULTILINE)
# What a quotation must not hold: a place on this machine or on the network, or anything that is no plain text.
_UNSAFE = re.compile(r"URL|(?:^|[\s'\"(=])/|@\S+:|\b\d+\.\d+\.\d+\.\d+\b|exit status|[^ -~]")


def complaint(text: str, *, path: str, version: str, origin: Mapping[str, Any] | None) -> AthensError:
    """The error for what go said about ``path`` at ``version`` (or a query), with a text that a client may read.

    ``text`` is the ``Error`` of go's answer, or its stderr where there is none; ``origin`` is the ``Origin`` of that
    answer, which is there once go has read the repository.
    """
    said = scrub(text)
    matched = _without_names(said, path, version)
    rule = sort(matched, origin)
    quotation = _quotation(said, path, version) if rule.quote else ""
    return rule.word(f"{path}@{version}: {rule.text}{quotation}")


def sort(matched: str, origin: Mapping[str, Any] | None) -> Rule:
    """The rule that fits text without names."""
    if origin and READ.pattern.search(matched) and not _DAMAGED.pattern.search(matched):
        return READ
    return next((rule for rule in RULES if rule.pattern.search(matched)), UNKNOWN)


def is_damage(text: str, *, path: str, version: str) -> bool:
    """Whether our clone of the repository is at fault, and must be removed before another try can succeed."""
    return _DAMAGED.pattern.search(_without_names(scrub(text), path, version)) is not None


def is_certain(text: str, *, path: str, version: str) -> bool:
    """Whether this is what a repository was found not to have, which is so until the repository changes."""
    return sort(_without_names(scrub(text), path, version), {"URL": "read"}) is READ


def without_credentials(text: str) -> str:
    """``text`` for the log: whole, but for what stands before an ``@`` in a URL, and for the commands in GOAUTH."""
    return _GOAUTH.sub("GOAUTH=***", _CREDENTIALS.sub("***@", text))


def scrub(text: str) -> str:
    """The words of go and of its tools: no URLs, no command lines, nothing that a host said."""
    text = text.partition("\n\tserver response:")[0]
    text = _REMOTE.sub("", text)
    text = _COMMAND.sub(r"\1: exit status", text)
    return _URL.sub("URL", text)


def _without_names(said: str, path: str, version: str) -> str:
    prefixes = list(accumulate(path.split("/"), "{}/{}".format))[::-1]
    for name in (version, *prefixes):
        if name:
            said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "M", said)
    return said


def _quotation(said: str, path: str, version: str) -> str:
    """go's first line in brackets, or nothing when it holds more than its own words and the names that were asked."""
    line = said.strip().split("\n")[0].removeprefix("go: ").removeprefix("module ")
    line = line.removeprefix(path).removeprefix(f"@{version}").lstrip(": ")
    if not line or len(line) > 200 or _UNSAFE.search(line.replace(path, "M")):
        return ""
    return f" ({line})"
