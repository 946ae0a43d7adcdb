"""Answers that can be given again as they are: head, body, and what is said of them in the log.

A route decides every answer.  One that would be the same for whoever asks next is kept here for a while, and the fast
lane (``hot_channel``) gives it again.  What a route has not answered is not in here.
"""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import BinaryIO

from attrs import field, frozen

from athensd.web.access import Alike, in_common

ID, DATE, AGE = b"%(id)b", b"%(date)b", b"%(age)b"
_DIFFERS = {b"Athens-Request-ID": ID, b"Date": DATE, b"Age": AGE}
"""The headers that are others each time."""

OVERHEAD = 2000
"""What an answer takes beside its head and body, in bytes; measured."""
MOST_FILES = 200


@frozen(eq=False)
class Rendered:
    """One answer, until the time ``until``.

    ``head``, and ``body`` where it ``names`` the request, have room for what differs.  A body that is a ``file`` has
    ``length`` bytes.  ``since`` is when the age of a changeable answer was 0, and ``facts`` are those of the request.
    """

    head: bytes
    body: bytes
    facts: Mapping[str, object]
    until: float
    since: float | None = None
    names: bool = False
    file: BinaryIO | None = None
    length: int = 0
    alike: Alike = field(init=False)

    @alike.default
    def _alike(self) -> Alike:
        return Alike(in_common(self.facts, "GET"))


def render_head(status: bytes, headers: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    """The head of an answer, with room for what differs each time; ``%`` formatting fills it."""
    lines = [b"HTTP/1.1 " + _literal(status)]
    for name, values in headers:
        lines += [name + b": " + _DIFFERS.get(name, _literal(value)) for value in values]
    return b"\r\n".join([*lines, b"", b""])


def render_body(body: bytes, request_id: bytes) -> bytes:
    """A body that ends with the id of its request, with room for another."""
    text, found, end = body.rpartition(request_id)
    return _literal(text) + ID + _literal(end) if found else _literal(body)


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")


_key = os.urandom(32)


def as_asked(path: bytes, login: bytes | None) -> bytes:
    """A path and, if there is one, the header ``Authorization``, of which nothing shows; with it, it is no path."""
    return path if login is None else b"%b %b" % (path, blake2b(login, key=_key, digest_size=16).digest())


class RenderedAnswers:
    """Answers by the path as it was sent and the login beside it (``as_asked``); those asked for last.

    They take at most ``room`` bytes.  ``now`` gives seconds.
    """

    def __init__(self, room: int, now: Callable[[], float]) -> None:
        self._room = room
        self.now = now
        self._answers: OrderedDict[bytes, Rendered] = OrderedDict()
        self._paths: defaultdict[str, set[bytes]] = defaultdict(set)
        self._files: OrderedDict[bytes, None] = OrderedDict()
        self.bytes = 0
        self.changes = 0

    def get(self, path: bytes) -> Rendered | None:
        """The answer for a path, if there is one that still holds."""
        answer = self._answers.get(path)
        if answer is None:
            return None
        if answer.until <= self.now():
            self._drop(path)
            return None
        self._answers.move_to_end(path)
        return answer

    def keep(self, path: bytes, answer: Rendered) -> None:
        """From now on this is the answer."""
        if path in self._answers:
            self._drop(path)
        self._answers[path] = answer
        self._paths[str(answer.facts["module"])].add(path)
        self.bytes += _size(answer)
        if answer.file is not None:
            self._files[path] = None
            if len(self._files) > MOST_FILES:
                self._drop(next(iter(self._files)))
        while self.bytes > self._room:
            self._drop(next(iter(self._answers)))

    def forget(self, module: str) -> None:
        """Something about this module has changed; what was being answered until now is not to be kept either."""
        self.changes += 1
        for path in list(self._paths.get(module, ())):
            self._drop(path)

    def clear(self) -> None:
        """The rules have changed."""
        self.changes += 1
        for path in list(self._answers):
            self._drop(path)

    def _drop(self, path: bytes) -> None:
        answer = self._answers.pop(path)
        self.bytes -= _size(answer)
        self._files.pop(path, None)  # whoever sends the file still holds it
        module = str(answer.facts["module"])
        self._paths[module].discard(path)
        if not self._paths[module]:
            del self._paths[module]


def _size(answer: Rendered) -> int:
    return len(answer.head) + len(answer.body) + OVERHEAD
