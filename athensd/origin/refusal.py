"""What an upstream's refusal means (pure).

The go command knows 404 and 410 ("not here; try the next one") and everything else ("stop").  Upstreams are less
exact: this is the table that keeps our answers in Go's terms.
"""

from __future__ import annotations

from athensd.errors import AthensError, Forbidden, Gone, NotFound, Overloaded, TimedOut, UpstreamFailed

LINES = 6
CHARACTERS = 400


def refusal(status: int, text: str, what: str, host: str, retry_after: str | None = None) -> AthensError:
    """The error for an HTTP ``status`` other than 200 that the upstream ``host`` gave when asked for ``what``.

    ``text`` is its explanation, shown to the user as far as it is one (see ``explanation``).
    """
    said = f": {text}" if text else ""
    if status == 410:
        return Gone(f"{what}: gone, says {host}{said}")
    # 400: we have checked the name, so an upstream that cannot make sense of it has nothing under it.
    if status in {400, 404}:
        return NotFound(f"{what}: not found at {host}{said}")
    if status in {401, 403}:
        return Forbidden(f"{what}: {host} refuses it ({status}){said}")
    if status == 429 or (status == 503 and retry_after):
        return Overloaded(f"{what}: {host} is busy ({status}){said}", _seconds(retry_after))
    if status in {408, 504}:
        return TimedOut(f"{what}: {host} took too long ({status}){said}")
    return UpstreamFailed(f"{what}: {host} failed ({status}){said}")


def explanation(content_type: str, body: bytes) -> str:
    """The part of a refusal's body that may be shown: plain text, a few printable lines; else nothing.

    The go command draws the same line for what it shows (``cmd/go/internal/web``).
    """
    if content_type.partition(";")[0].strip().lower() != "text/plain":
        return ""
    lines = body.decode("utf-8", "replace").strip().split("\n")[:LINES]
    shown = "\n".join(line.strip() for line in lines)[:CHARACTERS]
    return shown if all(character.isprintable() or character == "\n" for character in shown) else ""


def _seconds(retry_after: str | None) -> int:
    """``Retry-After`` in seconds, between 1 and an hour; 5 when it is a date or nothing."""
    digits = (retry_after or "").strip()
    return min(max(int(digits[:9]), 1), 3600) if digits.isdecimal() else 5
