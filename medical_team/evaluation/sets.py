"""Data sets to evaluate on: the demo world's held-out notes, a MEDEC file, or rows in the project's own form."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from medical_team import data, demo_world, medec
from medical_team.data import RowLabel
from medical_team.demo_model.skill import HELD_OUT_CASES, HELD_OUT_SEED
from medical_team.evaluation import Note
from medical_team.medec import DataError, Problem
from medical_team.text import fingerprint
from medical_team.types import Case, Label

DEMO = "demo"
View = Literal["pairs", "published"]
"""pairs: each error note and its corrected twin. published: the notes of a MEDEC file with their flags, as they stand."""

OURS = ("input", "label", "datasource")
"""Keys of a row in the project's own form: what `launcher data build` writes, and the data folder of every run."""


class NoteSet(NamedTuple):
    name: str
    notes: list[Note]
    source: str
    """demo or medec; or what the rows of a file say. Published figures stand beside medec alone."""
    credit: str
    """What to show beside the notes."""


def demo(count: int = HELD_OUT_CASES) -> NoteSet:
    """Both notes of each held-out case of the demo world. No run draws its cases from this seed."""
    notes = [note for case in demo_world.cases(count, HELD_OUT_SEED) for note in pair(case, case.error_types[0].value)]
    return NoteSet(f"demo, {count} held-out cases", notes, "demo", "")


def read(path: Path, view: View = "pairs") -> NoteSet:
    """The notes of a file: MEDEC's CSV or JSONL, or JSONL in the project's form. Errors: DataError, OSError."""
    content = path.read_bytes()
    if _is_ours(content):
        return _ours(content, path.name)
    found = medec.parse(content, path.name)
    if view == "published":
        notes = _published(found)
    else:
        kept = data.deduplicate(found.cases)
        notes = [note for case in kept for note in pair(case, found.kinds[case.id])]
    return NoteSet(
        f"{path.name}, {'as published' if view == 'published' else 'pairs'}", notes, "medec", medec.ATTRIBUTION
    )


def pair(case: Case, kind: str) -> tuple[Note, Note]:
    """The case's clean note and its error note."""
    told = {"case": case.id, "kind": kind, "clean": case.clean, "error": case.error, "asked": case.error_types[0]}
    return (
        Note(id=f"{case.id}/safe", text=case.clean, truth=Label.SAFE, **told),
        Note(id=f"{case.id}/harmful", text=case.error, truth=Label.HARMFUL, **told),
    )


def without(notes: Iterable[Note], seen: set[str]) -> list[Note]:
    """The notes of the cases none of whose notes has its fingerprint in `seen`."""
    notes = list(notes)
    known = {note.case for note in notes for text in (note.text, note.clean or "", note.error or "")
             if text and fingerprint(text) in seen}  # fmt: skip
    return [note for note in notes if note.case not in known]


def trained_on(rows: Path) -> set[str]:
    """Fingerprints of the notes that a run's train.jsonl holds. Errors: OSError; DataError for other rows than ours."""
    notes = _ours(rows.read_bytes(), rows.name).notes
    return {fingerprint(text) for note in notes for text in (note.text, note.clean, note.error) if text}


def demonstrated(rows: Path) -> set[str]:
    """Fingerprints of the notes that a run's warm start showed. Errors: OSError; DataError for what is none of its rows."""
    prints: set[str] = set()
    problems: list[Problem] = []
    for number, line in enumerate(rows.read_bytes().split(b"\n"), start=1):
        try:
            prints |= {fingerprint(json.loads(line)["messages"][1]["content"])} if line.strip() else set()
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            problems.append(Problem(number, f"no demonstration: {_short(error)}"))
    if problems:
        raise DataError(rows.name, problems)
    return prints


def _published(found: medec.Medec) -> list[Note]:
    """A case's note has a twin in the file's other column, and can be attacked from; a clean note has none."""
    harmful = [pair(case, found.kinds[case.id])[1] for case in found.cases]
    return harmful + [
        Note(id=f"{one.id}/safe", case=one.id, text=one.text, truth=Label.SAFE, kind="") for one in found.clean
    ]


def _is_ours(content: bytes) -> bool:
    try:
        first = json.loads(content.split(b"\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and set(OURS) <= first.keys()


def _ours(content: bytes, file: str) -> NoteSet:
    notes: dict[str, Note] = {}
    problems: list[Problem] = []
    sources: set[str] = set()
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            sample = RowLabel.model_validate_json(json.loads(line)["label"]).sample
        except (ValueError, KeyError, TypeError) as error:
            problems.append(Problem(number, f"no row of ours: {_short(error)}"))
            continue
        truth, sources = sample.category.intended, sources | {sample.source}
        note = Note(
            id=f"{sample.case}/{truth.lower()}", case=sample.case, text=sample.note, truth=truth,
            kind=sample.error_type.value, clean=sample.clean, error=sample.error, asked=sample.error_type,
        )  # fmt: skip
        notes.setdefault(note.id, note)
    if problems:
        raise DataError(file, problems)
    return NoteSet(
        file, list(notes.values()), "/".join(sorted(sources)), medec.ATTRIBUTION if "medec" in sources else ""
    )


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
    return f"{type(error).__name__}: {error}"[:200]


def balance(notes: Sequence[Note]) -> tuple[int, int]:
    """How many notes are harmful, and how many are safe."""
    harmful = sum(note.truth is Label.HARMFUL for note in notes)
    return harmful, len(notes) - harmful
