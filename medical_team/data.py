"""From error cases to the rows that the trainer reads: select, de-duplicate, split, sample, write.

Works for any source of cases. MEDEC's files are read in `medical_team.medec`, whose names are offered here too.
"""

import hashlib
import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from medical_team import medec
from medical_team.config import GameConfig
from medical_team.medec import ERROR_TYPES, DataError, fetch_medec, read_clean, read_medec
from medical_team.text import fingerprint, normalise
from medical_team.types import Case, Category, ErrorType, Label, Sample

__all__ = [
    "ERROR_TYPES", "Card", "Contents", "DataError", "Mode", "Origin", "Row", "Splits", "deduplicate", "fetch_medec",
    "medec_origin", "read_clean", "read_label", "read_medec", "recast", "rows", "samples", "select", "split",
    "training_rows", "write_dataset",
]  # fmt: skip

Mode = Literal["train", "eval"]

# (attacker moves, the note's label) -> category
CATEGORIES = {
    (False, Label.HARMFUL): Category.VANILLA_HARMFUL,
    (False, Label.SAFE): Category.VANILLA_BENIGN,
    (True, Label.HARMFUL): Category.ADVERSARIAL_HARMFUL,
    (True, Label.SAFE): Category.ADVERSARIAL_BENIGN,
}


class Splits(NamedTuple):
    train: list[Case]
    eval: list[Case]


class Row(NamedTuple):
    """One line of an OpenRLHF prompt file. The agent builds the real prompts from `label`."""

    input: str
    """Names the row. Unique in its file: OpenRLHF looks up an evaluation's datasource by this text."""
    label: str
    """JSON; `read_label` is the inverse."""
    datasource: str
    """"train", or an evaluation's category: OpenRLHF reports eval_<datasource>_pass1."""


class RowLabel(BaseModel):
    """A row's label: all that the trainer's side is told of a sample."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Mode
    sample: Sample
    endings: tuple[str, ...] = ()
    """Special tokens that may end a reply; written by `medical_team.render` for the single-turn mode."""


class Origin(BaseModel):
    """Where a data set comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    licence: str
    citation: str
    inputs: dict[str, str] = {}
    """File name to SHA-256 of its bytes."""
    seed: int


class Contents(BaseModel):
    """What one file of a data set holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int
    cases: int
    """Different cases among the rows."""
    categories: dict[Category, dict[ErrorType, int]]
    """Rows by category and asked kind of error."""


class Card(Origin):
    """The data set's card.json."""

    train: Contents
    eval: Contents


def select(cases: Iterable[Case], error_types: Iterable[ErrorType]) -> list[Case]:
    """The cases whose error can be called by one of `error_types`."""
    wanted = set(error_types)
    return [case for case in cases if wanted.intersection(case.error_types)]


def deduplicate(cases: Iterable[Case]) -> list[Case]:
    """Leaves out a case if one of its notes stands in a case that was kept before it.

    A case whose own two notes differ in letter case or spacing alone goes too: its note would be both Safe and Harmful.
    """
    seen: set[str] = set()
    kept = []
    for case in cases:
        prints = {fingerprint(case.clean), fingerprint(case.error)}
        if len(prints) == 2 and not seen & prints:
            seen |= prints
            kept.append(case)
    return kept


def split(cases: Sequence[Case], eval_count: int, seed: int) -> Splits:
    """Holds out `eval_count` cases, every kind of error in its share. Both splits keep the order of `cases`.

    Cases that share a note stay together, so fewer are held out where they do not fit. Errors: ValueError.
    """
    if not 0 <= eval_count < len(cases):
        raise ValueError(f"cannot hold out {eval_count} of {len(cases)} cases: at least one must be left to train on")
    families = _families(cases)
    random.Random(seed).shuffle(families)
    families.sort(key=lambda family: family[0].error_types)
    held_out: set[Case] = set()
    size = 0
    for family in _evenly(families, eval_count):
        if size + len(family) <= eval_count:
            held_out.update(family)
            size += len(family)
    return Splits([case for case in cases if case not in held_out], [case for case in cases if case in held_out])


