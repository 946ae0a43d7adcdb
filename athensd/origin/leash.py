"""Go commands end with us, even when we are killed and cannot see to it.

A process of a few hundred kilobytes reads from a pipe which groups of processes are alive.  When the pipe ends without
our having said that all of them are over, we are dead, and it ends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol

_SCRIPT = """\
trap '' HUP INT TERM
exec > /dev/null 2>&1
alive=
while read -r sign group; do
    left=
    for each in $alive; do [ "$each" = "$group" ] || left="$left $each"; done
    alive=$left
    [ "$sign" = + ] && alive="$alive $group"
done
[ "$alive" ] || exit 0
for each in $alive; do kill -s TERM -- "-$each"; done
sleep 2
for each in $alive; do kill -s KILL -- "-$each"; done
"""


class Leash(ProcessProtocol):
    """Holds process groups."""

    def __init__(self, reactor: IReactorProcess, launcher: Sequence[str]) -> None:
        """``launcher`` are words before a command that make it lead a session: what kills us must not reach it."""
        self._reactor = reactor
        self._launcher = launcher
        self._running = False

    def start(self) -> None:
        """Be there, before the first group.  Raises ``OSError`` when that cannot be had."""
        if not self._running:
            argv = [*self._launcher, "/bin/sh", "-c", _SCRIPT]
            self._reactor.spawnProcess(self, argv[0], argv, env={"PATH": "/usr/local/bin:/usr/bin:/bin"})
            self._running = True

    def hold(self, group: int) -> None:
        """From now on this group ends when we do."""
        self._say(f"+ {group}\n")

    def let_go(self, group: int) -> None:
        """The group is over."""
        self._say(f"- {group}\n")

    def stop(self) -> None:
        """Nothing is held any more."""
        if self._running:
            self._running = False
            transport: Any = self.transport
            transport.closeStdin()

    def _say(self, line: str) -> None:
        if self._running:
            transport: Any = self.transport
            transport.write(line.encode())

    def processExited(self, reason: Any) -> None:
        self._running = False
