"""Evaluation on notes with known labels: what is asked, what comes back, and what follows from it.

`sets` reads notes, `worker` asks models about them in the engine's interpreter, `scores` and `crossplay` are the numbers.
The worker and the launcher share these values through files: a job goes in, predictions and attacks come out.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from medical_team import prompts
from medical_team.judge.settings import JudgeSettings
from medical_team.types import ErrorType, Label


class How(StrEnum):
    """How a model's words are chosen."""

    GREEDY = "greedy"
    SAMPLED = "sampled"


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Note(Record):
    """A note with a known label."""

    id: str
    case: str
    """Notes of one case tell of the same patient: they are drawn together where notes are drawn."""
    text: str
    truth: Label
    kind: str
    """The data set's own name for the case's error; of a clean note, its twin's. Empty where there is none."""
    clean: str | None = None
    """The note without its error; None where the data set has no twin."""
    error: str | None = None
    asked: ErrorType | None = None
    """The kind of error that an attacker is asked for; None where the note has no twin to attack from."""


class Player(Record):
    """A model under evaluation."""

    name: str
    """What it is called in tables: unique among the players."""
    model: str
    """A folder, or a hub name."""
    checkpoint: Path | None = None
    """The trainer's own checkpoint of that model, with the weights to take; None for the model's own."""
    style: prompts.Style
    thinking: bool = True


class Job(Record):
    """All that the worker needs to know. Notes stand beside it in notes.jsonl."""

    players: tuple[Player, ...]
    how: tuple[How, ...]
    attack: bool
    """Let every player attack the notes, and every player read what came of it."""
    temperature: float
    """Of sampled replies and of attacks."""
    top_p: float = 1.0
    """Share of the probability mass that those are sampled from."""
    most_tokens: int
    seed: int
    device: Literal["cpu", "cuda"]
    gpu_share: float
    judge: JudgeSettings = JudgeSettings()


class Prediction(Record):
    """An assessor's reply to one note."""

    player: str
    how: How
    attacker: str | None = None
    """Who wrote the note that was read; None for the data set's own."""
    note: str
    case: str
    kind: str
    truth: Label
    answer: Label | None
    """None for a reply that could not be read: it counts as wrong."""
    correct: bool
    format_reason: str
    tokens: int
    truncated: bool
    raw: str


class Attack(Record):
    """An attacker's rewrite of one note, and what the judge made of it."""

    player: str
    note: str
    """Id of the note that it started from."""
    case: str
    kind: str
    intended: Label
    asked: ErrorType
    written: str | None
    """The rewrite; None for a reply that broke the format."""
    format_reason: str
    faithful: bool | None
    """The rewrite is what was asked for. False for a broken reply too; None where the judge could not tell."""
    label: Label | None
    """What the judge says of the rewrite."""
    reason: str
    """Why the judge said so; empty for a broken reply."""
    tokens: int
    truncated: bool
    raw: str


class Progress(Record):
    """How far the worker is: replies made of all that are to be made."""

    doing: str
    done: int = Field(ge=0)
    of: int = Field(ge=0)


NOTES, JOB, PROGRESS = "notes.jsonl", "job.json", "progress.json"
PREDICTIONS, ATTACKS = "predictions.jsonl", "attacks.jsonl"
"""Files of an evaluation's folder."""
MODELS = "models"
"""Its folder for models that were put together from a trainer's checkpoint; gone when it has ended."""


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Appends the records."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(record.model_dump_json() + "\n" for record in records)


Kind = TypeVar("Kind", bound=Record)


def read_lines(path: Path, kind: type[Kind]) -> list[Kind]:
    """Empty where there is no such file."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [kind.model_validate_json(line) for line in lines if line]