def _families(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases that share a note, straight or through others, stand in one list."""
    parent: dict[str, str] = {}

    def root(note: str) -> str:
        while parent.setdefault(note, note) != note:
            parent[note] = note = parent[parent[note]]
        return note

    for case in cases:
        parent[root(normalise(case.clean))] = root(normalise(case.error))
    families = defaultdict(list)
    for case in cases:
        families[root(normalise(case.clean))].append(case)
    return list(families.values())


def _evenly(families: list[list[Case]], count: int) -> Iterator[list[Case]]:
    """All families: first `count` of them at equal distances, so that each run of like ones gives its share."""
    first = dict.fromkeys((2 * nth + 1) * len(families) // (2 * count) for nth in range(count))
    for place in (*first, *(place for place in range(len(families)) if place not in first)):
        yield families[place]


def samples(cases: Sequence[Case], error_types: Iterable[ErrorType]) -> list[Sample]:
    """A harmful and a benign sample of each case; half of the cases vanilla, half adversarial, the odd one vanilla.

    The halves alternate along the cases sorted by error, and two neighbours there ask for the same kind: neither error
    nor asked kind tells the half. Errors: ValueError where `error_types` allow no kind of a case.
    """
    wanted = set(error_types)
    kinds = [tuple(kind for kind in case.error_types if kind in wanted) for case in cases]
    if () in kinds:
        raise ValueError(f"no asked kind of error fits case {cases[kinds.index(())].id!r}: select the cases first")
    order = sorted(range(len(cases)), key=lambda index: cases[index].error_types)
    places = {index: place for place, index in enumerate(order)}
    return [
        _sample(case, CATEGORIES[places[index] % 2 == 1, label], kinds[index][places[index] // 2 % len(kinds[index])])
        for index, case in enumerate(cases)
        for label in (Label.HARMFUL, Label.SAFE)
    ]


def _sample(case: Case, category: Category, kind: ErrorType) -> Sample:
    note = case.error if category.intended is Label.HARMFUL else case.clean
    return Sample(
        id=_sample_id(case.id, category), case=case.id, category=category, note=note, clean=case.clean,
        error=case.error, error_type=kind, source=case.source,
    )  # fmt: skip


def _sample_id(case: str, category: Category) -> str:
    return f"{case}/{category}"


def recast(samples: Iterable[Sample], config: GameConfig) -> list[Sample]:
    """The samples in the categories that the config plays: no attacker's turn makes all vanilla, no assessor's all
    adversarial. A harmful sample stays harmful."""
    if not (config.no_attacker_turn or config.no_defender_turn):
        return list(samples)
    played = [(sample, CATEGORIES[config.no_defender_turn, sample.category.intended]) for sample in samples]
    return [replace(sample, id=_sample_id(sample.case, category), category=category) for sample, category in played]


def rows(samples: Iterable[Sample], mode: Mode) -> list[Row]:
    """One row a sample, in order."""
    return [
        Row(
            input=f"{mode} {number}: {sample.id}",
            label=RowLabel(mode=mode, sample=sample).model_dump_json(),
            datasource="train" if mode == "train" else sample.category.value,
        )
        for number, sample in enumerate(samples, start=1)
    ]


def read_label(label: str) -> tuple[Mode, Sample]:
    """What `rows` put into a row's label. Errors: pydantic's ValidationError."""
    read = RowLabel.model_validate_json(label)
    return read.mode, read.sample


def training_rows(samples: Iterable[Sample], count: int, seed: int) -> list[Row]:
    """Exactly `count` rows, the categories in turn: equal numbers of each, to within one.

    Within a category every sample comes once, in a fresh order, before any comes again. Errors: ValueError.
    """
    by_category = defaultdict(list)
    for sample in samples:
        by_category[sample.category].append(sample)
    if count and not by_category:
        raise ValueError("there are no samples to train on")
    streams = [_passes(by_category[name], f"{seed} {name}") for name in Category if name in by_category]
    return rows((next(stream) for stream in islice(cycle(streams), count)), "train")


def _passes(samples: list[Sample], seed: str) -> Iterator[Sample]:
    """All samples again and again, for ever, each time in a fresh order."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(samples, len(samples))


def medec_origin(files: Iterable[Path], seed: int) -> Origin:
    """The origin of a data set made from these MEDEC files."""
    inputs = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return Origin(source=medec.ATTRIBUTION, licence=medec.LICENCE, citation=medec.CITATION, inputs=inputs, seed=seed)


def write_dataset(out: Path, train: Sequence[Row], eval: Sequence[Row], origin: Origin) -> Card:
    """Writes the new folder `out`: train.jsonl, eval.jsonl, card.json. All three appear at once, or nothing does.

    Errors: FileExistsError if `out` holds anything, for a run may be reading it.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; choose another folder or delete it first")
    card = Card(**origin.model_dump(), train=_contents(train), eval=_contents(eval))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as beside:
        folder = Path(beside) / out.name
        folder.mkdir()
        _write(folder / "train.jsonl", map(_line, train))
        _write(folder / "eval.jsonl", map(_line, eval))
        _write(folder / "card.json", [card.model_dump_json(indent=2)])
        os.rename(folder, out)
    return card


def _contents(rows: Sequence[Row]) -> Contents:
    held = [read_label(row.label)[1] for row in rows]
    counts = Counter((sample.category, sample.error_type) for sample in held)
    categories: dict[Category, dict[ErrorType, int]] = defaultdict(dict)
    for (category, kind), count in sorted(counts.items()):
        categories[category][kind] = count
    return Contents(rows=len(held), cases=len({sample.case for sample in held}), categories=categories)


def _line(row: Row) -> str:
    return json.dumps(row._asdict(), ensure_ascii=False)


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
