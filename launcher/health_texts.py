"""What only a game's texts tell of a run's health: how long the thinking is, copied notes, garbled notes."""

import unicodedata
from collections import Counter
from typing import NamedTuple

from medical_team.judge.gates import word_overlap
from medical_team.records import GameRecord, TurnRecord
from medical_team.text import normalise
from medical_team.types import Role

EMPTY_THINKING = "empty thinking"
"""`medical_team.parsing` says so of a reply with nothing in front of `</think>`."""

ODD = 0.02
"""Share of characters that are neither printed nor white space, or stand for what could not be decoded."""

LETTERS = 0.6
"""Least share of letters, digits and white space. Clinical notes are above 0.9."""

REPEATED = 0.3
"""Share of a note that one and the same three words may be."""

LEAST_LEFT = 0.3
"""Share of the given note's words that a rewrite keeps; the judge's gate asks for 0.6."""


class Texts(NamedTuple):
    """Sums over one role's turns."""

    turns: int = 0
    thoughts: int = 0
    words: int = 0
    copied: int = 0
    garbled: int = 0

    def __add__(self, other: "Texts") -> "Texts":
        return Texts(*map(sum, zip(self, other, strict=True)))


def measured(record: GameRecord) -> dict[Role, Texts]:
    """By role, of the turns that are trained on."""
    found: dict[Role, Texts] = {}
    for turn in record.turns:
        if turn.trained:
            found[turn.role] = found.get(turn.role, Texts()) + _turn(record, turn)
    return found


def _turn(record: GameRecord, turn: TurnRecord) -> Texts:
    thought = turn.thinking is not None or turn.format_reason == EMPTY_THINKING
    words = len((turn.thinking or "").split())
    if turn.role is not Role.ATTACKER:
        return Texts(1, thought, words)
    copied = turn.answer is not None and normalise(turn.answer) in (
        normalise(record.seed_note),
        normalise(record.clean_note),
    )
    bad = broken(turn.answer or turn.raw) or (turn.answer is not None and unlike(turn.answer, record.seed_note))
    return Texts(1, thought, words, copied, bad)


def broken(text: str) -> bool:
    """The text is no text: undecodable, hardly a letter in it, or the same words over and over."""
    odd = sum(char == "\ufffd" or not (char.isprintable() or char.isspace()) for char in text)
    letters = sum(char.isalnum() or char.isspace() or unicodedata.combining(char) > 0 for char in text)
    if not text.strip() or odd > ODD * len(text) or letters < LETTERS * len(text):
        return True
    words = text.split()
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= 12 and threes.most_common(1)[0][1] > max(2, REPEATED * len(words) / 3)


def unlike(note: str, given: str) -> bool:
    """Next to nothing of the given note is left."""
    return word_overlap(normalise(note).split(), normalise(given).split()) < LEAST_LEFT
