"""The operator's own home page: HomeTemplatePath, as in Athens.

Of the language of Go's ``html/template`` there is what Athens' own page uses: ``{{ .Host }}``,
``{{ .NoSumPatterns }}``, ``{{ if .NoSumPatterns }}``, ``{{ else }}``, ``{{ end }}`` and comments.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from attrs import frozen

VARIABLES = ("Host", "NoSumPatterns")
log = structlog.get_logger()
_ACTION = re.compile(r"(?:\s+(?=\{\{- ))?\{\{(?:- )?(.*?)(?: -\}\}\s*|\}\})", re.DOTALL)
_COMMENT = re.compile(r"/\*.*\*/", re.DOTALL)


@frozen
class _Part:
    """Text or a variable, shown where all ``conditions`` hold: pairs of a variable and whether it is to be set."""

    text: str
    variable: str
    conditions: tuple[tuple[str, bool], ...]


class Template:
    """A page with places for variables.  Raises ``ValueError``, with the line, for what is not in this language."""

    def __init__(self, text: str) -> None:
        self._parts = _parse(text)

    def filled(self, values: Mapping[str, str]) -> str:
        """The page with these values, escaped for HTML."""
        return "".join(
            html.escape(values[part.variable]) if part.variable else part.text
            for part in self._parts
            if all(bool(values[name]) is wanted for name, wanted in part.conditions)
        )


def _parse(text: str) -> Sequence[_Part]:
    parts: list[_Part] = []
    conditions: list[tuple[str, bool]] = []
    at = 0
    for action in _ACTION.finditer(text):
        parts.append(_Part(text[at : action.start()], "", tuple(conditions)))
        at = action.end()
        words = action[1].split()
        match words:
            case [name] if name[1:] in VARIABLES and name[0] == ".":
                parts.append(_Part("", name[1:], tuple(conditions)))
            case ["if", name] if name[1:] in VARIABLES and name[0] == ".":
                conditions.append((name[1:], True))
            case ["else"] if conditions and conditions[-1][1]:
                conditions[-1] = conditions[-1][0], False
            case ["end"] if conditions:
                conditions.pop()
            case _ if not _COMMENT.fullmatch(action[1].strip()):
                line = text.count("\n", 0, action.start(1)) + 1
                raise ValueError(
                    f"line {line}: {{{{ {' '.join(words)} }}}} is not known here; "
                    "there are .Host, .NoSumPatterns, and if, else and end with these"
                )
    if conditions or "{{" in text[at:]:
        raise ValueError("its last line: an {{ if }} or {{ has no end")
    return [*parts, _Part(text[at:], "", ())]


class OwnHome:
    """The page in ``file``, read again when that has changed; none while there is no such file, as in Athens.

    Raises ``ValueError`` when there is one that cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._template: Template | None = None
        self._read()

    def page(self, values: Mapping[str, str]) -> str | None:
        """The page with these values; a file that has become unusable leaves the last one."""
        try:
            self._read()
        except ValueError as error:
            log.error("the home page stays as it was", problem=str(error))
        return self._template.filled(values) if self._template else None

    def _read(self) -> None:
        try:
            stat = self._file.stat()
            seen = stat.st_mtime_ns, stat.st_size
            if seen == self._seen:
                return
            self._seen = seen
            self._template = Template(self._file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            self._seen = self._template = None
        except UnicodeDecodeError as error:
            raise ValueError(f"the home page in {self._file} is not UTF-8 text") from error
        except OSError as error:
            raise ValueError(f"the home page in {self._file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"the home page in {self._file}, {error}") from error
