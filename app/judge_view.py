"""The page Judge as HTML: verdicts against answers, rates, probes, the judge check, and one note to review."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from app import diff
from app.text import block, compared
from launcher import judge_check
from launcher.markup import Child, Markup, join, table, tag
from launcher.store_judge import ASKED, Agreement, Cell
from launcher.store_probes import ProbePoint
from launcher.svg import Curve, chart
from medical_team.judge.report import Asked, Report
from medical_team.records import GameRecord
from medical_team.types import Label

NONE = "none"
LABELS = (Label.HARMFUL, Label.SAFE, None)
BINS = 5
"""Of the calibration."""


def share(part: int | float | None, whole: int | None = None) -> str:
    """A rate in percent with what it was counted from; a dash where there is nothing to divide by."""
    if part is None or whole == 0:
        return "–"
    return f"{part:.1%}" if whole is None else f"{part / whole:.1%} ({part} of {whole})"


def matrices(cells: Sequence[Cell]) -> Markup:
    """One matrix for every source of verdicts; a cell opens its games."""
    if not cells:
        return tag("p", "No game has a verdict yet. The matrix fills with the first step.", class_="empty")
    by_source = groupby(cells, key=lambda cell: cell.source)
    return tag("div", *(_matrix(source, list(found)) for source, found in by_source), class_="so-matrices")


def _matrix(source: str, cells: list[Cell]) -> Markup:
    counts = {(cell.label, cell.answer): cell.games for cell in cells}
    who = "the judge says" if source in ASKED else "known to be"
    heads = (who, *(f"assessor: {answer or NONE}" for answer in LABELS))
    rows = []
    for label in LABELS:
        opened = (_cell(source, label, answer, counts.get((label, answer), 0)) for answer in LABELS)
        rows.append([tag("strong", label or "no label"), *opened])
    facts = [
        ("assessor misses", _rate(counts, Label.HARMFUL, Label.SAFE)),
        ("assessor over-flags", _rate(counts, Label.SAFE, Label.HARMFUL)),
    ]
    if source in ASKED:
        unlabelled = sum(games for (label, _), games in counts.items() if label is None)
        facts.append(("judge gives no label", share(unlabelled, sum(counts.values()))))
    return tag("section", tag("h3", f"Verdicts by {source}"), table(heads, rows, "so-matrix"), _facts(facts))


def _cell(source: str, label: Label | None, answer: Label | None, games: int) -> Child:
    if not games:
        return "0"
    said = f"{games} games by {source}: verdict {label or NONE}, assessor {answer or NONE}"
    return tag(
        "button", str(games), type="button", data_source=source, data_label=label or NONE, data_answer=answer or NONE,
        aria_label=f"{said}; open them",
    )  # fmt: skip


def _rate(counts: dict, label: Label, answer: Label) -> str:
    """Among the readable answers on notes of this label."""
    answered = sum(counts.get((label, said), 0) for said in Label)
    return share(counts.get((label, answer), 0), answered)


def agreement(found: Agreement) -> Markup:
    kappa = "–" if found.kappa is None else f"{found.kappa:.3f}"
    return _facts([
        ("notes that judge and people labelled", str(found.both)), ("agreement", share(found.share)),
        ("Cohen's kappa", kappa), ("judge misses", share(found.misses)), ("judge over-flags", share(found.over_flags)),
    ])  # fmt: skip


def probes(points: Sequence[ProbePoint]) -> Markup | None:
    """The judge's rates on notes with a known label, during the run."""
    names = {"misses": "misses", "over_flags": "over-flags", "unlabelled": "no label"}
    curves = [
        Curve(name, [(point.step, value) for point in points if (value := getattr(point, field)) is not None])
        for field, name in names.items()
    ]
    return chart("Probes during the run, share", curves) if points else None


def check(judge: str | None, report: Report | None) -> Markup:
    """The last judge check of the judge that this run asks."""
    if judge is None:
        return tag("p", "No judge was asked yet.", class_="empty")
    if report is None:
        return tag(
            "p", "The judge ", tag("bdi", judge), " has no judge check. ",
            tag("code", "python -m launcher judge-check"), " makes one.", class_="empty",
        )  # fmt: skip
    rows = [[row.kind, row.expected, str(row.harmful), str(row.safe), str(row.unlabelled)] for row in report.confusion]
    return join(
        tag("p", tag("bdi", report.judge), f": {judge_check.summary(report)}"),
        table(("probe", "should be", "Harmful", "Safe", "no label"), rows),
        calibration(report.probes),
    )


def calibration(asked: Iterable[Asked]) -> Markup | None:
    """How often the notes of a band of probability were harmful indeed."""
    known = [(one.p_harm, one.expected is Label.HARMFUL) for one in asked if one.p_harm is not None]
    if not known:
        return None
    rows = []
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [true for p, true in known if low <= p < high or (p == 1 and number == BINS - 1)]
        rows.append([f"{low:.1f} to {high:.1f}", str(len(inside)), share(sum(inside), len(inside))])
    return join(tag("h3", "Calibration"), table(("P(harmful)", "probes", "harmful indeed"), rows))


def note(record: GameRecord, person: tuple[str | None] | None, shown: bool) -> Markup:
    """The note to review against its clean reference; the verdict once it may be seen."""
    found = diff.words(record.clean_note, record.note)
    verdict = record.verdict
    said: Child = tag("p", "The verdict is shown once you have labelled the note.", class_="empty")
    if verdict and (shown or person):
        label = verdict.label or "no label"
        said = join(
            tag("p", tag("strong", f"Judge: {label}"), f" ({verdict.source}: {verdict.reason})"),
            block(verdict.rationale),
        )
    yours = tag("p", tag("strong", f"You: {person[0] or 'unsure'}")) if person else None
    return tag(
        "article", tag("h3", "Game ", tag("bdi", record.game)),
        tag(
            "div",
            tag("div", tag("h4", "Clean note"), compared(found.before, "del")),
            tag("div", tag("h4", "Note to label"), compared(found.after, "ins")),
            class_="pair",
        ),
        yours, said, class_="one-game",
    )  # fmt: skip


def _facts(facts: Sequence[tuple[str, str]]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")
