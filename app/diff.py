"""What changed between two notes, word by word."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import takewhile
from typing import NamedTuple

_WORD = re.compile(r"\s+|\w+|[^\w\s]")

LARGEST = 4_000_000
"""Most comparisons of two words, about a second's work. Beyond it, what lies between the equal ends counts as changed."""


class Piece(NamedTuple):
    """Text that stands in both notes, or in one alone."""

    text: str
    changed: bool


class Diff(NamedTuple):
    """The two notes, cut where they differ. The pieces of each side make up its whole text."""

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]


def words(before: str, after: str) -> Diff:
    """Compares two notes by words, spaces and punctuation marks."""
    left, right = _WORD.findall(before), _WORD.findall(after)
    ahead = _equal(left, right)
    behind = _equal(left[ahead:][::-1], right[ahead:][::-1])
    middles = left[ahead : len(left) - behind], right[ahead : len(right) - behind]
    ends = "".join(left[:ahead]), "".join(left[len(left) - behind :])
    sides = [], []
    for old, new, same in _changes(*middles):
        sides[0].append(Piece("".join(old), not same))
        sides[1].append(Piece("".join(new), not same))
    return Diff(*(_whole(ends[0], pieces, ends[1]) for pieces in sides))


def _equal(left: list[str], right: list[str]) -> int:
    """How many words the two begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _changes(left: list[str], right: list[str]) -> Iterator[tuple[list[str], list[str], bool]]:
    if len(left) * len(right) > LARGEST:
        yield left, right, False
        return
    for kind, i, j, k, n in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        yield left[i:j], right[k:n], kind == "equal"


def _whole(start: str, pieces: list[Piece], end: str) -> tuple[Piece, ...]:
    """One side, without its empty pieces, neighbours of a kind joined."""
    joined: list[Piece] = []
    for piece in (Piece(start, False), *pieces, Piece(end, False)):
        if joined and joined[-1].changed == piece.changed:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.changed)
        elif piece.text:
            joined.append(piece)
    return tuple(joined)
