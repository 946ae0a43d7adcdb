"""The words for what can go wrong.

Every room below the web raises one of these; ``athensd.web.reply`` alone turns them into HTTP.  The text of an error
is written for the person at the ``go`` command: what was asked, what happened, what to do.  It never holds a
credential, a path of this machine or an internal server's answer.
"""

from __future__ import annotations


class AthensError(Exception):
    """The root of the vocabulary; raised only through its children."""


class InvalidRequest(AthensError):
    """The request itself makes no sense: a parameter that is no number, a date that is none."""


class NotFound(AthensError):
    """It is certain that there is no such module, version or file.

    ``cached`` says that this was remembered and not found out just now, and then ``holds`` for how many seconds more it
    is believed without asking.
    """

    cached = False
    holds = 0.0


class InvalidPath(NotFound):
    """This text can name no module and no version, so nothing can be there (Go: ``malformed module path``)."""


class Gone(NotFound):
    """It was there once, and its origin says that it will not come back (HTTP 410)."""


class Forbidden(AthensError):
    """It may exist, but may not be had from here; asking another server is not the answer."""


class NotLoggedIn(AthensError):
    """It may be had only by somebody who says who he is, and this was nobody."""


class Redirected(AthensError):
    """It is to be had elsewhere: at ``url``, for now (``status`` 301, 303 or 307)."""

    def __init__(self, url: str, status: int = 307) -> None:
        super().__init__(f"see {url}")
        self.url = url
        self.status = status


class Conflict(AthensError):
    """Other bytes are stored under this name already.  The first ones stay."""


class VerificationFailed(AthensError):
    """What an origin sent is not what it says it is; nothing of it was kept."""


class Mismatch(VerificationFailed):
    """What an origin sent is not what was given before, to everybody as the checksum database says, or from here."""


class UpstreamFailed(AthensError):
    """It could not be found out: an upstream, a version control host or a tool failed."""


class TimedOut(UpstreamFailed):
    """It could not be found out in the time allowed."""


class Overloaded(AthensError):
    """Too much is going on, here or upstream; it is worth asking again in ``retry_after`` seconds."""

    def __init__(self, text: str, retry_after: int = 5) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class TooManyFailures(Overloaded):
    """This client has guessed too often."""


class StorageFailed(AthensError):
    """The datastore could not be read or written: not the same as "not there"."""


class NoRoom(StorageFailed):
    """The datastore holds as much as it may, and nothing in it may go; what was fetched can still be given away."""


class Unsupported(AthensError):
    """This datastore or setting cannot do what was asked."""
