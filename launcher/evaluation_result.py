"""What an evaluation found: computed from its predictions, told as tables, written as files."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from launcher import export
from launcher.rundir import write_json
from medical_team import evaluation as ev
from medical_team.evaluation import Attack, How, Job, Note, Prediction, Record, anchors, crossplay, scores
from medical_team.evaluation.crossplay import Cell
from medical_team.evaluation.intervals import Interval
from medical_team.evaluation.scores import Difference, Measure
from medical_team.types import Label, Role

RESULT = "result.json"
EXPORTS = ("table.md", "table.csv", "differences.csv", "matrix.csv", "predictions.csv", RESULT)
"""Two of them are only written where there is something in them: differences.csv of two models, matrix.csv of attacks."""


class Scored(Record):
    """One column of the table: a player in one role and one way of writing, or an answer that needs no model."""

    name: str
    role: Role
    how: How | None
    """None for what needs no model."""
    measures: tuple[Measure, ...]


class Result(Record):
    """result.json: every number of the evaluation, and nothing that cannot be computed from its predictions."""

    columns: tuple[Scored, ...]
    differences: tuple[Difference, ...]
    """The first player against each other one, greedy and sampled apart."""
    cells: tuple[Cell, ...]
    """Every attacker before every assessor; empty without attacks."""


class Row(NamedTuple):
    """One number of the table, as exports and the index have it."""

    player: str
    role: str
    how: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    of: int | None


def compute(folder: Path) -> Result:
    """From the files of an evaluation that is finished. Bootstraps take about a second for each column."""
    job = Job.model_validate_json((folder / ev.JOB).read_bytes())
    notes = ev.read_lines(folder / ev.NOTES, Note)
    predictions = ev.read_lines(folder / ev.PREDICTIONS, Prediction)
    attacks = ev.read_lines(folder / ev.ATTACKS, Attack)
    names = [player.name for player in job.players]
    own = {(name, how): [one for one in predictions if (one.player, one.how, one.attacker) == (name, how, None)]
           for how in job.how for name in names}  # fmt: skip
    return Result(
        columns=(*_assessors(own), *_trivial(notes), *_attackers(attacks, notes, names)),
        differences=tuple(
            scores.difference(own[names[0], how], own[name, how]) for how in job.how for name in names[1:]
        ),
        cells=tuple(
            crossplay.cell(attacker, assessor, how, label, predictions)
            for attacker in names for label in (Label.HARMFUL, Label.SAFE) for how in job.how for assessor in names
        ) if attacks else (),
    )  # fmt: skip


def _assessors(own: dict[tuple[str, How], list[Prediction]]) -> Iterable[Scored]:
    for (name, how), said in own.items():
        yield Scored(name=name, role=Role.ASSESSOR, how=how, measures=tuple(scores.measures(said)))


def _trivial(notes: Sequence[Note]) -> Iterable[Scored]:
    for name, harmful in scores.TRIVIAL.items():
        yield Scored(name=name, role=Role.ASSESSOR, how=None, measures=tuple(scores.trivial(notes, harmful)))


def _attackers(attacks: Sequence[Attack], notes: Sequence[Note], names: Sequence[str]) -> Iterable[Scored]:
    by_id = {note.id: note for note in notes}
    for name in names if attacks else ():
        made = [one for one in attacks if one.player == name]
        found = crossplay.attacker_measures(made, by_id)
        yield Scored(name=name, role=Role.ATTACKER, how=How.SAMPLED, measures=tuple(found))


def rows(result: Result) -> list[Row]:
    return [
        Row(column.name, column.role, column.how or "", one.name, one.value, *(one.interval or (None, None)), one.of)
        for column in result.columns
        for one in column.measures
    ]


class Compared(NamedTuple):
    """One difference, as differences.csv has it: accuracy after minus before, and McNemar's exact test."""

    before: str
    after: str
    how: str
    value: float
    low: float | None
    high: float | None
    only_before: int
    """Notes that the model before alone got right."""
    only_after: int
    p: float


class Crossed(NamedTuple):
    """One cell of the cross-play matrix, as matrix.csv has it."""

    attacker: str
    assessor: str
    asked_for: str
    how: str
    notes: int
    deceived: int
    unreadable: int
    success: float | None
    low: float | None
    high: float | None


