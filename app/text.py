"""Text of notes, models and logs as the pages show it: never compiled, never markup, cut where there is too much of it."""

import time

from app.diff import Piece
from launcher.markup import Markup, join, tag

LONGEST = 100_000
"""Characters of one text that a page shows; the record's download has the rest."""


def cut(text: str, most: int) -> str:
    """On one line, and no longer than `most` characters."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…"


def block(text: str | None, missing: str = "none") -> Markup:
    """A text as it was written, in a box that no right-to-left mark leaves."""
    if text is None:
        return tag("p", missing, class_="empty")
    return _boxed([Piece(text, False)], "mark")


def compared(pieces: tuple[Piece, ...], kind: str) -> Markup:
    """One side of a word diff: what stands on this side alone is marked, as `kind` "del" or "ins"."""
    return _boxed(pieces, kind)


def _boxed(pieces: list[Piece] | tuple[Piece, ...], kind: str) -> Markup:
    left, shown = LONGEST, []
    for text, changed in pieces:
        part = text[:left]
        left -= len(part)
        shown.append(tag(kind, part) if changed and part else part)
    hidden = sum(len(piece.text) for piece in pieces) - LONGEST
    more = tag("p", f"{hidden:,} more characters: download the record to read them", class_="more")
    box = tag("div", *shown, class_="text", dir="auto", tabindex=0)
    return join(box, more) if hidden > 0 else box


def moment(seconds: float | None) -> str:
    """A point in time on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds is not None else "-"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
