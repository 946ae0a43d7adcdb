"""The keys of the configuration file: what each is called in the file and in the environment, and what it may hold.

A new setting is one entry in a section here and one field, with its default, in ``athensd.config.settings``; what is
written of it in ``etc/athens.toml`` and ``docs/configuration.md`` is made of these by ``script/reference``.  Keys and
variables keep the names Athens gave them.
"""

from __future__ import annotations

from athensd.config.backend_keys import BACKENDS
from athensd.config.module_keys import MODULES
from athensd.config.server_keys import SERVER

GENERAL = [*MODULES, *SERVER]
"""What holds whatever is chosen."""

KEYS = [key for section in (*GENERAL, *BACKENDS) for key in section.keys]
