"""During a run: now and then the judge is asked about a note whose label is known, and the answer is written down."""

import random
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from medical_team import jsonl
from medical_team.judge import Judge
from medical_team.judge.probes import Kind, Probe, of_pair
from medical_team.records import VerdictRecord
from medical_team.types import Label, Sample

MODELS = ("logit", "explain", "cache")
"""Sources of verdicts that a model made."""


class ProbeRecord(BaseModel):
    """One line of a run's probes/*.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    run: str
    attempt: int
    step: int
    time: float
    """Unix seconds."""
    case: str
    kind: Kind
    expected: Label
    clean_note: str
    note: str
    verdict: VerdictRecord


class Prober:
    """Puts a probe to the judge with a chance of `share`, made of the very pair that a game was about."""

    def __init__(self, judge: Judge, share: float, folder: Path, run: str, attempt: int, writer: str):
        self._judge, self._share, self._run, self._attempt = judge, share, run, attempt
        self._path, self._rng = folder / f"{writer}.jsonl", random.Random(f"{run}-{writer}")

    def draw(self, sample: Sample) -> Probe | None:
        """The probe to put now, mostly none."""
        if self._rng.random() >= self._share:
            return None
        possible = of_pair(sample.clean, sample.error, self._rng)
        return self._rng.choice(possible) if possible else None

    async def put(self, probe: Probe, sample: Sample, step: int) -> None:
        verdict = await self._judge.ask(probe.question)
        record = ProbeRecord(
            run=self._run, attempt=self._attempt, step=step, time=time.time(), case=sample.case, kind=probe.kind,
            expected=probe.expected, clean_note=probe.question.clean, note=probe.question.note,
            verdict=VerdictRecord.of(verdict),
        )  # fmt: skip
        self._path.parent.mkdir(parents=True, exist_ok=True)
        jsonl.append(self._path, record.model_dump_json())
