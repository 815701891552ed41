"""What a judge model is asked and how its answer is read. The same for every model, here or behind a network.

An answer is two letters: the meaning, and whether the note is realistic. Nothing else is understood: what cannot be read is
None, and nothing is searched for.
"""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from medical_team.judge import Question
from medical_team.text import normalise

Mode = Literal["logit", "explain"]
"""logit: the probability of the letters, nothing is written. explain: a short reason is written before the letters."""

LEAST_MASS = 0.5
"""Probability that the letters must have together. Below, the model meant to write something else: unreadable."""

_FOLDER = Path(__file__).parents[1] / "prompts" / "judge"
_SLOT = re.compile(r"\{(fence|clean|note|differences|task)\}")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_LETTERS = re.compile(r"([ABCD]) ([YN])")
_LAST_LINE = re.compile(r"Answer: ([ABCD]) ([YN])\.?")
_MARKER = re.compile(r"<(?=[|/\w]*[A-Za-z|｜])|\[(?=/?INST)|\[(?=@)")


class Meaning(StrEnum):
    """First letter of an answer."""

    SAME = "A"
    HARM = "B"
    OTHER = "C"
    """Changed, but harmless."""
    UNCLEAR = "D"
    """It cannot be told: no label follows from it."""


class Letters(NamedTuple):
    meaning: Meaning
    realistic: bool


@dataclass(frozen=True)
class Odds:
    """Probabilities of the letters, each question's renormalised to 1. `mass` is what its letters had before that."""

    same: float
    harm: float
    other: float
    unclear: float
    mass: float
    realistic: float
    realistic_mass: float


@dataclass(frozen=True)
class Answer:
    """What a model said. Without `odds` it told no probabilities, without `letters` it wrote none that could be read."""

    odds: Odds | None = None
    letters: Letters | None = None
    rationale: str | None = None
    raw: str | None = None


def prompt(question: Question, mode: Mode) -> str:
    """The words of the question, in one pass: text in the notes that looks like a slot stays as it is."""
    clean, note = defuse(question.clean), defuse(question.note)
    values = {
        "fence": _fence(clean + note),
        "clean": clean,
        "note": note,
        "differences": differences(clean, note),
        "task": _read(f"task_{mode}"),
    }
    return _SLOT.sub(lambda slot: values[slot[1]], _read("compare"))


def defuse(text: str) -> str:
    """The text with a space inside whatever could be a marker of a chat template, such as <|im_end|>."""
    return _MARKER.sub(lambda found: found[0] + " ", text).strip()


def sentences_apart(clean: str, note: str) -> tuple[list[str], list[str]]:
    """The sentences that the clean note alone has, and those that the note alone has."""
    ours, theirs = _sentences(clean), _sentences(note)
    both = {normalise(one) for one in ours} & {normalise(one) for one in theirs}
    return tuple([one for one in side if normalise(one) not in both] for side in (ours, theirs))


def differences(clean: str, note: str) -> str:
    """The sentences of either note that the other has not, in order."""
    ours, theirs = _sentences(clean), _sentences(note)
    same = difflib.SequenceMatcher(None, list(map(normalise, ours)), list(map(normalise, theirs)), autojunk=False)
    lines = []
    for kind, from_1, to_1, from_2, to_2 in same.get_opcodes():
        if kind != "equal":
            lines += [f"1: {sentence}" for sentence in ours[from_1:to_1]]
            lines += [f"2: {sentence}" for sentence in theirs[from_2:to_2]]
    if len(lines) == len(ours) + len(theirs):
        return "Every sentence differs."
    return "\n".join(lines) or "None."


def read_letters(text: str) -> Letters | None:
    """The two letters of a reply that must be nothing else."""
    found = _LETTERS.fullmatch(text.strip())
    return _letters(found) if found else None


def read_explained(text: str) -> tuple[Letters | None, str]:
    """The letters and the reason before them. None for the letters unless they stand in the last line and only there."""
    reason, _, last = text.strip().rpartition("\n")
    found = _LAST_LINE.fullmatch(last.strip())
    if not found or "answer:" in reason.lower():
        return None, text.strip()
    return _letters(found), reason.strip()


def version() -> str:
    """Changes when what is asked changes."""
    return "".join(_read(path.stem) for path in sorted(_FOLDER.glob("*.txt")))


def _letters(found: re.Match[str]) -> Letters:
    return Letters(Meaning(found[1]), found[2] == "Y")


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def _fence(text: str) -> str:
    """A mark that the text does not hold: nearly always the same, so that prompts begin alike."""
    fence = "###"
    while fence in text:
        fence += "#"
    return fence


@cache
def _read(name: str) -> str:
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