def compared(result: Result) -> list[Compared]:
    return [
        Compared(one.before, one.after, one.how, one.value, *(one.interval or (None, None)), one.test.only_first,
                 one.test.only_second, one.test.p)
        for one in result.differences
    ]  # fmt: skip


def crossed(result: Result) -> list[Crossed]:
    return [
        Crossed(one.attacker, one.assessor, one.label, one.how, one.notes, one.deceived, one.unreadable, one.success,
                *(one.interval or (None, None)))
        for one in result.cells
    ]  # fmt: skip


Table = tuple[tuple[str, ...], list[list[str]]]
"""Heads, and rows under them."""


def number(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f} [{interval.low:.3f}, {interval.high:.3f}]" if interval else f"{value:.3f}"


def table(result: Result, role: Role) -> Table:
    """Measures down, players across."""
    columns = [column for column in result.columns if column.role is role]
    names = dict.fromkeys(one.name for column in columns for one in column.measures)
    found = [{one.name: one for one in column.measures} for column in columns]
    cells = [
        [name, *(number(one[name].value, one[name].interval) if name in one else "–" for one in found)]
        for name in names
    ]
    return ("measure", *(f"{one.name}, {one.how}" if one.how else one.name for one in columns)), cells


def differences(result: Result) -> Table:
    heads = ("accuracy", "change [95 %]", "right before only", "right after only", "McNemar's exact p")
    return heads, [
        [f"{one.before} to {one.after}, {one.how}", _signed(one), str(one.test.only_first), str(one.test.only_second),
         f"{one.test.p:.2g}"]
        for one in result.differences
    ]  # fmt: skip


def _signed(one: Difference) -> str:
    return (
        f"{one.value:+.3f} [{one.interval.low:+.3f}, {one.interval.high:+.3f}]" if one.interval else f"{one.value:+.3f}"
    )


def matrix(result: Result) -> Table:
    """Attackers down, assessors across: how often the faithful notes deceive."""
    assessors = list(dict.fromkeys(cell.assessor for cell in result.cells))
    rows: dict[tuple[str, Label, How], list[Cell]] = {}
    for cell in result.cells:
        rows.setdefault((cell.attacker, cell.label, cell.how), []).append(cell)
    cells = [
        [attacker, label.value, how.value, str(found[0].notes), *(number(one.success, one.interval) for one in found)]
        for (attacker, label, how), found in rows.items()
    ]
    return ("attacker", "asked for", "read", "faithful notes", *(f"deceives {one}" for one in assessors)), cells


def published(source: str) -> Table:
    return ("published", "accuracy", "on", "source"), [
        [one.who, f"{one.accuracy:.3f}", one.notes, one.source] for one in anchors.beside(source)
    ]


def markdown(result: Result, source: str, about: str) -> str:
    """The whole evaluation as one Markdown document."""
    parts = [about, *map(_lines, _tables(result, source))]
    if anchors.beside(source):
        parts.append(anchors.REMARK)
    return "\n\n".join(parts) + "\n"


def _tables(result: Result, source: str) -> list[Table]:
    found = [table(result, Role.ASSESSOR), differences(result), table(result, Role.ATTACKER)]
    if result.cells:
        found.append(matrix(result))
    return [one for one in (*found, published(source)) if one[1]]


def _lines(found: Table) -> str:
    heads, cells = found
    return "\n".join(map(_line, [heads, ["---"] * len(heads), *cells]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write(folder: Path, result: Result, source: str, about: str) -> None:
    """EXPORTS, beside the files that they are computed from."""
    write_csv(folder / "table.csv", Row._fields, rows(result))
    for name, kind, found in (("differences", Compared, compared(result)), ("matrix", Crossed, crossed(result))):
        if found:
            write_csv(folder / f"{name}.csv", kind._fields, found)
    (folder / "table.md").write_text(markdown(result, source, about), encoding="utf-8")
    fields = tuple(Prediction.model_fields)
    said = ev.read_lines(folder / ev.PREDICTIONS, Prediction)
    write_csv(folder / "predictions.csv", fields, ([getattr(one, name) for name in fields] for one in said))
    write_json(folder / RESULT, result.model_dump(mode="json"))


def write_csv(path: Path, heads: Sequence[str], found: Iterable[Sequence]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        writer.writerows([export.cell(value) for value in row] for row in found)
