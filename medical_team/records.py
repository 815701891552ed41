"""What is kept of a game: one JSON line, written when the game ends and before anything is filtered.

The writer (the training engine) and the reader (the launcher's ingest) share these models, so a line that one writes is a
line that the other reads. One file per writing process: lines are never interleaved.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from medical_team import jsonl
from medical_team.types import Category, ErrorType, Label, Role, Verdict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TurnRecord(_Record):
    """One seat's move and what it earned."""

    seat: int
    """0 or 1: the order of the seats, and of the trajectories that the trainer gets."""
    trained: bool = True
    """False for a frozen opponent: its move is recorded and sent to nobody."""
    role: Role
    prompt: str
    raw: str
    """The reply as the model wrote it."""
    thinking: str | None
    answer: str | None
    format_ok: bool
    format_reason: str
    tokens: int | None
    truncated: bool | None
    latency_ms: float | None
    """These three are None where OpenRLHF tells a reward function nothing of them."""
    correct: bool | None
    """Assessor: the answer agrees with the truth, an unreadable answer does not. None for attackers and without a truth."""
    rewards: dict[str, float]
    """Reward parts by name, coefficients applied; their sum is `raw_reward`."""
    raw_reward: float
    baseline: float
    sent_reward: float
    """What the trainer got: `raw_reward - baseline`, or 0 for a tie. In evaluations 1 for a correct answer, else 0."""


class VerdictRecord(_Record):
    """`medical_team.types.Verdict`, with `valid` written out."""

    label: Label | None
    p_harm: float | None
    same_meaning: bool | None
    faithful: bool | None
    realistic: bool | None
    p_realistic: float | None
    valid: bool
    reason: str
    source: str
    rationale: str | None
    raw: str | None
    latency_ms: float
    judge: str

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictRecord":
        return cls(**{name: getattr(verdict, name) for name in cls.model_fields})


class GameRecord(_Record):
    """One game, whole."""

    schema_version: Literal[1] = 1
    run: str
    attempt: int = 1
    """1 for the run's first start, one more for each resume."""
    game: str
    """Unique within the run."""
    sample: str
    case: str
    mode: Literal["train", "eval"]
    step: int
    """Training: the step that this game is played for, from 1. Evaluation: the last finished step."""
    category: Category
    error_type: ErrorType
    opponent: str
    """"self", or the folder or hub name of the frozen model that held one of the seats."""
    seed_note: str
    """The note that the game started from."""
    clean_note: str
    note: str
    """The note that the assessor read: the attacker's, or the seed where the attacker did not move or was refused."""
    turns: tuple[TurnRecord, ...]
    verdict: VerdictRecord | None
    """On the note that the assessor read. None only where the game broke before there was one."""
    attack_verdict: VerdictRecord | None
    """On an attacker's note that was refused by a gate, and so never read. None otherwise."""
    truth: Label | None
    valid: bool
    """The game has a truth and was played to its end."""
    drop_reason: str | None
    """Why the game is in no chart and taught nothing: "tie: …", "prompt too long: …", "error: …". None for all others."""
    started: float
    ended: float
    """Unix seconds."""


def read_folder(folder: Path) -> list[GameRecord]:
    """Every whole record in `folder`, file by file. Lines that a full disk or a kill has cut are left out."""
    return list(stream(folder))


def stream(folder: Path) -> Iterator[GameRecord]:
    """The same one by one: a long run's games are gigabytes."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as lines:
            yield from (GameRecord.model_validate_json(line) for line in lines if _whole(line))


def _whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        from_json(line)
    except ValueError:
        return False
    return True


class GameLog:
    """Appends game records to `folder`/`writer`.jsonl. Each writing process has a file of its own."""

    def __init__(self, folder: Path, writer: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{writer}.jsonl"

    def append(self, record: GameRecord) -> None:
        """One line, in the hands of the operating system when this returns."""
        jsonl.append(self.path, record.model_dump_json())
