"""What happens when a module is not stored: the setting ``DownloadMode``, and the HCL file that it may name.

The file is that of Athens (``docs/policy.md`` has it, and where ours differs).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from urllib.parse import quote, unquote, urlsplit

from attrs import define, field, frozen

from athensd.gomod.path import quoted
from athensd.gomod.pattern import matches
from athensd.policy.hcl import Statement, parse_hcl

# Of Go's patterns those that a module path can match.  No path matches one that is malformed or has other characters.
_PATTERN_ELEMENT = re.compile(r"(?:[\w.~*?-]|\\[\w.~-]|\[\^?(?:[\w.~](?:-[\w.~])?)+\])+", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!-~]+")


class DownloadMode(Enum):
    """What happens when a module is not stored, by its word in settings and files."""

    SYNC = "sync"
    ASYNC = "async"
    REDIRECT = "redirect"
    ASYNC_REDIRECT = "async_redirect"
    NONE = "none"

    @property
    def redirects(self) -> bool:
        """Whether the client is sent elsewhere."""
        return self in {DownloadMode.REDIRECT, DownloadMode.ASYNC_REDIRECT}

    @property
    def fetches_at_once(self) -> bool:
        """Whether the client gets what is not stored, from here."""
        return self is DownloadMode.SYNC


_MODES = {mode.value: mode for mode in DownloadMode}


@frozen
class Rule:
    """A mode, and the http or https URL that redirecting leads to: never empty where the mode redirects.

    ``where`` it stands is a file with the line; empty for the setting itself.
    """

    mode: DownloadMode
    url: str = ""
    where: str = field(default="", eq=False)


@frozen
class _Block:
    """The rule for the modules that match a pattern; where it has no URL, that of others holds."""

    pattern: str
    rule: Rule


@frozen
class DownloadModes:
    """A rule for all modules, and blocks that go before it in their order."""

    default: Rule
    blocks: tuple[_Block, ...] = ()

    def of(self, path: str) -> Rule:
        """The mode of the first block that matches the module path, and the first URL in any that does."""
        rules = [*(block.rule for block in self.blocks if matches(block.pattern, path)), self.default]
        return Rule(rules[0].mode, next((rule.url for rule in rules if rule.url), ""), rules[0].where)


def parse_download_mode(setting: str, url: str, read: Callable[[str], str]) -> DownloadModes:
    """The modes that the setting ``DownloadMode`` means: a word, ``file:PATH``, or ``custom:`` and a file in base64.

    ``url`` is the setting ``DownloadURL``, which holds where a file has no other.  ``read`` gives the text of a file.
    Raises ``ValueError`` with one line for each problem, naming the setting, or the file with the line and the key.
    """
    kind, _, rest = setting.partition(":")
    if kind == "file":
        return _parse_file(_read(rest, read), url, rest)
    if kind == "custom":
        return _parse_file(_decoded(rest), url, "DownloadMode custom")
    fault = _mode_fault(setting)
    if fault:
        raise ValueError(f"DownloadMode {fault}, file:PATH, custom:BASE64")
    rule = Rule(_MODES[setting], url)
    if rule.mode.redirects and (fault := _url_fault(url)):
        raise ValueError(f"DownloadURL {fault}, since DownloadMode is {setting}")
    return DownloadModes(rule)


def redirect_target(url: str, request_path: str) -> str:
    """Where redirecting leads: the path of a request, percent-encoded or not, under the URL of a rule.

    The ``!`` before a capital becomes ``%21``, as the go command writes it itself.
    """
    return f"{url.rstrip('/')}/{quote(unquote(request_path).lstrip('/'), safe='/$&+,:;=@')}"


def _read(path: str, read: Callable[[str], str]) -> str:
    try:
        return read(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8") from error


def _decoded(rest: str) -> str:
    try:
        return b64decode("".join(rest.split()), validate=True).decode()  # `base64` breaks lines.
    except ValueError as error:
        raise ValueError("DownloadMode custom: needs the text of a file in base64 behind it") from error


def _parse_file(text: str, url: str, name: str) -> DownloadModes:
    statements = parse_hcl(text, name)
    blocks = [each for each in statements if _is_download(each)]
    reader = _Reader(name)
    outside = [each for each in statements if not _is_download(each)]
    own = reader.rule(outside, next((each.line for each in outside if each.key == "mode"), 1), "", url)
    default = Rule(own.mode, own.url or url, own.where)
    if url and not own.url and (fault := _url_fault(url)):
        reader.problems.append(f"DownloadURL {fault}, since {name} has no downloadURL")
    parsed = tuple(reader.block(block, default.url) for block in blocks)
    if reader.problems:
        raise ValueError("\n".join(reader.problems))
    return DownloadModes(default, parsed)


def _is_download(statement: Statement) -> bool:
    return statement.key == "download" and statement.body is not None


@define
class _Reader:
    """Makes rules of the statements in a file, and collects what is wrong with them."""

    name: str
    problems: list[str] = field(factory=list)

    def block(self, block: Statement, url: str) -> _Block:
        """The block; ``url`` is what it may have instead of its own."""
        pattern = block.values[0] if len(block.values) == 1 else None
        label = f"download {quoted(pattern)} " if pattern else "download "
        fault = _pattern_fault(pattern) if pattern else 'needs one pattern in quotes, as in download "github.com/x/*" {'
        if fault:
            self._blame(block.line, label + fault)
        return _Block(pattern or "", self.rule(block.body or (), block.line, label, url))

    def rule(self, statements: Sequence[Statement], line: int, label: str, url: str) -> Rule:
        """The rule in the statements of a block, or in those outside of all."""
        given: dict[str, str | None] = {}
        for each in statements:
            fault = "is there twice" if each.key in given else _fault(each)
            if fault:
                self._blame(each.line, f"{label}{each.key} {fault}")
            given[each.key] = each.values[0] if each.values else None
        if "mode" not in given:
            self._blame(line, f"{label}mode is missing: one of {', '.join(_MODES)}")
        mode = _MODES.get(given.get("mode") or "", DownloadMode.NONE)
        rule = Rule(mode, given.get("downloadURL") or "", f"{self.name}:{line}")
        if rule.mode.redirects and not (rule.url or url):
            self._blame(line, f"{label}downloadURL is missing, since its mode is {rule.mode.value}")
        return rule

    def _blame(self, line: int, what: str) -> None:
        self.problems.append(f"{self.name}:{line}: {what}")


def _fault(statement: Statement) -> str:
    """What is wrong with a statement by itself; empty if nothing is."""
    check = _CHECKS.get(statement.key)
    if check is None or statement.body is not None:
        return "is unknown: a file has mode, downloadURL and download blocks, a block has mode and downloadURL"
    [value] = statement.values
    return "must be a string in quotes, without ${}" if value is None else check(value)


def _mode_fault(word: str) -> str:
    return "" if word in _MODES else f"{quoted(word)} is none of {', '.join(_MODES)}"


def _url_fault(url: str) -> str:
    """Why clients cannot be sent there; empty if they can.  It never quotes the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # Reading the port checks it.
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"http", "https"} or not host or not _URL_CHARACTERS.fullmatch(url):
        return "must be a URL as in https://proxy.example.com/go"
    if "@" in parts.netloc:
        return "must be without user and password, as every client sees it"
    return "must end with its path, before ? and #" if "?" in url or "#" in url else ""


def _pattern_fault(pattern: str) -> str:
    """Why the pattern can match no module path; empty if it may."""
    elements = pattern.removesuffix("/").split("/")
    if all(_PATTERN_ELEMENT.fullmatch(element) and element.strip(".") for element in elements):
        return ""
    return "matches no module: a pattern is the beginning of a path as in go.mod, perhaps with *, ? or [a-z]"


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "mode": _mode_fault,
    "downloadURL": lambda url: _url_fault(url) if url else "",
}
