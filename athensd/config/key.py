"""A key of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from athensd.config.kinds import TEXT, Kind, as_it_is


@frozen
class Key:
    """A key of the file and the environment variable that overrides it.

    ``check`` takes a value of the right kind and gives what ``Config`` holds in ``field`` (its dotted path; empty where
    ``Config`` has nothing of it).  ``also`` is a second variable.  An empty variable is an empty value, as in Athens,
    unless ``empty_counts`` is false: then it is as good as none.  ``meaning`` is told to people, in sentences with
    Markdown; links in it are those of a page in ``docs/``.
    """

    path: str
    env: str
    kind: Kind = TEXT
    check: Callable[[Any], Any] = as_it_is
    field: str = ""
    also: str = ""
    empty_counts: bool = True
    meaning: str = ""

    def means(self, meaning: str) -> Key:
        """The same key with its ``meaning``."""
        return evolve(self, meaning=meaning)

    @property
    def variables(self) -> list[str]:
        """The names of its variable, best first: envconfig puts a prefix and the names of the tables before it."""
        *tables, _last = self.path.upper().split(".")
        return [name for name in ("_".join(["ATHENS", *tables, self.env]), self.env, self.also) if name]


def _snake(path: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path).lower()


def there(path: str, env: str, kind: Kind = TEXT, check: Callable[[Any], Any] = as_it_is, **rest: Any) -> Key:
    """A setting that ``Config`` holds."""
    return Key(path, env, kind, check, **{"field": _snake(path), **rest})


@frozen
class Section:
    """Keys that belong together, in the order in which they are read, under a ``title``.

    ``about`` is what to know first of all of them, as ``Key.meaning`` is written.
    """

    title: str
    keys: tuple[Key, ...]
    about: str = ""
