"""What is written of the settings for people: the sample file, tables of the documentation, one key alone.

All of it is made of the sections in ``keys``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from textwrap import wrap

from athensd.config.backend_keys import BACKENDS
from athensd.config.key import Key, Section
from athensd.config.keys import GENERAL, KEYS
from athensd.config.report import default

WIDTH = 118
SAMPLED = {"StorageType": '"disk"', "Storage.Disk.RootPath": '"var/storage"'}
"""What the sample says otherwise than the defaults: it is to be tried in a checkout, and to remember."""
_MADE = re.compile(r"(<!-- script/reference: ([\w ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
"""What of a page is made: all that is general, all backends, or the section with this title."""
_HEAD = """\
# The settings of athensd, as script/server uses them.  A key that is left out has its default.
# The environment variable named beside a key overrides it.  More in docs/configuration.md.
"""


def sample() -> str:
    """``etc/athens.toml``: each setting with what it means, its variable and its default."""
    return _HEAD + "".join(_sampled(section) for section in [*GENERAL, *BACKENDS])


def page(text: str) -> str:
    """The text of a page of ``docs/`` with its tables of settings made anew.  Raises ``KeyError`` for one of none."""
    tables = {section.title: f"{_table(section)}\n" for section in [*GENERAL, *BACKENDS]}
    tables |= {"general": "".join(map(_tabled, GENERAL)), "backends": "".join(map(_tabled, BACKENDS))}
    return _MADE.sub(lambda made: f"{made[1]}\n{tables[made[2]]}{made[3]}", text)


def explained(name: str) -> str:
    """What the sample would say, by their defaults, of the keys that have this name or this variable.

    Raises ``LookupError`` with the nearest one there is.
    """
    named: dict[str, list[Key]] = {}
    for key in KEYS:
        for each in dict.fromkeys(map(str.lower, [key.path, *key.variables])):
            named.setdefault(each, []).append(key)
    if name.lower() not in named:
        [nearest] = get_close_matches(name.lower(), named, n=1, cutoff=0)
        raise LookupError(f"{name} is no setting; the nearest one is {named[nearest][0].path}")
    return "\n".join(map(_alone, named[name.lower()]))


def plain(markdown: str) -> str:
    """A text without its marks, for a reader of the whole repository."""
    without_links = re.sub(r"\[([^]]+)\]\(([\w.-]+)(?:#[\w-]+)?\)", _led, markdown)
    return without_links.replace("`", "")


def _led(link: re.Match[str]) -> str:
    text, target = link.groups()
    return f"docs/{target}" if text == target else f"{text} (docs/{target})"


def _sampled(section: Section) -> str:
    seen = ""
    parts = ["\n\n", *_comment(f"{section.title}.", plain(section.about))]
    for key in _once(section.keys):
        table, _, _ = key.path.rpartition(".")
        parts += [f"\n[{table}]\n"] if table != seen else []
        seen = table
        parts += ["\n", _entry(key, SAMPLED.get(key.path))]
    return "".join(parts)


def _alone(key: Key) -> str:
    table = key.path.rpartition(".")[0]
    return f"[{table}]\n{_entry(key)}" if table else _entry(key)


def _entry(key: Key, value: str | None = None) -> str:
    """A key's comment and line, in its table."""
    comment = "".join(_comment(plain(key.meaning), f"{plain(_variable(key))}, default {default(key)}."))
    return f"{comment}{key.path.rpartition('.')[2]} = {default(key) if value is None else value}\n"


def _once(keys: Iterable[Key]) -> Iterator[Key]:
    """Those that mean something, and of two names of the same the first."""
    seen = {""}
    for key in keys:
        if key.field not in seen:
            seen.add(key.field)
            yield key


def _comment(text: str, last: str) -> Iterator[str]:
    """Lines of a comment, with ``last`` behind the text, or on a line of its own."""
    lines = wrap(text.replace(". ", ".  "), WIDTH, break_on_hyphens=False)
    if last and len(lines[-1]) + len(last) + 2 <= WIDTH:
        lines[-1] += f"  {last}"
    elif last:
        lines.append(last)
    return (f"# {line}\n" for line in lines)


def _tabled(section: Section) -> str:
    about = f"{section.about}\n\n" if section.about else ""
    return f"### {section.title}\n\n{about}{_table(section)}\n"


def _table(section: Section) -> str:
    rows = (f"| `{key.path}`<br>{_variable(key)} | `{default(key)}` | {key.meaning} |\n" for key in section.keys)
    return f"| TOML, environment | Default | Meaning |\n|---|---|---|\n{''.join(rows)}"


def _variable(key: Key) -> str:
    return f"`{key.env}`, else `{key.also}`" if key.also else f"`{key.env}`"
